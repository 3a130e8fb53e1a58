import { arange, type DType, full, ones, zeros } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { toFloat16 } from '../../dist/tensor/half.js';
import { DTYPES } from '../../dist/tensor/index.js';
import { bothWays1, refusalOf } from './support.js';

const ALL = Object.keys(DTYPES) as DType[];

/** A number as the dtype keeps it. */
const kept = (value: number, dtype: DType): number | bigint => {
  if (dtype === 'i64') return BigInt(value);
  if (dtype === 'f16' || dtype === 'bf16') return toFloat16(value, dtype);
  return dtype === 'f32' ? Math.fround(value) : value;
};

describe.each(ALL)('in %s', (dtype) => {
  test.each([[[]], [[0]], [[3]], [[17, 3]], [[2, 0, 4]], [[1, 1, 1, 1, 1, 1, 1, 70000]]])(
    'full, zeros and ones of %j hold their value in every element, both ways',
    async (shape) => {
      for (const [make, value] of [
        [() => full(shape, 1, { dtype }), 1],
        [() => zeros(shape, { dtype }), 0],
        [() => ones(shape, { dtype }), 1],
      ] as const) {
        const result = await bothWays1(make, []);
        expect(result).toMatchObject({ dtype, shape });
        expect([...new Set(result.data as Float32Array)]).toEqual(
          shape.some((extent) => extent === 0) ? [] : [kept(value, dtype)],
        );
      }
    },
  );

  test('full takes every value that the dtype holds', async () => {
    const ranges: Record<DType, number[]> = {
      f32: [0.1, -0, NaN, Infinity, 1e300],
      f64: [0.1, -0, NaN, -Infinity, 5e-324],
      i64: [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
      i32: [2 ** 31 - 1, -(2 ** 31)],
      i8: [127, -128],
      u8: [255, 0],
      bool: [0, 1],
      f16: [0.1, 65504, 1e9, -(2 ** -24), NaN],
      bf16: [0.1, 3e38, -1e-3, NaN],
    };
    for (const value of ranges[dtype]) {
      const { data } = await bothWays1(() => full([3], value, { dtype }), []);
      expect(Array.from(data as Float32Array)).toEqual([0, 1, 2].map(() => kept(value, dtype)));
    }
  });

  test('arange counts', async () => {
    const count = dtype === 'bool' ? 2 : 100;
    const { data } = await bothWays1(() => arange(count, { dtype }), []);
    expect(Array.from(data as Float32Array)).toEqual(Array.from({ length: count }, (_, i) => kept(i, dtype)));
  });
});

test.each([
  ['i32', 0.5],
  ['i32', 2 ** 31],
  ['i8', 128],
  ['u8', -1],
  ['i64', NaN],
  ['i64', 2 ** 63],
  ['i64', 1.5],
] as const)('full refuses what %s cannot hold: %d', (dtype, value) => {
  const refusal = refusalOf(() => full([2], value, { dtype }));
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(String(value));
});

test.each([2, -1, 0.25, NaN])('full takes %d for true', async (value) => {
  const { data } = await bothWays1(() => full([2], value, { dtype: 'bool' }), []);
  expect([...(data as Uint8Array)]).toEqual([1, 1]);
});

test.each([-1, 1.5, NaN, Infinity])('arange refuses %d', (n) => {
  expect(refusalOf(() => arange(n)).code).toBe('DT_INVALID_ARGUMENT');
});

test('arange of nothing is empty', () => {
  expect(arange(0).toJSON()).toEqual({ dtype: 'f32', shape: [0], data: [] });
});
