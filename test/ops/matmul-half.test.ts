import {
  add,
  broadcastTo,
  cast,
  compile,
  type DType,
  grad,
  linear,
  matmul,
  mul,
  permute,
  relu,
  slice,
  sum,
  type Tensor,
  transpose,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toFloat16, toFloat32 } from '../../dist/tensor/half.js';
import {
  bothWays,
  bothWays1,
  broadcastSource,
  contentOf,
  expectSameBits,
  expectWithin,
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

type Half = 'f16' | 'bf16';
const HALVES = ['f16', 'bf16'] as const;
/** The largest relative error of rounding to 16 bits, and the largest error where f16 has denormals. */
const UNIT_OF = { f16: 2 ** -11, bf16: 2 ** -8 };
const SMALLEST = { f16: 2 ** -25, bf16: 0 };

/** Numbers that the dtype holds exactly. */
const exact = (n: number, seed: number, dtype: Half | 'f32'): number[] =>
  randomNumbers(n, seed, 'f32').map((x) => (dtype === 'f32' ? x : toFloat32(toFloat16(x, dtype), dtype)));

const tensorOf = (
  values: readonly number[],
  shape: readonly number[],
  dtype: Half | 'f32',
  layout = 'plain',
) =>
  laidOut(dtype === 'f32' ? values : values.map((x) => toFloat16(x, dtype)), shape, dtype, layout as 'plain');

const valuesOf = (value: Value): number[] =>
  value.dtype === 'f32'
    ? numbersOf(value)
    : numbersOf(value).map((bits) => toFloat32(bits, value.dtype as Half));

/** As numbers in f32, whatever the dtype. */
const asNumbers = (value: Value): Value => ({
  ...value,
  dtype: 'f32',
  data: Float32Array.from(valuesOf(value)),
});

interface Product {
  readonly values: number[];
  readonly magnitudes: number[];
}

/** a [..., m, k] · b [..., k, n] in double, with the sums of magnitudes that errors are measured against. */
function product(
  [a, aShape]: readonly [readonly number[], readonly number[]],
  [b, bShape]: readonly [readonly number[], readonly number[]],
  batch: readonly number[] = [],
): Product {
  const [m, k] = aShape.slice(-2) as [number, number];
  const n = bShape.at(-1)!;
  const shape = [...batch, m, n];
  const at = Array.from({ length: sizeOf(shape) }, (_, i) => {
    const matrix = Math.floor(i / (m * n));
    const [row, column] = [Math.floor(i / n) % m, i % n];
    const aFrom = (broadcastSource(matrix, batch, aShape.slice(0, -2)) * m + row) * k;
    const bFrom = broadcastSource(matrix, batch, bShape.slice(0, -2)) * k * n + column;
    return Array.from({ length: k }, (_, p) => a[aFrom + p]! * b[bFrom + p * n]!);
  });
  return {
    values: at.map((terms) => terms.reduce((total, term) => total + term, 0)),
    magnitudes: at.map((terms) => terms.reduce((total, term) => total + Math.abs(term), 0)),
  };
}

/** f32 sums of k terms, and one rounding to the dtype. */
function expectProduct(y: Value, { values, magnitudes }: Product, k: number, extra = 0): void {
  const dtype = y.dtype as Half | 'f32';
  expectWithin(asNumbers(y), values, (i) => {
    const sums = (k + 2) * UNIT.f32 * magnitudes[i]! + extra;
    return dtype === 'f32' ? sums : sums + UNIT_OF[dtype] * (Math.abs(values[i]!) + sums) + SMALLEST[dtype];
  });
}

/** Values of a matrix [rows, columns] in the order of its columns. */
const transposed = (values: readonly number[], rows: number, columns: number): number[] =>
  Array.from({ length: rows * columns }, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);

const extent = fc.constantFrom(0, 1, 2, 3, 8, 16, 17, 33, 70);
const batches = fc.constantFrom<[number[], number[], number[]]>(
  [[], [], []],
  [[3], [3], [3]],
  [[3], [], [3]],
  [[2, 1], [3], [2, 3]],
  [[0], [1], [0]],
);

test('matmul of f16 and of bf16 is the product, rounded once, for every shape, batch and layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(extent, extent, extent),
      batches,
      fc.constantFrom(...HALVES),
      layouts,
      layouts,
      seeds,
      async ([m, k, n], [aBatch, bBatch, batch], dtype, aLayout, bLayout, seed) => {
        const [aShape, bShape] = [
          [...aBatch, m, k],
          [...bBatch, k, n],
        ];
        const a = exact(sizeOf(aShape), seed, dtype);
        const b = exact(sizeOf(bShape), seed + 1, dtype);
        const [x, y] = [tensorOf(a, aShape, dtype, aLayout), tensorOf(b, bShape, dtype, bLayout)];
        const result = await bothWays1(matmul as (...t: Tensor[]) => Tensor, [x, y]);
        expect(result).toMatchObject({ dtype, shape: [...batch, m, n] });
        expectProduct(result, product([a, aShape], [b, bShape], batch), k);
        x.dispose();
        y.dispose();
      },
    ),
    { numRuns: 80 },
  );
});

