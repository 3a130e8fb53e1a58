import { compile, concat, type DType, stack, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bothWays1,
  contentOf,
  expectSameBits,
  indexOf,
  laidOut,
  layouts,
  numbersOf,
  offsetOf,
  refusalOf,
  shapes,
  sizeOf,
} from './support.js';

const DTYPES: readonly DType[] = ['f32', 'f64', 'i64', 'i32', 'i8', 'u8', 'bool', 'f16', 'bf16'];

/** Distinct small numbers, as each dtype keeps them. */
const numbered = (n: number, from: number, dtype: DType) =>
  Array.from({ length: n }, (_, i) => {
    const value = dtype === 'bool' ? (i + from) % 2 : (i + from) % 100;
    return dtype === 'i64' ? BigInt(value) : value;
  }) as number[];

describe('concat', () => {
  test('puts tensors of any dtype and layout behind each other, along any axis, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes.filter((shape) => shape.length > 0),
        fc.nat(3),
        fc.array(fc.tuple(fc.nat(4), layouts), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(...DTYPES),
        async (shape, axisSeed, parts, dtype) => {
          const axis = axisSeed % shape.length;
          const shapeOf = (extent: number) => shape.with(axis, extent);
          const data = parts.map(([extent], i) => numbered(sizeOf(shapeOf(extent)), 31 * i, dtype));
          const inputs = parts.map(([extent, layout], i) =>
            laidOut(data[i]!, shapeOf(extent), dtype, layout),
          );
          const y = await bothWays1((...tensors) => concat(tensors, axis), inputs);
          const out = shapeOf(parts.reduce((total, [extent]) => total + extent, 0));
          expect(y).toMatchObject({ dtype, shape: out });
          const want = Array.from({ length: sizeOf(out) }, (_, i) => {
            const index = indexOf(i, out);
            let part = 0;
            while (index[axis]! >= parts[part]![0]) index[axis]! -= parts[part++]![0];
            return Number(data[part]![offsetOf(index, shapeOf(parts[part]![0]))]);
          });
          expect(numbersOf(y)).toEqual(want);
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 100 },
    );
  });

  test('makes one instruction, which writes the output', () => {
    const report = compile((...t) => concat(t, 1)).program(tensor([[1]]), tensor([[2, 3]])).memory;
    expect(report.planned).toBe(0);
  });

  test.each<[string, string, () => unknown]>([
    ['no tensors', 'DT_INVALID_ARGUMENT', () => concat([])],
    ['a tensor for a list', 'DT_INVALID_ARGUMENT', () => concat(tensor([1]) as never)],
    ['two dtypes', 'DT_DTYPE_MISMATCH', () => concat([tensor([1]), tensor([1], { dtype: 'i32' })])],
    ['other extents elsewhere', 'DT_SHAPE_MISMATCH', () => concat([tensor([[1, 2]]), tensor([[1]])])],
    ['another rank', 'DT_SHAPE_MISMATCH', () => concat([tensor([1]), tensor([[1]])])],
    ['a smaller rank', 'DT_SHAPE_MISMATCH', () => concat([tensor([[1]]), tensor([1])], 1)],
    ['scalars', 'DT_SHAPE_MISMATCH', () => concat([tensor(1), tensor(2)])],
    ['an axis that is not there', 'DT_SHAPE_MISMATCH', () => concat([tensor([1])], 1)],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});

describe('stack', () => {
  test.each([0, 1, 2, -1])('lays tensors along a new axis %d, both ways', async (axis) => {
    const inputs = [0, 1, 2].map((i) => laidOut(numbered(12, 12 * i, 'f32'), [3, 4], 'f32', 'permuted'));
    const y = await bothWays1((...tensors) => stack(tensors, axis), inputs);
    const along = axis < 0 ? axis + 3 : axis;
    const shape = [3, 4];
    shape.splice(along, 0, 3);
    expect(y.shape).toEqual(shape);
    numbersOf(y).forEach((value, i) => {
      const index = indexOf(i, shape);
      const [which] = index.splice(along, 1);
      expect(value).toBe(numbersOf(contentOf(inputs[which!]!))[offsetOf(index, [3, 4])]);
    });
  });

  test('of scalars is a vector', async () => {
    const y = await bothWays1((a, b) => stack([a!, b!]), [tensor(1), tensor(2)]);
    expectSameBits(y, contentOf(tensor([1, 2])));
  });

  test.each<[string, string, () => unknown]>([
    ['no tensors', 'DT_INVALID_ARGUMENT', () => stack([])],
    ['two shapes', 'DT_SHAPE_MISMATCH', () => stack([tensor([1]), tensor([1, 2])])],
    ['two dtypes', 'DT_DTYPE_MISMATCH', () => stack([tensor([1]), tensor([1], { dtype: 'f64' })])],
    ['an axis that is not there', 'DT_SHAPE_MISMATCH', () => stack([tensor([1])], 2)],
  ])('refuses %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
