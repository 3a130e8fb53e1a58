import {
  broadcastTo,
  defaultPool,
  linear,
  matmul,
  permute,
  randn,
  relu,
  reshape,
  slice,
  type Tensor,
  tensor,
  transpose,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bothWays,
  bothWays1,
  broadcastSource,
  contentOf,
  expectSameBits,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  refusalOf,
  seeds,
  sizeOf,
  UNIT,
  type Value,
} from './support.js';

/** Element (i, j) of a · b + bias in double, and the sum of magnitudes that errors are measured against. */
function product(
  [a, aShape]: readonly [readonly number[], readonly number[]],
  [b, bShape]: readonly [readonly number[], readonly number[]],
  batch: readonly number[],
  bias?: readonly number[],
): { values: number[]; magnitudes: number[] } {
  const [m, k] = aShape.slice(-2) as [number, number];
  const n = bShape.at(-1)!;
  const values: number[] = [];
  const magnitudes: number[] = [];
  for (let at = 0; at < sizeOf(batch); at++) {
    const aFrom = broadcastSource(at, batch, aShape.slice(0, -2)) * m * k;
    const bFrom = broadcastSource(at, batch, bShape.slice(0, -2)) * k * n;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = bias?.[j] ?? 0;
        let magnitude = Math.abs(sum);
        for (let p = 0; p < k; p++) {
          const term = a[aFrom + i * k + p]! * b[bFrom + p * n + j]!;
          sum += term;
          magnitude += Math.abs(term);
        }
        values.push(sum);
        magnitudes.push(magnitude);
      }
    }
  }
  return { values, magnitudes };
}

/** k + 2 roundings of terms that add up to `magnitude`: Higham, "Accuracy and stability", section 3.1. */
function expectProduct(y: Value, want: ReturnType<typeof product>, k: number, dtype: Float): void {
  expectWithin(y, want.values, (i) => (k + 2) * (UNIT[dtype] + UNIT.f64) * want.magnitudes[i]!);
}

const extent = fc.constantFrom(0, 1, 2, 3, 7, 8, 16, 17, 33);
const batches = fc.constantFrom<[number[], number[], number[]]>(
  [[], [], []],
  [[3], [3], [3]],
  [[3], [], [3]],
  [[], [2], [2]],
  [[2, 1], [3], [2, 3]],
  [
    [1, 3],
    [2, 1],
    [2, 3],
  ],
  [[0], [1], [0]],
);

test('matmul is right for every shape, broadcast batch, transposition and layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(extent, extent, extent),
      batches,
      floats,
      layouts,
      layouts,
      seeds,
      async ([m, k, n], [aBatch, bBatch, batch], dtype, aLayout, bLayout, seed) => {
        const aShape = [...aBatch, m, k];
        const bShape = [...bBatch, k, n];
        const a = randomNumbers(sizeOf(aShape), seed, dtype);
        const b = randomNumbers(sizeOf(bShape), seed + 1, dtype);
        const x = laidOut(a, aShape, dtype, aLayout);
        const y = laidOut(b, bShape, dtype, bLayout);
        const result = await bothWays1(matmul, [x, y]);
        expect(result).toMatchObject({ dtype, shape: [...batch, m, n] });
        expectProduct(result, product([a, aShape], [b, bShape], batch), k, dtype);
        x.dispose();
        y.dispose();
      },
    ),
    { numRuns: 80 },
  );
});

const factors = fc.constantFrom(0, 1, -1, 0.3, -2.5);

