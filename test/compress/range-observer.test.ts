import { tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RangeObserver } from '../../dist/compress/range-observer.js';
import { randomSource } from '../ops/support.js';

const seen = (...batches: readonly (readonly number[])[]) => {
  const observer = new RangeObserver();
  for (const batch of batches) observer.add(tensor(Float32Array.from(batch)), 'layer');
  return observer;
};

const values = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }), {
  minLength: 1,
  maxLength: 300,
});

/** numpy.percentile of sorted values, without interpolation: the neighbours between which it lies. */
function neighbours(sorted: readonly number[], share: number): [number, number] {
  const at = share * (sorted.length - 1);
  return [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
}

/** The mean squared error of quantizing values to 255 steps of a range, in doubles. */
function squaredError(all: readonly number[], [low, high]: readonly [number, number]): number {
  const step = (high - low) / 255;
  const zero = Math.round(-low / step);
  return (
    all.reduce((sum, x) => {
      const q = Math.min(255, Math.max(0, Math.round(x / step) + zero));
      return sum + ((q - zero) * step - x) ** 2;
    }, 0) / all.length
  );
}

describe('what was seen of a layer’s input', () => {
  test('min–max is the least and the largest, with 0 inside', () => {
    fc.assert(
      fc.property(values, (all) => {
        const [low, high] = seen(all).range('min-max', 100);
        expect(low).toBe(Math.min(0, ...all));
        expect(high).toBe(Math.max(0, ...all));
      }),
    );
  });

  test('does not depend on the order, or on the batches', () => {
    fc.assert(
      fc.property(values, fc.nat(), (all, cut) => {
        const at = cut % (all.length + 1);
        const [one, other] = [seen(all), seen(all.slice(at).reverse(), all.slice(0, at))];
        for (const method of ['percentile', 'mse'] as const) {
          expect(other.range(method, 90)).toEqual(one.range(method, 90));
        }
      }),
      { numRuns: 20 },
    );
  });

  test('a percentile is that of the sorted values, within a bin and a neighbour', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.constantFrom(80, 99, 99.9),
        fc.constantFrom(1, 1e-3, 1e5),
        (seed, percentile, scale) => {
          const next = randomSource(seed);
          const all = Array.from({ length: 3000 }, () =>
            Math.fround((next() + next() + next() - 1.2) * scale),
          );
          const sorted = all.toSorted((a, b) => a - b);
          const observer = seen(all.slice(0, 10), all.slice(10));
          const [low, high] = observer.range('percentile', percentile);
          const largest = Math.max(...all.map(Math.abs));
          // A bin is at most 1/2048 of the largest magnitude wide.
          const bin = largest / 2048;
          const [a, b] = neighbours(sorted, 1 - percentile / 100);
          const [c, d] = neighbours(sorted, percentile / 100);
          expect(low).toBeGreaterThanOrEqual(Math.min(a, 0) - bin);
          expect(low).toBeLessThanOrEqual(Math.min(b, 0) + bin);
          expect(high).toBeGreaterThanOrEqual(Math.max(c, 0) - bin);
          expect(high).toBeLessThanOrEqual(Math.max(d, 0) + bin);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('100 per cent is all of it', () => {
    const all = [-3, 0.5, 7, 2];
    expect(seen(all).range('percentile', 100)).toEqual([-3, 7]);
  });

  test('the range of least squared error is as good as the best of a plain search, and better than all of it', () => {
    for (const seed of [1, 2, 3]) {
      const next = randomSource(seed);
      // Normal, with some outliers on one side.
      const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      const all = Array.from({ length: 4000 }, (_, i) =>
        Math.fround(i % 500 === 0 ? 12 + normal() : normal()),
      );
      const observer = seen(all);
      const range = observer.range('mse', 100);
      const [low, high] = observer.range('min-max', 100);
      let best = Infinity;
      for (let a = 1; a <= 32; a++) {
        for (let b = 1; b <= 32; b++)
          best = Math.min(best, squaredError(all, [(low * a) / 32, (high * b) / 32]));
      }
      const got = squaredError(all, range);
      // A value is taken as the middle of its bin: off by at most half of one.
      const half = Math.max(-low, high) / 4096;
      expect(Math.sqrt(got)).toBeLessThanOrEqual(Math.sqrt(best) + 2 * half);
      expect(got).toBeLessThanOrEqual(squaredError(all, [low, high]) + 1e-12);
    }
  });

  test('an outlier is given up as far as that pays', () => {
    const next = randomSource(9);
    const all = Array.from({ length: 200_000 }, () => next());
    all[7] = 40;
    const [, high] = seen(all).range('mse', 100);
    // The error of rounding is (h / 255)² / 12, that of the outlier (40 − h)² / 200,000: least at h = 31.8.
    const best = 40 / (1 + 200_000 / (12 * 255 ** 2));
    expect(Math.abs(high - best)).toBeLessThan(40 / 32);
  });

  test.each([NaN, Infinity, -Infinity])('refuses %d, and names the layer', (value) => {
    expect(() => seen([1, value])).toThrow(/inputs of layer .* received (NaN|-?Infinity)/);
  });

  test('counts zeros, denormals and the largest of f32', () => {
    expect(seen([0, 0]).range('mse', 100)).toEqual([0, 0]);
    expect(seen([2 ** -149]).range('percentile', 99)[1]).toBeLessThanOrEqual(2 ** -149);
    const most = (2 - 2 ** -23) * 2 ** 127;
    expect(seen([1, most]).range('min-max', 100)).toEqual([0, most]);
    expect(seen([]).range('min-max', 100)).toEqual([0, 0]);
  });
});
