import { dequantizeRows, quantizeRows, relu, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matmulInt8, packInt8 } from '../../dist/ops/index.js';
import {
  awkwardNumbers,
  bothWays,
  bothWays1,
  expectWithin,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  randomSource,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
  UNIT,
} from './support.js';

function roundToEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** As quantizeRows documents it; the division and the scale are f32's. */
function quantized(row: readonly number[]): { q: number[]; scale: number } {
  const largest = Math.max(0, ...row.map(Math.abs));
  const zeros = row.map(() => 0);
  if (!Number.isFinite(largest)) return { q: zeros, scale: NaN };
  const scale = Math.fround(largest / 127);
  if (scale < 2 ** -125) return { q: zeros, scale: 1 };
  return { q: row.map((x) => roundToEven(Math.fround(x / scale))), scale };
}

describe('quantizeRows', () => {
  test('is exact for every shape, layout and magnitude, both ways', async () => {
    const rows = shapes.filter((shape) => shape.length > 0);
    await fc.assert(
      fc.asyncProperty(rows, layouts, seeds, fc.boolean(), async (shape, layout, seed, awkward) => {
        const n = sizeOf(shape);
        const data = awkward ? awkwardNumbers(n, seed, 'f32') : randomNumbers(n, seed, 'f32', 100);
        const x = laidOut(data, shape, 'f32', layout);
        const [q, scales] = await bothWays((t) => quantizeRows(t!), [x]);
        expect(q).toMatchObject({ dtype: 'i8', shape });
        expect(scales).toMatchObject({ dtype: 'f32', shape: shape.slice(0, -1) });
        const width = shape.at(-1)!;
        const want = Array.from({ length: sizeOf(shape.slice(0, -1)) }, (_, r) =>
          quantized(data.slice(r * width, (r + 1) * width)),
        );
        expectWithin(
          scales!,
          want.map(({ scale }) => scale),
          0,
        );
        expectWithin(
          q!,
          want.flatMap((row) => row.q),
          0,
        );
        x.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('reaches both ends and never −128', () => {
    const [q, scale] = quantizeRows(tensor([[-2, 2, 1, 0.5 / 63.5, -1.5 / 63.5, 0]]));
    // ±0.5 and ±1.5 steps go to the even neighbour.
    expect([...(q.toArray() as Int8Array)]).toEqual([-127, 127, 64, 0, -2, 0]);
    expect(scale.item()).toBe(Math.fround(2 / 127));
  });

  test('comes back within half a step', async () => {
    const data = randomNumbers(7 * 33, 5, 'f32', 9);
    const x = laidOut(data, [7, 33]);
    const back = await bothWays1((t) => dequantizeRows(...quantizeRows(t!)), [x]);
    const scales = numbersOf((await bothWays((t) => [quantizeRows(t!)[1]], [x]))[0]!);
    // Half a step, and the roundings of the quotient and of the product.
    expectWithin(back, data, (i) => scales[Math.floor(i / 33)]! * (0.5 + 127 * 3 * UNIT.f32));
  });
});

/** x, as i8, times weightᵀ in exact integers. */
function exactProduct(q: readonly number[], weight: readonly number[], k: number): number[] {
  const [m, n] = [q.length / k, weight.length / k];
  const sums: number[] = [];
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0; // under 2^53 by far
      for (let p = 0; p < k; p++) sum += q[i * k + p]! * weight[j * k + p]!;
      sums.push(sum);
    }
  return sums;
}

const fill = (n: number, value: number) => new Array<number>(n).fill(value);

/** matmulInt8 with the weight packed on the way; scales of 1 show the sums themselves. */
async function multiply(q: readonly number[], weight: readonly number[], k: number): Promise<number[]> {
  const [m, n] = [q.length / k, weight.length / k];
  const inputs = [
    laidOut(q, [m, k], 'i8'),
    laidOut(weight, [n, k], 'i8'),
    tensor(fill(m, 1)),
    tensor(fill(n, 1)),
  ];
  const y = await bothWays1((a, w, rows, channels) => matmulInt8(a!, rows!, packInt8(w!), channels!), inputs);
  expect(y).toMatchObject({ dtype: 'f32', shape: [m, n] });
  return numbersOf(y);
}

describe('matmulInt8', () => {
  test('has exact sums for every shape, both ways', async () => {
    const extent = fc.constantFrom(1, 2, 3, 6, 7, 15, 16, 17, 31, 33, 64, 65, 130);
    await fc.assert(
      fc.asyncProperty(extent, extent, extent, seeds, async (m, k, n, seed) => {
        fc.pre(m * k * n <= 120_000);
        const next = randomSource(seed);
        const bytes = (count: number) => Array.from({ length: count }, () => Math.floor(next() * 256) - 128);
        const [q, weight] = [bytes(m * k), bytes(n * k)];
        expect(await multiply(q, weight, k)).toEqual(exactProduct(q, weight, k));
      }),
      { numRuns: 40 },
    );
  });

  test.each([
    [127, 127],
    [-128, -128],
    [-128, 127],
    [127, -128],
    [-127, 127],
  ])('does not saturate where all are %d and %d', async (a, b) => {
    for (const k of [1, 2, 3, 31, 64, 65, 1000]) {
      const sums = await multiply(fill(5 * k, a), fill(18 * k, b), k);
      expect(new Set(sums)).toEqual(new Set([k * a * b])); // under 2^24, so exact in f32
    }
  });

  test('rounds sums beyond 2^24 once', async () => {
    const k = 5001;
    const next = randomSource(9);
    const q = Array.from({ length: k }, () => 100 + Math.floor(next() * 28));
    const weight = Array.from({ length: 3 * k }, () => 100 + Math.floor(next() * 28));
    expect(await multiply(q, weight, k)).toEqual(exactProduct(q, weight, k).map(Math.fround));
  });

  test('applies both scales and the bias, and a fused relu, within their roundings', async () => {
    const [m, k, n] = [5, 40, 19];
    const next = randomSource(4);
    const bytes = (count: number) => Array.from({ length: count }, () => Math.floor(next() * 256) - 128);
    const [q, weight] = [bytes(m * k), bytes(n * k)];
    const [rows, channels, bias] = [
      randomNumbers(m, 1, 'f32'),
      randomNumbers(n, 2, 'f32'),
      randomNumbers(n, 3, 'f32', 1000),
    ];
    const inputs = [
      laidOut(q, [m, k], 'i8'),
      tensor(rows),
      laidOut(weight, [n, k], 'i8'),
      tensor(channels),
      tensor(bias),
    ];
    const product = (a: Tensor, r: Tensor, w: Tensor, c: Tensor, b: Tensor) =>
      matmulInt8(a, r, packInt8(w), c, b);
    const y = await bothWays1(product as (...inputs: Tensor[]) => Tensor, inputs);
    const scaled = exactProduct(q, weight, k).map(
      (sum, i) => sum * rows[Math.floor(i / n)]! * channels[i % n]!,
    );
    // Two products and one sum.
    expectWithin(
      y,
      scaled.map((value, i) => value + bias[i % n]!),
      (i) => UNIT.f32 * (4 * Math.abs(scaled[i]!) + Math.abs(bias[i % n]!)),
    );
    const positive = await bothWays1(
      (...t) => relu(product(...(t as [Tensor, Tensor, Tensor, Tensor, Tensor]))),
      inputs,
    );
    expect(numbersOf(positive)).toEqual(numbersOf(y).map((value) => Math.max(0, value)));
  });

  test('a scale of NaN, as a spoiled row has it, shows in that row alone', async () => {
    const inputs = [
      laidOut(fill(6, 1), [3, 2], 'i8'),
      tensor([1, NaN, 1]),
      laidOut(fill(4, 1), [2, 2], 'i8'),
      tensor([1, 1]),
    ];
    const y = await bothWays1((a, r, w, c) => matmulInt8(a!, r!, packInt8(w!), c!), inputs);
    expect(numbersOf(y)).toEqual([2, 2, NaN, NaN, 2, 2]);
  });

  test('packs a transposed weight for what it holds', async () => {
    const [n, k] = [9, 21];
    const next = randomSource(6);
    const weight = Array.from({ length: n * k }, () => Math.floor(next() * 256) - 128);
    const q = Array.from({ length: 2 * k }, () => Math.floor(next() * 256) - 128);
    const turned = laidOut(weight, [n, k], 'i8', 'permuted');
    const y = await bothWays1(
      (a) => matmulInt8(a!, tensor([1, 1]), packInt8(turned), tensor(fill(n, 1))),
      [laidOut(q, [2, k], 'i8')],
    );
    expect(numbersOf(y)).toEqual(exactProduct(q, weight, k));
  });
});

describe('what does not fit is refused:', () => {
  const q = tensor([[1, 2]], { dtype: 'i8' });
  const one = tensor([1]);
  const weight = tensor(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    { dtype: 'i8' },
  );
  const packed = packInt8(weight);
  const three = tensor([1, 1, 1]);
  test.each<[string, string, () => unknown]>([
    ['quantizing f64', 'DT_DTYPE_MISMATCH', () => quantizeRows(tensor([1], { dtype: 'f64' }))],
    ['quantizing a scalar', 'DT_SHAPE_MISMATCH', () => quantizeRows(tensor(1))],
    ['dequantizing floats', 'DT_DTYPE_MISMATCH', () => dequantizeRows(one, one)],
    [
      'dequantizing with scales of f64',
      'DT_DTYPE_MISMATCH',
      () => dequantizeRows(q, tensor([1], { dtype: 'f64' })),
    ],
    ['dequantizing with too many scales', 'DT_SHAPE_MISMATCH', () => dequantizeRows(q, three)],
    ['packing a vector', 'DT_SHAPE_MISMATCH', () => packInt8(tensor([1], { dtype: 'i8' }))],
    ['packing floats', 'DT_DTYPE_MISMATCH', () => packInt8(tensor([[1]]))],
    ['multiplying floats', 'DT_DTYPE_MISMATCH', () => matmulInt8(tensor([[1, 2]]), one, packed, three)],
    [
      'multiplying with too few row scales',
      'DT_SHAPE_MISMATCH',
      () => matmulInt8(weight, one, packed, three),
    ],
    [
      'multiplying with a bias of another length',
      'DT_SHAPE_MISMATCH',
      () => matmulInt8(q, one, packed, three, one),
    ],
    [
      'multiplying with a bias of f64',
      'DT_DTYPE_MISMATCH',
      () => matmulInt8(q, one, packed, three, tensor(new Float64Array(3))),
    ],
    [
      'multiplying with a weight packed for other channels',
      'DT_SHAPE_MISMATCH',
      () => matmulInt8(q, one, packed, tensor(fill(40, 1))),
    ],
  ])('%s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
