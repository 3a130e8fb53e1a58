import {
  add,
  compile,
  device,
  grad,
  matmul,
  mul,
  permute,
  reshape,
  scaledDotProductAttention,
  softmax,
  sum,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { record } from '../../dist/program/record.js';
import {
  bitsOf,
  bothWays1,
  broadcastSource,
  contentOf,
  expectSameBits,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  golden,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  refusalOf,
  seeds,
  sizeOf,
  UNIT,
} from './support.js';

interface Packed {
  readonly shape: number[];
  readonly data: number[];
}

interface Golden {
  readonly inputs: [Packed, Packed, Packed];
  readonly mask: Packed | null;
  readonly options: { isCausal: boolean; scale?: number };
  readonly output: Packed;
  readonly weights: Packed;
  readonly gradients: [Packed, Packed, Packed];
}

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const packed = ({ shape, data }: Packed, dtype: Float | 'bool') => laidOut(data, shape, dtype);
const random = (shape: readonly number[], seed: number, dtype: Float = 'f32') =>
  laidOut(randomNumbers(sizeOf(shape), seed, dtype), shape, dtype);

/** A result or gradient in `dtype` against one in double. Nothing in the goldens is larger than some tens. */
const TOLERANCE = { f32: 2 ** -17, f64: 2 ** -44 };

describe.each(Object.entries(golden<Record<string, Golden>>('ops/attention.json')))(
  'PyTorch, %s',
  (_, one) => {
    test.each(FLOATS)('has the same result and gradients in %s, eager and recorded', async (dtype) => {
      const inputs = one.inputs.map((x) => packed(x, dtype));
      const weights = packed(one.weights, dtype);
      const options = { ...one.options, ...(one.mask ? { mask: packed(one.mask, 'bool') } : {}) };
      const attend = (q: Tensor, k: Tensor, v: Tensor) => scaledDotProductAttention(q, k, v, options);
      const output = await bothWays1(attend as (...t: Tensor[]) => Tensor, inputs);
      expect(output.shape).toEqual(one.output.shape);
      expectWithin(output, one.output.data, TOLERANCE[dtype]);

      const loss = (...[q, k, v]: Tensor[]) => sum(mul(attend(q!, k!, v!), weights));
      const eager = valueAndGrad(loss)(...inputs).grads.map(contentOf);
      const recorded = compile((...symbols: Tensor[]) => grad(loss(...symbols), symbols)).runSync(...inputs);
      eager.forEach((gradient, i) => {
        expectSameBits(contentOf(recorded[i]!), gradient, `gradient ${i}, recorded against eager`);
        expect(gradient.shape).toEqual(one.gradients[i]!.shape);
        expectWithin(gradient, one.gradients[i]!.data, TOLERANCE[dtype], `gradient ${i}`);
      });
    });
  },
);

interface Problem {
  readonly lead: readonly number[];
  readonly leads: readonly [readonly number[], readonly number[], readonly number[]];
  readonly sizes: readonly [number, number, number, number];
  readonly data: readonly [readonly number[], readonly number[], readonly number[]];
  readonly isCausal: boolean;
  readonly mask?: { readonly shape: readonly number[]; readonly data: readonly number[] };
}

/** The result in double, and how far one whose roundings are `unit` may be from it. */
function plain({ lead, leads, sizes, data, isCausal, mask }: Problem, unit: number) {
  const [rows, keys, depth, width] = sizes;
  const [q, k, v] = data;
  const values: number[] = [];
  const errors: number[] = [];
  for (let head = 0; head < sizeOf(lead); head++) {
    const [atQ, atK, atV] = leads.map((shape) => broadcastSource(head, lead, shape)) as [
      number,
      number,
      number,
    ];
    for (let i = 0; i < rows; i++) {
      const scores: number[] = [];
      let largest = 0;
      for (let j = 0; j < keys; j++) {
        let [score, magnitude] = [0, 0];
        for (let c = 0; c < depth; c++) {
          const term = q[(atQ * rows + i) * depth + c]! * k[(atK * keys + j) * depth + c]!;
          score += term / Math.sqrt(depth);
          magnitude += Math.abs(term) / Math.sqrt(depth);
        }
        const at = mask && broadcastSource((head * rows + i) * keys + j, [...lead, rows, keys], mask.shape);
        const hidden = (isCausal && j > i) || (at !== undefined && mask!.data[at] === 0);
        scores.push(hidden ? -Infinity : score);
        largest = Math.max(largest, magnitude);
      }
      const top = Math.max(...scores);
      const weights = scores.map((score) => (score === -Infinity ? 0 : Math.exp(score - top)));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let c = 0; c < width; c++) {
        let [y, magnitude] = [0, 0];
        weights.forEach((weight, j) => {
          const term = total && (weight / total) * v[(atV * keys + j) * width + c]!;
          y += term;
          magnitude += Math.abs(term);
        });
        values.push(y);
        // A score has depth + 5 roundings, and a weight is off by that of two; the sums have at most a term and a
        // rescaling for each key. Doubled for what is of second order.
        errors.push(2 * (2 * (depth + 5) * largest + 3 * keys + 8) * unit * magnitude);
      }
    }
  }
  return { values, errors };
}

