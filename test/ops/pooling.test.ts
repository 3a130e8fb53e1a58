import {
  adaptiveAvgPool2d,
  avgPool1d,
  avgPool2d,
  maxPool1d,
  maxPool2d,
  mul,
  reshape,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bothWays1,
  contentOf,
  expectSameBits,
  expectWithin,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  randomSource,
  refusalOf,
  seeds,
  sizeOf,
  UNIT,
} from './support.js';

interface Geometry {
  readonly planes: number;
  readonly kernel: [number, number];
  readonly stride: [number, number];
  readonly padding: [number, number];
  readonly dilation: [number, number];
  readonly size: [number, number];
}

const places = ({ kernel, stride, padding, dilation, size }: Geometry) =>
  [0, 1].map(
    (d) => Math.floor((size[d]! + 2 * padding[d]! - dilation[d]! * (kernel[d]! - 1) - 1) / stride[d]!) + 1,
  ) as [number, number];

/** For each window, where its elements lie. */
function windowsOf(g: Geometry): number[][] {
  const [rows, columns] = places(g);
  const windows: number[][] = [];
  for (let p = 0; p < g.planes; p++)
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const window: number[] = [];
        for (let i = 0; i < g.kernel[0]; i++)
          for (let j = 0; j < g.kernel[1]; j++) {
            const y = r * g.stride[0] - g.padding[0] + i * g.dilation[0];
            const x = c * g.stride[1] - g.padding[1] + j * g.dilation[1];
            if (y < 0 || y >= g.size[0] || x < 0 || x >= g.size[1]) continue;
            window.push((p * g.size[0] + y) * g.size[1] + x);
          }
        windows.push(window);
      }
  return windows;
}

const pair = (min: number, max: number) =>
  fc.tuple(fc.integer({ min, max }), fc.integer({ min, max })) as fc.Arbitrary<[number, number]>;
const geometries = fc
  .record({
    planes: fc.integer({ min: 0, max: 3 }),
    kernel: pair(1, 4),
    stride: pair(1, 3),
    padding: pair(0, 2),
    dilation: pair(1, 3),
    size: pair(1, 9),
  })
  .filter((g) => places(g).every((n) => n >= 1) && g.padding.every((p, d) => 2 * p <= g.kernel[d]!));

const whole = (n: number, seed: number) => {
  const next = randomSource(seed);
  return Array.from({ length: n }, () => Math.floor(next() * 9) - 4);
};

const gradientOf = (run: (x: Tensor) => Tensor, x: Tensor, dy: Tensor) =>
  numbersOf(contentOf(valueAndGrad((t: Tensor) => sum(mul(run(t), dy)))(x).grads[0]!));

test('maxPool2d and its gradient are the plain ones, exactly, for any geometry and layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(geometries, floats, layouts, seeds, async (g, dtype, layout, seed) => {
      const { kernel, stride, padding, dilation } = g;
      const shape = [g.planes, ...g.size];
      const values = whole(sizeOf(shape), seed);
      const windows = windowsOf(g);
      const dy = whole(windows.length, seed + 1);
      // Of equals the first, which plain > leaves.
      const winners = windows.map((window) =>
        window.reduce((best, at) => (best < 0 || values[at]! > values[best]! ? at : best), -1),
      );
      const dx = values.map(() => 0);
      winners.forEach((at, i) => {
        if (at >= 0) dx[at]! += dy[i]!;
      });
      const run = (x: Tensor) => maxPool2d(x, kernel, { stride, padding, dilation });
      const x = laidOut(values, shape, dtype, layout);
      const y = await bothWays1(run, [x]);
      expect(y.shape).toEqual([g.planes, ...places(g)]);
      expect(numbersOf(y)).toEqual(winners.map((at) => (at < 0 ? -Infinity : values[at]!)));
      expect(gradientOf(run, x, laidOut(dy, y.shape, dtype))).toEqual(dx);
      x.dispose();
    }),
    { numRuns: 150 },
  );
});