test('alpha · a · b + beta · out is right for every shape, batch and layout, and reads out only for a beta', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(extent, extent, extent),
      batches,
      floats,
      fc.tuple(layouts, layouts),
      fc.tuple(factors, factors),
      seeds,
      async ([m, k, n], [aBatch, bBatch, batch], dtype, [aLayout, bLayout], [alpha, beta], seed) => {
        const [aShape, bShape, shape] = [
          [...aBatch, m, k],
          [...bBatch, k, n],
          [...batch, m, n],
        ];
        const a = randomNumbers(sizeOf(aShape), seed, dtype);
        const b = randomNumbers(sizeOf(bShape), seed + 1, dtype);
        const before = randomNumbers(sizeOf(shape), seed + 2, dtype);
        const [x, y] = [laidOut(a, aShape, dtype, aLayout), laidOut(b, bShape, dtype, bLayout)];
        const out = laidOut(beta === 0 ? before.map(() => NaN) : before, shape, dtype);
        expect(matmul(x, y, { alpha, beta, out })).toBe(out);
        const exact = product([a, aShape], [b, bShape], batch);
        const [scale, share] = dtype === 'f32' ? [Math.fround(alpha), Math.fround(beta)] : [alpha, beta];
        const values = exact.values.map((value, i) => scale * value + share * before[i]!);
        const magnitudes = exact.magnitudes.map(
          (magnitude, i) => Math.abs(scale) * magnitude + Math.abs(share * before[i]!),
        );
        // A rounding each for alpha and beta more.
        expectProduct(contentOf(out), { values, magnitudes }, k + 2, dtype);
        if (beta === 0) {
          const scaled = await bothWays1((s, t) => matmul(s!, t!, { alpha }), [x, y]);
          expectSameBits(scaled, contentOf(out), 'alpha alone');
        }
        for (const t of [x, y, out]) t.dispose();
      },
    ),
    { numRuns: 80 },
  );
});

test('products accumulate in a part of a larger tensor, whose neighbours stay, and leak nothing', () => {
  const whole = zeros([3, 2, 2]);
  const out = slice(whole, 0, 1, 2);
  const [a, b] = [tensor([[[1], [2]]]), tensor([[3, 4]])];
  const { blocks } = defaultPool.statistics;
  for (let i = 0; i < 3; i++) matmul(a, b, { beta: 1, out });
  expect(defaultPool.statistics.blocks).toBe(blocks);
  expect([...whole.toArray()]).toEqual([0, 0, 0, 0, 9, 12, 18, 24, 0, 0, 0, 0]);
});

test.each(FLOATS)(
  'all four transpositions of %s matrices give the product, inside a program too',
  async (dtype) => {
    for (const [m, k, n] of [
      [5, 70, 33],
      [64, 64, 64],
      [1, 300, 1],
      [130, 3, 2],
    ] as const) {
      const a = randomNumbers(m * k, 1, dtype);
      const b = randomNumbers(k * n, 2, dtype);
      const x = laidOut(a, [m, k], dtype);
      const y = laidOut(b, [k, n], dtype);
      const turnedX = laidOut(a, [m, k], dtype, 'permuted');
      const turnedY = laidOut(b, [k, n], dtype, 'permuted');
      const results = await bothWays(
        (s, t, u, v) => [
          matmul(s!, t!),
          matmul(transpose(reshape(transpose(u!), [k, m])), t!),
          matmul(s!, transpose(reshape(transpose(v!), [n, k]))),
          transpose(matmul(transpose(t!), transpose(s!))),
        ],
        [x, y, turnedX, turnedY],
      );
      const want = product([a, [m, k]], [b, [k, n]], []);
      for (const result of results) expectProduct(result, want, k, dtype);
    }
  },
);

test('a NaN spoils its row or column and nothing else', async () => {
  const [m, k, n] = [9, 17, 20];
  const a = randomNumbers(m * k, 3, 'f32');
  a[4 * k + 5] = NaN;
  const y = await bothWays1(matmul, [laidOut(a, [m, k]), laidOut(randomNumbers(k * n, 4, 'f32'), [k, n])]);
  numbersOf(y).forEach((value, i) => {
    expect(Number.isNaN(value)).toBe(Math.floor(i / n) === 4);
  });
});

test('infinity times zero is NaN, as IEEE has it', async () => {
  const y = await bothWays1(matmul, [
    tensor([[Infinity, 1]]),
    tensor([
      [0, 1],
      [1, 1],
    ]),
  ]);
  expect([...y.data]).toEqual([NaN, Infinity]);
});

test('a product over no terms is zero, with a bias it is the bias', async () => {
  const x = tensor(new Float32Array(0), { shape: [2, 0] });
  const w = tensor(new Float32Array(0), { shape: [3, 0] });
  expect([...(await bothWays1((a, b) => matmul(a!, transpose(b!)), [x, w])).data]).toEqual([
    0, 0, 0, 0, 0, 0,
  ]);
  const bias = tensor([1, 2, 3]);
  expect(await bothWays1(linear, [x, w, bias])).toMatchObject({
    shape: [2, 3],
    data: Float32Array.of(1, 2, 3, 1, 2, 3),
  });
});