const leads = fc.constantFrom<[number[], number[], number[], number[]]>(
  [[], [], [], []],
  [[2], [2], [2], [2]],
  [
    [2, 3],
    [2, 3],
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [2, 1], [3], [2, 3]],
  [[], [3], [3], [3]],
  [[0], [1], [], [0]],
);
const extent = fc.constantFrom(1, 2, 5, 17, 33);

test('is softmax(q kᵀ / √d) v for every shape, broadcast, layout and mask, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      leads,
      fc.tuple(fc.constantFrom(0, 1, 3, 16, 40), fc.constantFrom(0, 1, 7, 16, 130), extent, extent),
      floats,
      fc.tuple(layouts, layouts, layouts),
      fc.boolean(),
      fc.constantFrom('none', 'padding', 'dense', 'rows'),
      seeds,
      async (
        [qLead, kLead, vLead, lead],
        sizes,
        dtype,
        [qLayout, kLayout, vLayout],
        isCausal,
        masking,
        seed,
      ) => {
        const [rows, keys, depth, width] = sizes;
        const shapes = [
          [...qLead, rows, depth],
          [...kLead, keys, depth],
          [...vLead, keys, width],
        ] as const;
        const data = shapes.map((shape, i) => randomNumbers(sizeOf(shape), seed + i, dtype)) as [
          number[],
          number[],
          number[],
        ];
        const maskShape = { none: [], padding: [keys], dense: [...lead, rows, keys], rows: [rows, 1] }[
          masking
        ]!;
        const bits = randomNumbers(sizeOf(maskShape), seed + 3).map((x) => (x > -1 ? 1 : 0));
        const mask = masking === 'none' ? undefined : { shape: maskShape, data: bits };
        const inputs = [
          laidOut(data[0], shapes[0], dtype, qLayout),
          laidOut(data[1], shapes[1], dtype, kLayout),
          laidOut(data[2], shapes[2], dtype, vLayout),
          ...(mask ? [laidOut(bits, maskShape, 'bool', qLayout)] : []),
        ];
        const y = await bothWays1(
          (q, k, v, m) => scaledDotProductAttention(q!, k!, v!, { isCausal, ...(m ? { mask: m } : {}) }),
          inputs,
        );
        expect(y).toMatchObject({ dtype, shape: [...lead, rows, width] });
        const want = plain(
          { lead, leads: [qLead, kLead, vLead], sizes, data, isCausal, ...(mask ? { mask } : {}) },
          UNIT[dtype] + UNIT.f64,
        );
        expectWithin(y, want.values, (i) => want.errors[i]!);
        for (const input of inputs) input.dispose();
      },
    ),
    { numRuns: 50 },
  );
});