test('alpha · a · b + beta · out of f16 and of bf16 is added up in f32 and rounded once', () => {
  fc.assert(
    fc.property(
      fc.tuple(extent, extent, extent),
      fc.constantFrom(...HALVES),
      fc.constantFrom(0, 1, -2.5),
      seeds,
      ([m, k, n], dtype, beta, seed) => {
        const a = exact(m * k, seed, dtype);
        const b = exact(k * n, seed + 1, dtype);
        const before = exact(m * n, seed + 2, dtype);
        const [x, y] = [tensorOf(a, [m, k], dtype), tensorOf(b, [k, n], dtype)];
        const out = tensorOf(before, [m, n], dtype);
        matmul(x, y, { alpha: 0.5, beta, out });
        const { values, magnitudes } = product([a, [m, k]], [b, [k, n]]);
        const want = {
          values: values.map((value, i) => 0.5 * value + beta * before[i]!),
          magnitudes: magnitudes.map((value, i) => 0.5 * value + Math.abs(beta * before[i]!)),
        };
        expectProduct(contentOf(out), want, k + 2);
        for (const t of [x, y, out]) t.dispose();
      },
    ),
    { numRuns: 80 },
  );
});

test.each(HALVES)(
  'sums of %s that f16 could not hold, and terms that it would lose, come out right',
  async (dtype) => {
    // 1,000 ones on 2,048: each is lost by itself where sums have 11 bits. Then the whole is taken back.
    const k = 1002;
    const a = [2048, ...new Array<number>(k - 2).fill(1), -2048];
    const y = await bothWays1(matmul as (...t: Tensor[]) => Tensor, [
      tensorOf(a, [1, k], dtype),
      tensorOf(new Array<number>(k).fill(1), [k, 1], dtype),
    ]);
    expect(valuesOf(y)).toEqual([1000]);
  },
);

test('what f16 cannot hold is infinite, and NaN stays in its row', async () => {
  const a = tensorOf([60000, 60000, NaN, 1, 1, 1], [3, 2], 'f16');
  const y = await bothWays1(matmul as (...t: Tensor[]) => Tensor, [
    a,
    tensorOf([1, -1, 1, 1], [2, 2], 'f16'),
  ]);
  expect(valuesOf(y)).toEqual([Infinity, 0, NaN, NaN, 2, 0]);
});

describe('linear', () => {
  const dtypes = fc.constantFrom<[x: Half | 'f32', weight: Half | 'f32', bias: Half | 'f32' | undefined]>(
    ['f16', 'f16', 'f16'],
    ['bf16', 'bf16', 'bf16'],
    ['bf16', 'bf16', undefined],
    ['f32', 'f16', 'f16'],
    ['f32', 'bf16', 'f32'],
    ['f32', 'bf16', undefined],
    ['f32', 'f32', 'bf16'],
  );

  test('takes parameters of 16 bits, with x in f32 or in their dtype, in which the result is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<number[]>([], [1], [5], [2, 3], [0]),
        fc.tuple(extent, extent),
        dtypes,
        layouts,
        fc.boolean(),
        seeds,
        async (lead, [width, out], [xType, weightType, biasType], layout, frozen, seed) => {
          if (width === 0) return;
          const rows = sizeOf(lead);
          const data = exact(rows * width, seed, xType);
          const weights = exact(out * width, seed + 1, weightType);
          const shift = biasType && exact(out, seed + 2, biasType);
          const x = tensorOf(data, [...lead, width], xType);
          const weight = tensorOf(weights, [out, width], weightType, layout);
          const bias = shift && tensorOf(shift, [out], biasType!);
          if (frozen) weight.freeze();
          const y = await bothWays1((t) => linear(t!, weight, bias), [x]);
          expect(y).toMatchObject({ dtype: xType, shape: [...lead, out] });
          const want = product([data, [rows, width]], [transposed(weights, out, width), [width, out]]);
          shift?.forEach((value, j) => {
            for (let i = 0; i < rows; i++) {
              want.values[i * out + j]! += value;
              want.magnitudes[i * out + j]! += Math.abs(value);
            }
          });
          expectProduct(y, want, width + 1);
          for (const t of [x, weight, bias]) t?.dispose();
        },
      ),
      { numRuns: 80 },
    );
  });

  test('by weights of 16 bits fuses what follows, as f32 does', async () => {
    const [x, weight] = [
      tensorOf(exact(8 * 20, 1, 'f32'), [8, 20], 'f32'),
      tensorOf(exact(30 * 20, 2, 'bf16'), [30, 20], 'bf16'),
    ];
    const residual = tensorOf(exact(8 * 30, 3, 'f32'), [8, 30], 'f32');
    const fn = (a: Tensor, b: Tensor, c: Tensor) => add(relu(mul(linear(a, b), 0.3)), c);
    expect(compile(fn).program(x, weight, residual).instructions).toBe(1);
    await bothWays(fn as (...t: Tensor[]) => Tensor, [x, weight, residual]);
  });
});

