import { expect, test } from 'vitest';
import {
  constant,
  findFault,
  numbers,
  problem,
  random,
  randomIntegers,
  sampleIndices,
} from '../../bench/data.mjs';

test('numbers depend on index and seed alone, fill their range, and a constant is one', () => {
  const values = numbers(random(10_000, 3, 2));
  expect(numbers(random(100, 3, 2))).toEqual(values.subarray(0, 100));
  expect(numbers(random(100, 4, 2))).not.toEqual(values.subarray(0, 100));
  expect(Math.max(...values)).toBeGreaterThan(1.99);
  expect(Math.min(...values)).toBeLessThan(-1.99);
  expect(Math.abs([...values].reduce((sum: number, value: number) => sum + value, 0)) / 10_000).toBeLessThan(
    0.05,
  );
  expect([...numbers(constant(3, 7))]).toEqual([7, 7, 7]);
});

test('integers cover the whole range of their type', () => {
  for (const [type, low, high] of [
    ['s8', -128, 127],
    ['u8', 0, 255],
  ] as const) {
    const values = numbers(randomIntegers(type, 10_000, 1));
    expect([Math.min(...values), Math.max(...values)]).toEqual([low, high]);
  }
  expect([...numbers(constant(2, 255, 'u8'))]).toEqual([255, 255]);
});

test('another process can make them: the first ones of a seed', () => {
  // What floats(4, 1, 1.0) of bench/peers/pytorch.py gives.
  const golden = ['0.049468', '-0.367425', '-0.212388', '-0.861931'];
  expect([...numbers(random(4, 1))].map((value) => value.toFixed(6))).toEqual(golden);
});

test('a wrong, missing or NaN value is a fault, one within the error is none', () => {
  const doubled = problem({
    op: 'double',
    inputs: { x: random(5, 1) },
    size: 5,
    expected: (index: number, { x }: Record<string, Float32Array>) => ({
      value: 2 * x![index]!,
      error: 1e-6,
    }),
  });
  const indices = sampleIndices(5);
  const right = indices.map((i: number) => 2 * doubled.arrays.x![i]!);
  expect(findFault(doubled, indices, right)).toBeUndefined();
  expect(
    findFault(
      doubled,
      indices,
      right.map((value: number) => value + 1e-5),
    ),
  ).toContain('instead of');
  expect(
    findFault(
      doubled,
      indices,
      right.map(() => Number.NaN),
    ),
  ).toContain('NaN instead of');
});

test('samples have both ends and stay inside', () => {
  const indices = sampleIndices(1000);
  expect(indices).toContain(0);
  expect(indices).toContain(999);
  expect(indices.every((i: number) => i >= 0 && i < 1000)).toBe(true);
  expect(new Set(indices).size).toBe(indices.length);
});