test('a query that may attend to nothing gives zeros, and takes no part in gradients', async () => {
  const mask = tensor([[1, 0, 1], [0, 0, 0]], { dtype: 'bool' }); // biome-ignore format: a matrix
  const inputs = [random([2, 4], 1), random([3, 4], 2), random([3, 5], 3)];
  const attend = (...[q, k, v]: Tensor[]) => scaledDotProductAttention(q!, k!, v!, { mask });
  const y = numbersOf(await bothWays1(attend, inputs));
  expect(y.slice(0, 5).every((value) => value !== 0)).toBe(true);
  expect(y.slice(5)).toEqual([0, 0, 0, 0, 0]);
  const [dq, dk, dv] = valueAndGrad((...t: Tensor[]) => sum(attend(...t)))(...inputs).grads.map((g) =>
    numbersOf(contentOf(g)),
  );
  expect(dq!.slice(0, 4).every((value) => value !== 0)).toBe(true);
  expect(dq!.slice(4)).toEqual([0, 0, 0, 0]);
  expect([...dk!.slice(4, 8), ...dv!.slice(5, 10)]).toEqual(new Array(9).fill(0));
  expect([...dk!, ...dv!].every(Number.isFinite)).toBe(true);

  const noKeys = [random([2, 4], 1), random([0, 4], 2), random([0, 5], 3)];
  expect(numbersOf(await bothWays1(attendAll, noKeys))).toEqual(new Array(10).fill(0));
});

const attendAll = (...[q, k, v]: Tensor[]): Tensor => scaledDotProductAttention(q!, k!, v!);

test('huge scores neither overflow nor lose the query that wins', async () => {
  const scale = 1e4;
  const y = await bothWays1(
    (q, k, v) => scaledDotProductAttention(q!, k!, v!, { scale }),
    [tensor([[1], [-1]]), tensor([[3], [-5], [4]]), tensor([[10], [20], [30]])],
  );
  expect(numbersOf(y)).toEqual([30, 20]);
});

test('results and gradients have the same bits with one, two and three threads', () => {
  const heads = [
    [random([2, 5, 150, 32], 1), random([2, 5, 300, 32], 2), random([2, 5, 300, 24], 3)],
    [random([400, 64], 4), random([500, 64], 5), random([500, 64], 6)],
    [random([4, 1, 64], 7), random([4, 900, 64], 8), random([4, 900, 64], 9)],
  ];
  const mask = laidOut(
    randomNumbers(150 * 300, 3).map((x) => (x > 0 ? 1 : 0)),
    [150, 300],
    'bool',
  );
  const bits = (count: number) => {
    device.setThreads(count);
    return heads.flatMap((inputs, i) => {
      const options = i === 0 ? { mask } : { isCausal: i === 1 };
      const attend = (...[q, k, v]: Tensor[]) => scaledDotProductAttention(q!, k!, v!, options);
      const { grads } = valueAndGrad((...t: Tensor[]) => sum(mul(attend(...t), attend(...t))))(...inputs);
      return [attend(...inputs), ...grads].map((t) => bitsOf(t.toArray()));
    });
  };
  const one = bits(1);
  expect(bits(2)).toEqual(one);
  expect(bits(3)).toEqual(one);
});

test('the gradients of one long head, whose queries threads share, are those of the formula', () => {
  const [queries, keys] = [300, 500];
  for (const isCausal of [false, true]) {
    const inputs = [
      random([queries, 16], 1, 'f64'),
      random([keys, 16], 2, 'f64'),
      random([keys, 8], 3, 'f64'),
    ];
    const weight = random([queries, 8], 4, 'f64');
    const hidden = Array.from({ length: queries * keys }, (_, i) =>
      isCausal && i % keys > Math.floor(i / keys) ? -Infinity : 0,
    );
    const mask = laidOut(hidden, [queries, keys], 'f64');
    const formula = (...[q, k, v]: Tensor[]) =>
      matmul(softmax(add(mul(matmul(q!, transpose(k!)), 1 / 4), mask)), v!);
    const [want, got] = [
      formula,
      (...[q, k, v]: Tensor[]) => scaledDotProductAttention(q!, k!, v!, { isCausal }),
    ].map((attend) => valueAndGrad((...t: Tensor[]) => sum(mul(attend(...t), weight)))(...inputs).grads);
    // At most 500 terms, which add up to less than 2^8 in magnitude, a few roundings each.
    got!.forEach((grad, i) => {
      expectWithin(contentOf(grad), numbersOf(contentOf(want![i]!)), 3 * 500 * UNIT.f64 * 2 ** 8);
    });
  }
});

