import { describe, expect, test } from 'vitest';
import { toFloat16, toFloat32 } from '../../dist/tensor/half.js';

/** The value of a pattern by the definition: sign, exponent with a bias, fraction. */
function valueOfPattern(pattern: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = pattern >>> 15 ? -1 : 1;
  const exponent = (pattern >>> fractionBits) & (2 ** exponentBits - 1);
  const fraction = (pattern & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

describe.each([
  ['f16', 5, 0x7c00],
  ['bf16', 8, 0x7f80],
] as const)('%s', (dtype, exponentBits, infinity) => {
  test('all 65536 patterns have the value that the format gives them, and come back', () => {
    for (let pattern = 0; pattern < 65536; pattern++) {
      const value = toFloat32(pattern, dtype);
      if (!Object.is(value, valueOfPattern(pattern, exponentBits))) expect.fail(`${pattern} is ${value}`);
      const back = toFloat16(value, dtype);
      if (Number.isNaN(value) ? !Number.isNaN(toFloat32(back, dtype)) : back !== pattern) {
        expect.fail(`${pattern} came back as ${back}`);
      }
    }
  });

  test('between two neighbours the nearer is taken, at half way the even one', () => {
    for (let low = 0; low < infinity - 1; low++) {
      const [a, b] = [valueOfPattern(low, exponentBits), valueOfPattern(low + 1, exponentBits)];
      const half = (a + b) / 2; // exact, in f32 too
      const even = low % 2 === 0 ? low : low + 1;
      const nearer = [half - (b - a) / 8, half, half + (b - a) / 8].map((x) => toFloat16(x, dtype));
      if (nearer[0] !== low || nearer[1] !== even || nearer[2] !== low + 1)
        expect.fail(`beside ${low}: ${nearer}`);
      if (toFloat16(-half, dtype) !== (even | 0x8000)) expect.fail(`beside −${low}`);
    }
  });

  test('what is too large becomes infinity, from half a step beyond the largest on', () => {
    const largest = valueOfPattern(infinity - 1, exponentBits);
    const limit = largest + (largest - valueOfPattern(infinity - 2, exponentBits)) / 2;
    expect(toFloat16(limit, dtype)).toBe(infinity);
    expect(toFloat16(-limit, dtype)).toBe(infinity | 0x8000);
    expect(toFloat16(limit * (1 - 2 ** -23), dtype)).toBe(infinity - 1);
    expect(toFloat16(1e300, dtype)).toBe(infinity);
    expect(toFloat16(Infinity, dtype)).toBe(infinity);
  });

  test('zeros keep their sign, and what is under half the smallest becomes one', () => {
    const smallest = valueOfPattern(1, exponentBits);
    expect([0, -0, smallest / 2, -smallest / 2, smallest * 0.75].map((x) => toFloat16(x, dtype))).toEqual([
      0, 0x8000, 0, 0x8000, 1,
    ]);
  });
});
