import { describe, expect, test } from 'vitest';
import { geometricMean, median, medianInterval } from '../../bench/statistics.mjs';

test('the median is the middle value, or the mean of the two in the middle, and sorts a copy', () => {
  const values = [10, 9, 2];
  expect(median(values)).toBe(9);
  expect(values).toEqual([10, 9, 2]);
  expect(median([4, 1, 3, 100])).toBe(3.5);
  expect(median([7])).toBe(7);
});

test('the geometric mean of a ratio and its inverse is 1', () => {
  expect(geometricMean([4, 0.25])).toBeCloseTo(1, 12);
  expect(geometricMean([2, 8])).toBeCloseTo(4, 12);
});

describe('the interval of the median', () => {
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => n - i);

  test('leaves out as many values on each side as the binomial allows', () => {
    // P(X ≤ 1) = 13 / 4096 = 0.003 and P(X ≤ 2) = 79 / 4096 = 0.019 of 12 fair coins.
    expect(medianInterval(upTo(12), 0.005)).toEqual([2, 11]);
    expect(medianInterval(upTo(12), 0.02)).toEqual([3, 10]);
    // P(X = 0) = 1 / 256 = 0.0039 of 8.
    expect(medianInterval(upTo(8), 0.005)).toEqual([1, 8]);
  });

  test('is the whole line for too few values', () => {
    expect(medianInterval(upTo(7), 0.005)).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]);
  });

  test('holds the median of a skewed distribution as often as it says', () => {
    let state = 1;
    const uniform = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 2 ** 32;
    };
    const trials = 4000;
    let missed = 0;
    for (let i = 0; i < trials; i++) {
      const [low, high] = medianInterval(
        Array.from({ length: 12 }, () => -Math.log(uniform())),
        0.005,
      );
      if (low > Math.LN2 || high < Math.LN2) missed++;
    }
    // 2 · 0.0032 are expected: 25 of 4000, with a standard deviation of 5.
    expect(missed).toBeGreaterThan(0);
    expect(missed).toBeLessThan(50);
  });
});