describe('linear', () => {
  test('is x · weightᵀ + bias over any leading dimensions and layouts, with relu fused or not', async () => {
    const leads = fc.constantFrom<number[]>([], [1], [5], [2, 3], [0], [2, 1, 3]);
    await fc.assert(
      fc.asyncProperty(
        leads,
        fc.tuple(
          extent.filter((width) => width > 0),
          extent,
        ),
        floats,
        layouts,
        fc.boolean(),
        seeds,
        async (lead, [width, out], dtype, layout, withBias, seed) => {
          const shape = [...lead, width];
          const data = randomNumbers(sizeOf(shape), seed, dtype);
          const weight = randomNumbers(out * width, seed + 1, dtype);
          const bias = withBias ? randomNumbers(out, seed + 2, dtype) : undefined;
          const inputs = [
            laidOut(data, shape, dtype, layout),
            laidOut(weight, [out, width], dtype, layout),
            ...(bias ? [laidOut(bias, [out], dtype, layout)] : []),
          ];
          const fused = await bothWays1((x, w, b) => relu(linear(x!, w!, b)), inputs);
          const [y] = await bothWays((x, w, b) => [linear(x!, w!, b)], inputs);
          expect(y).toMatchObject({ dtype, shape: [...lead, out] });
          const turned = numbersOf({
            dtype,
            shape: [],
            data: Float64Array.from(
              { length: width * out },
              (_, i) => weight[(i % out) * width + Math.floor(i / out)]!,
            ),
          });
          const rows = sizeOf(lead);
          const want = product([data, [rows, width]], [turned, [width, out]], [], bias);
          expectProduct(y!, want, width, dtype);
          expect(numbersOf(fused)).toEqual(numbersOf(y!).map((value) => (value < 0 ? 0 : value)));
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  test('takes a bias that is a view', async () => {
    const [x, w] = [
      tensor([
        [1, 1],
        [2, 2],
      ]),
      tensor([
        [1, 0],
        [0, 1],
        [1, 1],
      ]),
    ];
    const column = tensor([
      [10, -1],
      [20, -1],
      [30, -1],
    ]);
    const fromColumn = (a: Tensor, b: Tensor, c: Tensor) => linear(a, b, reshape(slice(c, 1, 0, 1), [3]));
    const strided = (a: Tensor, b: Tensor, c: Tensor) =>
      linear(a, b, slice(transpose(c), 0, 0, 1).viewAs([3], [2]));
    const repeated = (a: Tensor, b: Tensor, c: Tensor) =>
      linear(a, b, broadcastTo(reshape(slice(c, 1, 0, 1), [3]), [3]));
    const want = Float32Array.of(11, 21, 32, 12, 22, 34);
    for (const fn of [fromColumn, repeated]) {
      expect((await bothWays1(fn as (...t: Tensor[]) => Tensor, [x, w, column])).data).toEqual(want);
    }
    expect(strided(x, w, column).toArray()).toEqual(want);
    expect(linear(x, w, broadcastTo(tensor([5]), [3])).toArray()).toEqual(Float32Array.of(6, 6, 7, 7, 7, 9));
  });
});

describe('relu after a product is the same numbers, fused or not,', () => {
  const a = laidOut(randomNumbers(6 * 5, 1, 'f32'), [6, 5]);
  const b = laidOut(randomNumbers(5 * 4, 2, 'f32'), [5, 4]);
  test.each<[string, (product: Tensor) => Tensor]>([
    ['directly', (y) => relu(y)],
    ['in another shape', (y) => relu(reshape(y, [2, 12]))],
    ['of some of its rows', (y) => relu(slice(y, 0, 0, 2))],
    ['of its last rows', (y) => relu(slice(y, 0, 4, 6))],
    ['transposed', (y) => relu(transpose(y))],
    ['permuted', (y) => relu(permute(reshape(y, [6, 2, 2]), [2, 0, 1]))],
    ['repeated', (y) => relu(broadcastTo(y, [3, 6, 4]))],
    ['twice', (y) => relu(relu(y))],
  ])('%s', async (_, view) => {
    const y = await bothWays1((s, t) => view(matmul(s!, t!)), [a, b]);
    const whole = numbersOf(await bothWays1(matmul, [a, b]));
    expect(numbersOf(y).every((value) => value === 0 || whole.includes(value))).toBe(true);
  });

  test('where the product is a result too', async () => {
    const [y, z] = await bothWays(
      (s, t) => {
        const made = matmul(s!, t!);
        return [made, relu(made)];
      },
      [a, b],
    );
    expect(numbersOf(y!).some((value) => value < 0)).toBe(true);
    expect(numbersOf(z!)).toEqual(numbersOf(y!).map((value) => Math.max(0, value)));
  });
});

describe('what does not fit is refused:', () => {
  const x = tensor(new Float32Array(6), { shape: [2, 3] });
  const w = tensor(new Float32Array(12), { shape: [4, 3] });
  const doubles = tensor(new Float64Array(6), { shape: [2, 3] });
  test.each<[string, string, () => unknown]>([
    ['inner dimensions', 'DT_SHAPE_MISMATCH', () => matmul(x, x)],
    [
      'batches',
      'DT_SHAPE_MISMATCH',
      () => matmul(broadcastTo(x, [2, 2, 3]), broadcastTo(transpose(x), [3, 3, 2])),
    ],
    ['a vector', 'DT_SHAPE_MISMATCH', () => matmul(tensor([1, 2]), x)],
    ['dtypes', 'DT_DTYPE_MISMATCH', () => matmul(x, transpose(doubles))],
    [
      'integers',
      'DT_DTYPE_MISMATCH',
      () => matmul(tensor([[1]], { dtype: 'i32' }), tensor([[1]], { dtype: 'i32' })),
    ],
    ['a weight of another width', 'DT_SHAPE_MISMATCH', () => linear(x, transpose(w))],
    ['a weight of one dimension', 'DT_SHAPE_MISMATCH', () => linear(x, tensor([1, 2, 3]))],
    ['a bias of another length', 'DT_SHAPE_MISMATCH', () => linear(x, w, tensor([1, 2, 3]))],
    ['a bias of another dtype', 'DT_DTYPE_MISMATCH', () => linear(x, w, tensor(new Float64Array(4)))],
    ['a scalar', 'DT_SHAPE_MISMATCH', () => linear(tensor(1), w)],
    ['a beta of nothing', 'DT_INVALID_ARGUMENT', () => matmul(x, transpose(w), { beta: 1 })],
    ['an alpha that is NaN', 'DT_INVALID_ARGUMENT', () => matmul(x, transpose(w), { alpha: NaN })],
    [
      'a beta that is a string',
      'DT_INVALID_ARGUMENT',
      () => matmul(x, transpose(w), { beta: '1' as never, out: zeros([2, 4]) }),
    ],
    ['a misspelt option', 'DT_INVALID_ARGUMENT', () => matmul(x, transpose(w), { aplha: 2 } as never)],
  ])('%s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});

test('the dot product of two columns', async () => {
  const table = tensor([
    [1, 2],
    [3, 4],
    [5, 6],
  ]);
  const dot = (...[t]: Tensor[]) => matmul(slice(transpose(t!), 0, 0, 1), slice(t!, 1, 0, 1));
  expect([...(await bothWays1(dot, [table])).data]).toEqual([35]);
});

test('a batch that comes from memory has the bits of its products one by one', () => {
  for (const [batch, m, n, k] of [
    [800, 32, 32, 32],
    [701, 25, 33, 47],
    [200, 64, 64, 64],
  ] as const) {
    const [a, b] = [randn([batch, m, k]), randn([batch, k, n])];
    const all = matmul(a, b);
    const one = (t: Tensor, i: number) => slice(t, 0, i, i + 1);
    for (const i of [0, 1, batch >> 1, batch - 2, batch - 1]) {
      expect(one(all, i).toArray()).toEqual(matmul(one(a, i), one(b, i)).toArray());
    }
  }
});
