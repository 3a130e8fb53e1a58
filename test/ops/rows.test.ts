import { layerNorm, logSoftmax, rmsNorm, softmax, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crossEntropyRows } from '../../dist/ops/index.js';
import {
  bothWays1,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  randomSource,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
  TINY,
  UNIT,
} from './support.js';

const rowShapes = shapes.filter((shape) => shape.length > 0);
const range = fc.constantFrom(1, 80, 3000);

const rowsOf = (data: readonly number[], width: number): number[][] =>
  Array.from({ length: width === 0 ? 0 : data.length / width }, (_, r) =>
    data.slice(r * width, (r + 1) * width),
  );

interface Row {
  readonly top: number;
  readonly logSum: number;
  /** The relative error of the sum of e^(x − top). */
  readonly sumError: number;
}

/** x − top is rounded once, which e^ makes |x − top| as large; e^ is good to 4 u. */
const expError = (u: number, x: number, top: number) => (u + UNIT.f64) * (Math.abs(x - top) + 4);

function softmaxRow(row: readonly number[], u: number): Row {
  const top = Math.max(...row);
  const powers = row.map((x) => Math.exp(x - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  const error = powers.reduce((total, e, i) => total + e * expError(u, row[i]!, top), 0);
  return { top, logSum: Math.log(sum), sumError: error / sum + (row.length + 1) * u };
}

describe.each([
  ['softmax', softmax],
  ['logSoftmax', logSoftmax],
] as const)('%s', (name, op) => {
  test('is right along the last dimension, on any layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        rowShapes,
        floats,
        layouts,
        range,
        seeds,
        async (shape, dtype, layout, scale, seed) => {
          const u = UNIT[dtype];
          const data = randomNumbers(sizeOf(shape), seed, dtype, scale);
          const x = laidOut(data, shape, dtype, layout);
          const y = await bothWays1(op, [x]);
          expect(y).toMatchObject({ dtype, shape });
          const want: number[] = [];
          const bound: number[] = [];
          for (const row of rowsOf(data, shape.at(-1)!)) {
            const { top, logSum, sumError } = softmaxRow(row, u);
            for (const value of row) {
              const logged = value - top - logSum;
              want.push(name === 'softmax' ? Math.exp(logged) : logged);
              bound.push(
                name === 'softmax'
                  ? Math.exp(logged) * (expError(u, value, top) + sumError + 4 * u) + TINY[dtype]
                  : sumError + 4 * u * (Math.abs(value - top) + logSum),
              );
            }
          }
          expectWithin(y, want, (i) => bound[i]!);
          x.dispose();
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each(FLOATS)('bears what is masked, huge or spoiled, in %s', async (dtype) => {
    const half = Math.log(0.5);
    const [one, two] = name === 'softmax' ? [1, 0.5] : [0, half];
    const never = name === 'softmax' ? 0 : -Infinity;
    const huge = dtype === 'f32' ? Math.fround(3e38) : 1e308;
    const rows = [
      [
        [1, -Infinity, 1],
        [two, never, two],
      ],
      [
        [huge, huge, -Infinity],
        [two, two, never],
      ],
      [
        [-huge, -Infinity, -Infinity],
        [one, never, never],
      ],
      [
        [NaN, 1, 2],
        [NaN, NaN, NaN],
      ],
      [
        [-Infinity, -Infinity, -Infinity],
        [NaN, NaN, NaN],
      ],
    ] as const;
    const x = tensor(
      rows.map(([row]) => [...row]),
      { dtype },
    );
    expectWithin(
      await bothWays1(op, [x]),
      rows.flatMap(([, want]) => [...want]),
      2 * UNIT[dtype],
    );
  });

  test('refuses a scalar and integers', () => {
    expect(refusalOf(() => op(tensor(1))).code).toBe('DT_SHAPE_MISMATCH');
    expect(refusalOf(() => op(tensor([1], { dtype: 'i64' }))).code).toBe('DT_DTYPE_MISMATCH');
  });
});

describe('crossEntropy by rows', () => {
  const extent = fc.constantFrom(0, 1, 2, 7, 16, 33);

  test('is the log-sum-exp less the label’s logit, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        extent,
        extent.filter((classes) => classes > 0),
        floats,
        fc.constantFrom('i32' as const, 'i64' as const),
        layouts,
        range,
        seeds,
        async (n, classes, dtype, labelType, layout, scale, seed) => {
          const u = UNIT[dtype];
          const data = randomNumbers(n * classes, seed, dtype, scale);
          const next = randomSource(seed + 1);
          const labels = Array.from({ length: n }, () => Math.floor(next() * classes));
          const kept = labelType === 'i64' ? labels.map(BigInt) : labels;
          const inputs = [
            laidOut(data, [n, classes], dtype, layout),
            laidOut(kept as number[], [n], labelType, layout),
          ];
          const y = await bothWays1(crossEntropyRows as (...inputs: Tensor[]) => Tensor, inputs);
          expect(y).toMatchObject({ dtype, shape: [n] });
          const rows = rowsOf(data, classes).map((row) => softmaxRow(row, u));
          const target = (i: number) => data[i * classes + labels[i]!]!;
          expectWithin(
            y,
            rows.map(({ top, logSum }, i) => top + logSum - target(i)),
            (i) => {
              const { top, logSum, sumError } = rows[i]!;
              return sumError + 4 * u * (logSum + Math.abs(top) + Math.abs(target(i)));
            },
          );
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 50 },
    );
  });

  const logits = tensor([
    [1, 2],
    [3, 4],
  ]);
  test.each<[string, string, () => unknown]>([
    ['labels of floats', 'DT_DTYPE_MISMATCH', () => crossEntropyRows(logits, tensor([0, 1]))],
    ['too few labels', 'DT_SHAPE_MISMATCH', () => crossEntropyRows(logits, tensor([0], { dtype: 'i32' }))],
    [
      'a vector of logits',
      'DT_SHAPE_MISMATCH',
      () => crossEntropyRows(tensor([1]), tensor([0], { dtype: 'i32' })),
    ],
    [
      'logits of integers',
      'DT_DTYPE_MISMATCH',
      () => crossEntropyRows(tensor([[1]], { dtype: 'i32' }), tensor([0], { dtype: 'i32' })),
    ],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});

describe('layerNorm', () => {
  function expectNormalised(
    y: { dtype: string } & Parameters<typeof expectWithin>[0],
    rows: readonly (readonly number[])[],
    [gamma, beta, eps]: readonly [readonly number[], readonly number[], number],
    dtype: Float,
  ): void {
    const u = UNIT[dtype];
    const want: number[] = [];
    const bound: number[] = [];
    for (const row of rows) {
      const n = row.length;
      const mean = row.reduce((a, b) => a + b, 0) / n;
      const variance = row.reduce((total, x) => total + (x - mean) ** 2, 0) / n;
      const rstd = 1 / Math.sqrt(variance + eps);
      const size = row.reduce((total, x) => total + Math.abs(x), 0) / n;
      row.forEach((x, j) => {
        // Error of a centred element: n roundings of the mean, one of the difference; of 1/σ: that of the squares, halved.
        const centring = (n + 2) * u * size + u * Math.abs(x);
        const scaling = centring * rstd + ((n + 8) / 2) * u;
        const normal = (x - mean) * rstd;
        want.push(normal * gamma[j]! + beta[j]!);
        bound.push(
          Math.abs(gamma[j]!) * (centring * rstd + Math.abs(normal) * (scaling + 3 * u)) +
            2 * u * Math.abs(beta[j]!) +
            TINY[dtype],
        );
      });
    }
    expectWithin(y, want, (i) => bound[i]!);
  }

  test('is right along the last dimension, on any layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        rowShapes,
        floats,
        layouts,
        fc.constantFrom(0, 30),
        seeds,
        async (shape, dtype, layout, shift, seed) => {
          const width = shape.at(-1)!;
          const round = dtype === 'f32' ? Math.fround : Number;
          const data = randomNumbers(sizeOf(shape), seed, dtype).map((x) => round(x + shift));
          const gamma = randomNumbers(width, seed + 1, dtype);
          const beta = randomNumbers(width, seed + 2, dtype);
          const eps = 2 ** -10;
          const inputs = [
            laidOut(data, shape, dtype, layout),
            laidOut(gamma, [width], dtype, layout),
            laidOut(beta, [width], dtype, layout),
          ];
          const y = await bothWays1((x, g, b) => layerNorm(x!, g!, b!, eps), inputs);
          expect(y).toMatchObject({ dtype, shape });
          expectNormalised(y, rowsOf(data, width), [gamma, beta, eps], dtype);
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 50 },
    );
  });

  test('of equal elements is beta, whatever eps is', async () => {
    const x = tensor(new Float32Array(24).fill(3.25), { shape: [3, 8] });
    const beta = tensor(randomNumbers(8, 1, 'f32'));
    const y = await bothWays1((t) => layerNorm(t!, tensor(new Float32Array(8).fill(2)), beta), [x]);
    expect(numbersOf(y)).toEqual([0, 1, 2].flatMap(() => Array.from(beta.toArray() as Float32Array)));
  });

  test('a NaN spoils its row and no other', async () => {
    const data = randomNumbers(3 * 17, 1, 'f32');
    data[20] = NaN;
    const ones = tensor(new Float32Array(17).fill(1));
    const y = await bothWays1((t) => layerNorm(t!, ones, ones), [laidOut(data, [3, 17])]);
    numbersOf(y).forEach((value, i) => {
      expect(Number.isNaN(value)).toBe(Math.floor(i / 17) === 1);
    });
  });

  const x = tensor([[1, 2, 3]]);
  const three = tensor([1, 2, 3]);
  test.each<[string, string, () => unknown]>([
    ['a gamma of another width', 'DT_SHAPE_MISMATCH', () => layerNorm(x, tensor([1]), three)],
    ['a beta of another rank', 'DT_SHAPE_MISMATCH', () => layerNorm(x, three, x)],
    [
      'a gamma of another dtype',
      'DT_DTYPE_MISMATCH',
      () => layerNorm(x, tensor([1, 2, 3], { dtype: 'f64' }), three),
    ],
    ['a scalar', 'DT_SHAPE_MISMATCH', () => layerNorm(tensor(1), three, three)],
    ['integers', 'DT_DTYPE_MISMATCH', () => layerNorm(tensor([1], { dtype: 'i32' }), three, three)],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});

describe('rmsNorm', () => {
  const epsilon = { f32: 2 ** -23, f64: 2 ** -52 };

  test('is right along the last dimension, on any layout, with any eps, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        rowShapes,
        floats,
        layouts,
        fc.constantFrom(undefined, 0, 2 ** -10),
        fc.constantFrom(2 ** -60, 1, 2 ** 60),
        seeds,
        async (shape, dtype, layout, eps, scale, seed) => {
          const u = UNIT[dtype];
          const width = shape.at(-1)!;
          const data = randomNumbers(sizeOf(shape), seed, dtype, scale);
          const weight = randomNumbers(width, seed + 1, dtype);
          const inputs = [laidOut(data, shape, dtype, layout), laidOut(weight, [width], dtype, layout)];
          const y = await bothWays1((x, w) => rmsNorm(x!, w!, eps === undefined ? {} : { eps }), inputs);
          expect(y).toMatchObject({ dtype, shape });
          const want = rowsOf(data, width).flatMap((row) => {
            const meanSquare = row.reduce((total, x) => total + x * x, 0) / width;
            const rrms = 1 / Math.sqrt(meanSquare + (eps ?? epsilon[dtype]));
            return row.map((x, j) => x * rrms * weight[j]!);
          });
          // 1/rms: half the roundings of a sum of squares in double, here and there, and one to the dtype; two products.
          const relative = 4 * u + (width + 8) * UNIT.f64;
          expectWithin(y, want, (i) => relative * Math.abs(want[i]!) + TINY[dtype]);
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 50 },
    );
  });

  test('of zeros is zeros, unless eps is 0; a NaN spoils its row and no other', async () => {
    const ones = tensor(new Float32Array(17).fill(1));
    const data = randomNumbers(3 * 17, 1, 'f32').fill(0, 34);
    data[20] = NaN;
    const x = laidOut(data, [3, 17]);
    const spoiled = (y: { data: ArrayLike<unknown> }) =>
      [0, 1, 2].map(
        (r) =>
          Array.from(y.data)
            .slice(17 * r, 17 * r + 17)
            .filter(Number.isNaN).length,
      );
    const y = await bothWays1((t) => rmsNorm(t!, ones), [x]);
    expect(spoiled(y)).toEqual([0, 17, 0]);
    expect(numbersOf(y).slice(34)).toEqual(new Array(17).fill(0));
    expect(spoiled(await bothWays1((t) => rmsNorm(t!, ones, { eps: 0 }), [x]))).toEqual([0, 17, 17]);
  });

  const x = tensor([[1, 2, 3]]);
  test.each<[string, string, () => unknown]>([
    ['a weight of another width', 'DT_SHAPE_MISMATCH', () => rmsNorm(x, tensor([1]))],
    ['a weight of another dtype', 'DT_DTYPE_MISMATCH', () => rmsNorm(x, tensor([1, 2, 3], { dtype: 'f64' }))],
    ['a scalar', 'DT_SHAPE_MISMATCH', () => rmsNorm(tensor(1), x)],
    ['integers', 'DT_DTYPE_MISMATCH', () => rmsNorm(tensor([1], { dtype: 'i32' }), x)],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