describe('gradients of products of 16 bits', () => {
  const [m, k, n] = [6, 40, 9];
  const loss = (y: Tensor) => sum(mul(cast(y, 'f32'), tensorOf(exact(m * n, 9, 'f32'), [m, n], 'f32')));

  test.each<[Half | 'f32', Half]>([
    ['f16', 'f16'],
    ['bf16', 'bf16'],
    ['f32', 'bf16'],
    ['f32', 'f16'],
  ])('x in %s, weight and bias in %s', async (xType, type) => {
    const data = { x: exact(m * k, 1, xType), weight: exact(n * k, 2, type), bias: exact(n, 3, type) };
    const x = tensorOf(data.x, [m, k], xType);
    const weight = tensorOf(data.weight, [n, k], type);
    const bias = tensorOf(data.bias, [n], type);
    const fn = (a: Tensor, b: Tensor, c: Tensor) => loss(linear(a, b, c));
    const { grads } = valueAndGrad(fn, [x, weight, bias])(x, weight, bias);
    const recorded = await compile((a: Tensor, b: Tensor, c: Tensor) => grad(fn(a, b, c), [a, b, c]))(
      x,
      weight,
      bias,
    );
    // The gradient of the result, as it arrives at the product: in the result's dtype.
    const dy = exact(m * n, 9, 'f32').map((value) =>
      xType === 'f32' ? value : toFloat32(toFloat16(value, xType), xType),
    );
    const want = [
      product([dy, [m, n]], [data.weight, [n, k]]),
      product([transposed(dy, m, n), [n, m]], [data.x, [m, k]]),
      product([new Array<number>(m).fill(1), [1, m]], [dy, [m, n]]),
    ];
    [x, weight, bias].forEach((parameter, i) => {
      const got = { dtype: grads[i]!.dtype, shape: grads[i]!.shape, data: grads[i]!.toArray() };
      expect(got).toMatchObject({ dtype: parameter.dtype, shape: parameter.shape });
      expectProduct(got, want[i]!, Math.max(m, n));
      expectSameBits({ ...got, data: recorded[i]!.toArray() }, got);
    });
  });

  test('add up where a parameter is used twice, and over a batch that shares it', () => {
    const [values, weights] = [exact(3 * m * k, 1, 'f16'), exact(k * n, 2, 'f16')];
    const [x, weight] = [tensorOf(values, [3, m, k], 'f16'), tensorOf(weights, [k, n], 'f16')];
    const twice = (w: Tensor) => {
      const [y, z] = [matmul(x, w), matmul(slice(x, 0, 0, 1), w)];
      return add(sum(cast(y, 'f32')), sum(cast(z, 'f32')));
    };
    const [gradient] = valueAndGrad(twice, [weight])(weight).grads;
    expect(gradient!.dtype).toBe('f16');
    const sums = (matrices: number) =>
      Array.from({ length: k }, (_, p) =>
        Array.from({ length: matrices * m }, (_, row) => values[row * k + p]!).reduce((a, b) => a + b, 0),
      );
    const [three, one] = [sums(3), sums(1)];
    const got = { dtype: 'f16' as DType, shape: [k, n], data: gradient!.toArray() };
    const want = Array.from({ length: k * n }, (_, i) => three[Math.floor(i / n)]! + one[Math.floor(i / n)]!);
    // Each of the partial gradients, their sum over the batch and the sum of both is rounded to f16.
    expectWithin(asNumbers(got), want, 2 * 4 * m * 4 * UNIT_OF.f16);
  });
});

describe('what does not fit is refused:', () => {
  const of = (dtype: DType, ...shape: number[]) => cast(broadcastTo(tensorOf([1], [1], 'f32'), shape), dtype);
  test.each<[string, () => unknown]>([
    ['matmul of f16 and bf16', () => matmul(of('f16', 2, 2), of('bf16', 2, 2))],
    ['matmul of f32 and bf16', () => matmul(of('f32', 2, 2), of('bf16', 2, 2))],
    ['linear of bf16 by f16', () => linear(of('bf16', 2, 2), of('f16', 2, 2))],
    ['linear of bf16 by f32', () => linear(of('bf16', 2, 2), of('f32', 2, 2))],
    ['linear of f64 by bf16', () => linear(of('f64', 2, 2), of('bf16', 2, 2))],
    ['linear of bf16 with a bias in f32', () => linear(of('bf16', 2, 2), of('bf16', 2, 2), of('f32', 2))],
    ['linear by integers', () => linear(of('f32', 2, 2), of('i8', 2, 2))],
  ])('%s', (_, run) => {
    const { code, message } = refusalOf(run);
    expect(code).toBe('DT_DTYPE_MISMATCH');
    expect(message).toContain('convert with cast');
  });
});

test('transposed views of 16 bits need no copy', () => {
  const [a, b] = [
    tensorOf(exact(20, 1, 'bf16'), [4, 5], 'bf16'),
    tensorOf(exact(30, 2, 'bf16'), [6, 5], 'bf16'),
  ];
  const f = compile(() => matmul(permute(transpose(a), [1, 0]), transpose(b)));
  expect(f.program().instructions).toBe(1);
});