test('a program holds no matrix of scores, forward or backward, and copies no heads', () => {
  const [batch, length, heads, depth] = [1, 1024, 2, 16];
  const projected = [1, 2, 3].map((seed) => random([batch, length, heads * depth], seed));
  const split = (x: Tensor) => permute(reshape(x, [batch, length, heads, depth]), [0, 2, 1, 3]);
  const attend = (...t: Tensor[]) => {
    const [q, k, v] = t.map(split);
    return scaledDotProductAttention(q!, k!, v!, { isCausal: true });
  };
  const scores = heads * length * length * 4;
  const { steps } = record(
    attend,
    projected.map(({ shape }) => ({ shape, dtype: 'f32' as const })),
  );
  expect(steps.map(({ op }) => op.name)).toEqual(['scaledDotProductAttention']);

  const backward = compile((...t: Tensor[]) => grad(sum(attend(...t)), t));
  expect(backward.program(...projected).memory.naive).toBeLessThan(scores / 4);
  const [q, k, v] = projected.map((x) => split(x));
  const composed = compile((...t: Tensor[]) =>
    matmul(softmax(mul(matmul(t[0]!, transpose(t[1]!)), depth ** -0.5)), t[2]!),
  );
  expect(composed.program(q!, k!, v!).memory.planned).toBeGreaterThanOrEqual(scores); // the test can tell
});

test('the gradients of shared keys add up over the heads that share them', () => {
  const [q, k, v] = [random([3, 4, 8], 1, 'f64'), random([5, 8], 2, 'f64'), random([5, 8], 3, 'f64')];
  const { grads } = valueAndGrad((...t: Tensor[]) => sum(mul(attendAll(...t), attendAll(...t))))(q, k, v);
  const rows = numbersOf(contentOf(q));
  const alone = [0, 1, 2].map((head) => {
    const one = tensor(Float64Array.from(rows.slice(head * 32, head * 32 + 32)), { shape: [4, 8] });
    return valueAndGrad((...t: Tensor[]) => sum(mul(attendAll(...t), attendAll(...t))))(one, k, v).grads;
  });
  for (const i of [1, 2]) {
    const together = alone.map((gradients) => gradients[i]!).reduce((a, b) => add(a, b));
    expectWithin(contentOf(grads[i]!), numbersOf(contentOf(together)), 2 ** -44);
  }
});

describe('what does not fit is refused:', () => {
  const [q, k, v] = [random([2, 3, 4], 1), random([2, 5, 4], 2), random([2, 5, 6], 3)];
  test.each<[string, string, () => unknown]>([
    ['keys of another depth', 'DT_SHAPE_MISMATCH', () => attendAll(q, random([2, 5, 3], 1), v)],
    ['values of another length', 'DT_SHAPE_MISMATCH', () => attendAll(q, k, random([2, 4, 6], 1))],
    ['leading dimensions', 'DT_SHAPE_MISMATCH', () => attendAll(q, random([3, 5, 4], 1), v)],
    ['a vector', 'DT_SHAPE_MISMATCH', () => attendAll(random([4], 1), k, v)],
    ['dtypes', 'DT_DTYPE_MISMATCH', () => attendAll(q, random([2, 5, 4], 1, 'f64'), v)],
    ['integers', 'DT_DTYPE_MISMATCH', () => attendAll(q, k, tensor([[1]], { dtype: 'i32' }))],
    [
      'an additive mask',
      'DT_DTYPE_MISMATCH',
      () => scaledDotProductAttention(q, k, v, { mask: random([3, 5], 1) }),
    ],
    [
      'a mask of another shape',
      'DT_SHAPE_MISMATCH',
      () => scaledDotProductAttention(q, k, v, { mask: tensor([1, 0, 1], { dtype: 'bool' }) }),
    ],
    [
      'a mask with more dimensions',
      'DT_SHAPE_MISMATCH',
      () =>
        scaledDotProductAttention(q, k, v, { mask: laidOut(new Array(60).fill(1), [2, 2, 3, 5], 'bool') }),
    ],
  ])('%s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