test('avgPool2d and its gradient are the plain ones for any geometry and layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(geometries, floats, layouts, seeds, async (given, dtype, layout, seed) => {
      const g = { ...given, dilation: [1, 1] as [number, number] };
      const { kernel, stride, padding } = g;
      const shape = [g.planes, ...g.size];
      const values = whole(sizeOf(shape), seed);
      const windows = windowsOf(g);
      const dy = whole(windows.length, seed + 1);
      const taps = kernel[0] * kernel[1];
      const dx = values.map(() => 0);
      windows.forEach((window, i) => {
        for (const at of window) dx[at]! += dy[i]! / taps;
      });
      const run = (x: Tensor) => avgPool2d(x, kernel, { stride, padding });
      const x = laidOut(values, shape, dtype, layout);
      const y = await bothWays1(run, [x]);
      expect(y.shape).toEqual([g.planes, ...places(g)]);
      // Sums of whole numbers are exact; the share and the product are rounded.
      const want = windows.map((window) => window.reduce((total, at) => total + values[at]!, 0) / taps);
      expectWithin(y, want, (i) => 3 * UNIT[dtype] * Math.abs(want[i]!));
      // At most 16 windows of at most 4 see an element; each adds a rounding of the sum's size, at most 64 / taps.
      const got = gradientOf(run, x, laidOut(dy, y.shape, dtype));
      expectWithin({ dtype, shape, data: Float64Array.from(got) }, dx, (18 * UNIT[dtype] * 64) / taps);
      x.dispose();
    }),
    { numRuns: 150 },
  );
});

test('adaptiveAvgPool2d is the means of its windows for any extents, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      pair(1, 9),
      pair(1, 7),
      floats,
      layouts,
      seeds,
      async (size, out, dtype, layout, seed) => {
        const values = randomNumbers(2 * sizeOf(size), seed, dtype);
        const y = await bothWays1(
          (x) => adaptiveAvgPool2d(x, out),
          [laidOut(values, [2, ...size], dtype, layout)],
        );
        const range = (d: 0 | 1, i: number) => {
          const first = Math.floor((i * size[d]) / out[d]);
          const end = Math.ceil(((i + 1) * size[d]) / out[d]);
          return Array.from({ length: end - first }, (_, k) => first + k);
        };
        const want: number[] = [];
        for (let p = 0; p < 2; p++)
          for (let i = 0; i < out[0]; i++)
            for (let j = 0; j < out[1]; j++) {
              const [rows, columns] = [range(0, i), range(1, j)];
              const all = rows.flatMap((r) => columns.map((c) => values[(p * size[0] + r) * size[1] + c]!));
              want.push(all.reduce((a, b) => a + b, 0) / all.length);
            }
        expect(y.shape).toEqual([2, ...out]);
        // Two sums of at most 9 terms of 2 by shares that are rounded.
        expectWithin(y, want, 2 * (2 * 9 + 4) * UNIT[dtype]);
      },
    ),
    { numRuns: 100 },
  );
});

describe('maxPool2d', () => {
  test('of a window with NaN is NaN, and the first of them gets the gradient', () => {
    const x = tensor([1, NaN, 3, 2, 5, 4, NaN, NaN], { shape: [2, 4] });
    const run = (t: Tensor) => maxPool2d(t, 2);
    expect(numbersOf(contentOf(run(x)))).toEqual([NaN, NaN]);
    expect(gradientOf(run, x, tensor([[1, 2]]))).toEqual([0, 1, 0, 0, 0, 0, 2, 0]);
  });

  test('of −∞ alone is −∞', () => {
    const x = tensor([-Infinity, -Infinity], { shape: [1, 2] });
    expect(numbersOf(contentOf(maxPool2d(x, [1, 2])))).toEqual([-Infinity]);
  });
});

test('pooling along one dimension is that of planes of one row', () => {
  const x = laidOut(whole(3 * 11, 5), [3, 11]);
  const planes = reshape(x, [3, 1, 11]);
  expectSameBits(
    contentOf(reshape(maxPool1d(x, 3, { stride: 2, padding: 1, dilation: 2 }), [3, 1, 5])),
    contentOf(maxPool2d(planes, [1, 3], { stride: [1, 2], padding: [0, 1], dilation: [1, 2] })),
  );
  expectSameBits(
    contentOf(reshape(avgPool1d(x, 3, { padding: 1 }), [3, 1, 4])),
    contentOf(avgPool2d(planes, [1, 3], { padding: [0, 1] })),
  );
});

test.each<[string, () => unknown, string]>([
  ['planes smaller than the kernel', () => maxPool2d(zeros([2, 3]), 3), '2 × 3'],
  ['planes smaller than the kernel', () => avgPool2d(zeros([1, 4, 2]), [2, 3]), '4 × 2'],
  ['lines', () => maxPool2d(zeros([3]), 2), '[3]'],
  ['planes of nothing', () => adaptiveAvgPool2d(zeros([2, 0, 3]), 1), '[2, 0, 3]'],
])('pooling refuses %s', (_, run, part) => {
  const refusal = refusalOf(run);
  expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
  expect(refusal.message).toContain(part);
});
