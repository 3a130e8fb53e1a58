import { dequantizeRows, quantizeLinear, quantizeRows, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bothWays,
  bothWays1,
  expectWithin,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  refusalOf,
  roundToEven,
  seeds,
  shapes,
  sizeOf,
  UNIT,
} from './support.js';

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

describe('quantizeLinear', () => {
  test('rounds to even, adds the zero point and clamps, for every shape and layout, both ways', async () => {
    const zeros = fc.oneof(
      fc.tuple(fc.constant('i8' as const), fc.integer({ min: -128, max: 127 })),
      fc.tuple(fc.constant('u8' as const), fc.integer({ min: 0, max: 255 })),
    );
    await fc.assert(
      fc.asyncProperty(shapes, layouts, seeds, zeros, async (shape, layout, seed, [dtype, zero]) => {
        // Multiples of half a step: every other one is a tie.
        const data = randomNumbers(sizeOf(shape), seed, 'f32', 1200).map((x) => Math.round(x) / 8);
        const x = laidOut(data, shape, 'f32', layout);
        const inputs = [x, tensor(0.25), tensor(zero, { dtype })];
        const q = await bothWays1((t, scale, zeroPoint) => quantizeLinear(t!, scale!, zeroPoint!), inputs);
        expect(q).toMatchObject({ dtype, shape });
        const [low, high] = dtype === 'u8' ? [0, 255] : [-128, 127];
        const want = data.map((value) => Math.min(high, Math.max(low, roundToEven(value * 4) + zero)));
        expect(numbersOf(q)).toEqual(want);
        x.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('clamps infinities and takes NaN for the zero point', () => {
    const x = tensor([Infinity, -Infinity, NaN, 1e38, -1e-45]);
    const q = quantizeLinear(x, tensor([1e-3]), tensor([7], { dtype: 'u8' }));
    expect([...(q.toArray() as Uint8Array)]).toEqual([255, 0, 7, 255, 7]);
  });
});

describe('what does not fit is refused:', () => {
  const q = tensor([[1, 2]], { dtype: 'i8' });
  const one = tensor([1]);
  const three = tensor([1, 1, 1]);
  const zero = tensor(0, { dtype: 'u8' });
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
    ['steps of i8', 'DT_DTYPE_MISMATCH', () => quantizeLinear(q, one, zero)],
    ['several scales for steps', 'DT_SHAPE_MISMATCH', () => quantizeLinear(three, three, zero)],
    ['a zero point of f32', 'DT_DTYPE_MISMATCH', () => quantizeLinear(three, one, one)],
  ])('%s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
