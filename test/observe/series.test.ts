import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Series } from '../../dist/observe/series.js';

const numbers = fc.array(
  fc.oneof(
    { weight: 9, arbitrary: fc.double({ min: 1e-3, max: 1e3, noNaN: true }) },
    { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Infinity, -Infinity) },
  ),
  { maxLength: 60 },
);
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

test('means are those of the last finite numbers, window by window', () => {
  fc.assert(
    fc.property(numbers, fc.integer({ min: 3, max: 12 }), (values, window) => {
      const series = new Series(window);
      for (const value of values) series.push(value);
      const finite = values.filter(Number.isFinite);
      expect(series.count).toBe(finite.length);
      for (const back of [0, 1] as const) {
        const end = finite.length - back * window;
        const expected = end < window ? undefined : mean(finite.slice(end - window, end));
        if (expected === undefined) expect(series.mean(back)).toBeUndefined();
        else expect(series.mean(back)! / expected).toBeCloseTo(1, 12);
      }
    }),
  );
});

test('the trend is the least-squares line through the logarithms: the textbook sums give the same', () => {
  fc.assert(
    fc.property(numbers, fc.integer({ min: 3, max: 12 }), (values, window) => {
      const series = new Series(window);
      for (const value of values) series.push(value);
      const y = values.filter(Number.isFinite).slice(-window).map(Math.log);
      const n = y.length;
      const trend = series.trend();
      if (n < 3) {
        expect(trend).toBeUndefined();
        return;
      }
      const x = y.map((_, i) => i);
      const [sx, sy] = [n * mean(x), n * mean(y)];
      const sxx = x.reduce((sum, v) => sum + v * v, 0);
      const sxy = x.reduce((sum, v, i) => sum + v * y[i]!, 0);
      const slope = (n * sxy - sx * sy) / (n * sxx - sx * sx);
      const intercept = (sy - slope * sx) / n;
      const squares = y.reduce((sum, v, i) => sum + (v - intercept - slope * i) ** 2, 0);
      const error = Math.sqrt(squares / (n - 2) / (sxx - (sx * sx) / n));
      expect(trend!.count).toBe(n);
      expect(trend!.slope).toBeCloseTo(slope, 10);
      expect(trend!.error).toBeCloseTo(error, 6);
    }),
  );
});

test('numbers that shrink by a constant share have exactly that slope, and no error', () => {
  const series = new Series(50);
  for (let i = 0; i < 80; i++) series.push(3 * 0.98 ** i);
  expect(series.trend()!.slope).toBeCloseTo(Math.log(0.98), 12);
  expect(series.trend()!.error).toBeLessThan(1e-12);
});

test('there is no trend of logarithms where a number is not above 0', () => {
  for (const value of [0, -1]) {
    const series = new Series(5);
    for (const each of [1, 2, value, 3]) series.push(each);
    expect(series.trend()).toBeUndefined();
    for (let i = 0; i < 5; i++) series.push(2);
    expect(series.trend()!.slope).toBeCloseTo(0, 12);
  }
});
