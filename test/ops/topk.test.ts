import { device, tensor, topk } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bothWays,
  FLOATS,
  floats,
  indexOf,
  laidOut,
  layouts,
  numbersOf,
  offsetOf,
  randomSource,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
} from './support.js';

/** Indices in order: NaN first, then the larger, then the earlier. */
function order(row: readonly number[]): number[] {
  const rank = (x: number) => (Number.isNaN(x) ? Infinity : x);
  return row
    .map((_, i) => i)
    .sort((i, j) => {
      const nans = Number(Number.isNaN(row[j])) - Number(Number.isNaN(row[i]));
      if (nans !== 0) return nans;
      const [a, b] = [rank(row[i]!), rank(row[j]!)];
      return a === b ? i - j : a > b ? -1 : 1;
    });
}

describe('topk', () => {
  test('is the head of a stable descending sort, NaN first, along any axis, on any layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes.filter((shape) => shape.length > 0),
        fc.nat(3),
        fc.nat(100),
        floats,
        layouts,
        fc.constantFrom('awkward', 'few'),
        seeds,
        async (shape, axisSeed, kSeed, dtype, layout, kind, seed) => {
          const axis = axisSeed % shape.length;
          const extent = shape[axis]!;
          const k = kSeed % (extent + 1);
          const next = randomSource(seed);
          const data =
            kind === 'few'
              ? Array.from({ length: sizeOf(shape) }, () => Math.floor(next() * 4))
              : awkwardNumbers(sizeOf(shape), seed, dtype);
          const x = laidOut(data, shape, dtype, layout);
          const [values, indices] = await bothWays((t) => topk(t!, k, { axis }), [x]);
          const out = shape.map((n, d) => (d === axis ? k : n));
          expect(values).toMatchObject({ dtype, shape: out });
          expect(indices).toMatchObject({ dtype: 'i64', shape: out });
          const at = (index: readonly number[], along: number) =>
            data[offsetOf(index.with(axis, along), shape)]!;
          const found = numbersOf(indices!);
          numbersOf(values!).forEach((value, i) => {
            const index = indexOf(i, out);
            const row = Array.from({ length: extent }, (_, j) => at(index, j));
            expect(found[i]).toBe(order(row)[index[axis]!]);
            expect(value).toBe(row[found[i]!]);
          });
          x.dispose();
        },
      ),
      { numRuns: 100 },
    );
  });

  test.each(FLOATS)(
    'of long rows of %s is the same for few and for many, and on any number of threads',
    (dtype) => {
      const next = randomSource(3);
      const n = 5000;
      const row = Array.from({ length: n }, () => Math.floor(next() * 2000) / 8);
      const want = order(row);
      const x = laidOut([...row, ...row], [2, n], dtype);
      const threads = device.info().threads;
      try {
        for (const count of [1, 3]) {
          device.setThreads(count);
          for (const k of [1, 63, 64, 65, 1000, n]) {
            const found = Array.from(topk(x, k)[1].toArray() as BigInt64Array, Number);
            expect(found).toEqual([...want.slice(0, k), ...want.slice(0, k)]);
          }
        }
      } finally {
        device.setThreads(threads);
      }
    },
  );

  test.each<[string, string, () => unknown]>([
    ['more than there are', 'DT_INVALID_ARGUMENT', () => topk(tensor([1, 2]), 3)],
    ['a negative k', 'DT_INVALID_ARGUMENT', () => topk(tensor([1, 2]), -1)],
    ['half a k', 'DT_INVALID_ARGUMENT', () => topk(tensor([1, 2]), 0.5)],
    ['an axis that is not there', 'DT_SHAPE_MISMATCH', () => topk(tensor([1, 2]), 1, { axis: 1 })],
    ['a scalar', 'DT_SHAPE_MISMATCH', () => topk(tensor(1), 1)],
    ['integers', 'DT_DTYPE_MISMATCH', () => topk(tensor([1], { dtype: 'i32' }), 1)],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
