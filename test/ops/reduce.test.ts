import { argmax, globalNorm, max, mean, sum, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bothWays1,
  expectWithin,
  FLOATS,
  floats,
  indexOf,
  laidOut,
  layouts,
  offsetOf,
  randomNumbers,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
  UNIT,
} from './support.js';

/** A shape, some of its axes (counted from either end), and whether they are kept. */
const reductions = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    axes: fc.option(
      fc.subarray(
        shape.map((_, i) => i),
        { minLength: 0 },
      ),
    ),
    negative: fc.boolean(),
    keepDims: fc.boolean(),
  }),
);

interface Reduced {
  readonly shape: number[];
  /** For each output element the inputs behind it, in row-major order. */
  readonly groups: number[][];
}

function reduced(shape: readonly number[], axes: readonly number[], keepDims: boolean): Reduced {
  const ones = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  const groups = Array.from({ length: sizeOf(ones) }, () => [] as number[]);
  for (let i = 0; i < sizeOf(shape); i++) {
    const index = indexOf(i, shape).map((at, axis) => (axes.includes(axis) ? 0 : at));
    groups[offsetOf(index, ones)]!.push(i);
  }
  return { shape: keepDims ? ones : ones.filter((_, axis) => !axes.includes(axis)), groups };
}

const options = (axes: readonly number[] | null, rank: number, negative: boolean, keepDims: boolean) =>
  axes === null ? { keepDims } : { axis: axes.map((axis) => (negative ? axis - rank : axis)), keepDims };

describe.each([
  ['sum', sum],
  ['mean', mean],
] as const)('%s', (name, op) => {
  test('is right over any axes, on any layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(reductions, floats, layouts, seeds, async (reduction, dtype, layout, seed) => {
        const { shape, axes, negative, keepDims } = reduction;
        const data = randomNumbers(sizeOf(shape), seed, dtype);
        const x = laidOut(data, shape, dtype, layout);
        const y = await bothWays1((t) => op(t, options(axes, shape.length, negative, keepDims)), [x]);
        const { shape: outShape, groups } = reduced(shape, axes ?? shape.map((_, i) => i), keepDims);
        expect(y).toMatchObject({ dtype, shape: outShape });
        const divisor = (group: number[]) => (name === 'mean' ? group.length : 1);
        const want = groups.map((group) => group.reduce((total, i) => total + data[i]!, 0) / divisor(group));
        // n additions at most, here and (in double) in the reference; a mean rounds 1/n and the product as well.
        const bound = groups.map((group) => {
          const magnitude = group.reduce((total, i) => total + Math.abs(data[i]!), 0);
          return ((group.length + 3) * (UNIT[dtype] + UNIT.f64) * magnitude) / divisor(group);
        });
        expectWithin(y, want, (i) => bound[i]!);
        x.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test.each(FLOATS)('does not lose digits over long rows of %s', async (dtype) => {
    // 0.1 a hundred thousand times: adding one by one in f32 would be off by far more than this.
    const n = 100_003;
    const value = dtype === 'f32' ? Math.fround(0.1) : 0.1;
    const x = tensor(dtype === 'f32' ? new Float32Array(n).fill(value) : new Float64Array(n).fill(value));
    const y = await bothWays1((t) => op(t), [x]);
    const want = name === 'mean' ? value : value * n;
    // Partial sums of 16384 are rounded to the dtype once, and so is the result; the rest is in double.
    expectWithin(y, [want], want * (4 * UNIT[dtype] + n * UNIT.f64));
  });

  test('passes NaN and infinities on', async () => {
    const x = tensor([
      [1, NaN],
      [Infinity, 2],
      [Infinity, -Infinity],
      [3, 4],
    ]);
    const factor = name === 'mean' ? 0.5 : 1;
    expectWithin(await bothWays1((t) => op(t, { axis: 1 }), [x]), [NaN, Infinity, NaN, 7 * factor], 0);
  });
});

test('the sum of nothing is zero, its mean is NaN', async () => {
  const x = tensor(new Float32Array(0), { shape: [2, 0, 3] });
  expect([...(await bothWays1((t) => sum(t, { axis: 1 }), [x])).data]).toEqual([0, 0, 0, 0, 0, 0]);
  expect([...(await bothWays1((t) => sum(t), [x])).data]).toEqual([0]);
  expect([...(await bothWays1((t) => mean(t), [x])).data]).toEqual([NaN]);
});

describe('max', () => {
  test('is the largest element over any axes, NaN where there is one, on any layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(reductions, floats, layouts, seeds, async (reduction, dtype, layout, seed) => {
        const { shape, axes, negative, keepDims } = reduction;
        const all = axes ?? shape.map((_, i) => i);
        const { shape: outShape, groups } = reduced(shape, all, keepDims);
        fc.pre(groups.every((group) => group.length > 0) && all.every((axis) => shape[axis]! > 0));
        const data = awkwardNumbers(sizeOf(shape), seed, dtype);
        const x = laidOut(data, shape, dtype, layout);
        const y = await bothWays1((t) => max(t, options(axes, shape.length, negative, keepDims)), [x]);
        expect(y).toMatchObject({ dtype, shape: outShape });
        expectWithin(
          y,
          groups.map((group) => Math.max(...group.map((i) => data[i]!))),
          0,
        );
        x.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('of minus infinities is minus infinity', async () => {
    expect([...(await bothWays1((t) => max(t), [tensor([-Infinity, -Infinity])])).data]).toEqual([-Infinity]);
  });
});

describe('argmax', () => {
  test('is the first of the largest, or the first NaN, along one axis, both ways', async () => {
    const shaped = shapes
      .filter((shape) => shape.length > 0)
      .chain((shape) => fc.tuple(fc.constant(shape), fc.nat(shape.length - 1)))
      .filter(([shape, axis]) => shape[axis]! > 0);
    await fc.assert(
      fc.asyncProperty(
        shaped,
        floats,
        layouts,
        seeds,
        fc.boolean(),
        async ([shape, axis], dtype, layout, seed, few) => {
          const wide = awkwardNumbers(sizeOf(shape), seed, dtype);
          const data = few ? wide.map((value) => Math.sign(value)) : wide;
          const x = laidOut(data, shape, dtype, layout);
          const y = await bothWays1((t) => argmax(t, axis - shape.length), [x]);
          const { shape: outShape, groups } = reduced(shape, [axis], false);
          expect(y).toMatchObject({ dtype: 'i64', shape: outShape });
          const want = groups.map((group) => {
            const values = group.map((i) => data[i]!);
            const spoiled = values.findIndex(Number.isNaN);
            return BigInt(spoiled >= 0 ? spoiled : values.indexOf(Math.max(...values)));
          });
          expect(Array.from(y.data as BigInt64Array)).toEqual(want);
          x.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('globalNorm', () => {
  test('is the root of all squares, over all tensors and layouts, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(shapes, { minLength: 1, maxLength: 3 }),
        floats,
        layouts,
        seeds,
        async (some, dtype, layout, seed) => {
          const data = some.map((shape, i) => randomNumbers(sizeOf(shape), seed + i, dtype));
          const inputs = some.map((shape, i) => laidOut(data[i]!, shape, dtype, layout));
          const y = await bothWays1((...tensors) => globalNorm(tensors), inputs);
          expect(y).toMatchObject({ dtype, shape: [] });
          const want = Math.sqrt(data.flat().reduce((total, x) => total + x * x, 0));
          // Added up in double both here and there, the root halves the error; one rounding to the dtype.
          expectWithin(y, [want], want * ((data.flat().length + 3) * UNIT.f64 + UNIT[dtype]));
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 40 },
    );
  });

  test('does not overflow where the norm itself does not', async () => {
    const x = tensor([1e30, -1e30]);
    expectWithin(
      await bothWays1((t) => globalNorm([t]), [x]),
      [Math.fround(1e30) * Math.SQRT2],
      1e30 * 2 ** -23,
    );
  });

  test.each([NaN, Infinity])('shows %d', async (value) => {
    const y = await bothWays1((a, b) => globalNorm([a!, b!]), [tensor([1, 2]), tensor([value])]);
    expect([...y.data]).toEqual([value]);
  });
});

describe('is refused:', () => {
  const empty = tensor(new Float32Array(0), { shape: [2, 0] });
  const x = tensor([[1, 2]]);
  test.each<[string, string, () => unknown]>([
    ['the maximum of nothing', 'DT_SHAPE_MISMATCH', () => max(empty)],
    ['the maximum along an empty axis', 'DT_SHAPE_MISMATCH', () => max(empty, { axis: 1 })],
    ['argmax along an empty axis', 'DT_SHAPE_MISMATCH', () => argmax(empty)],
    ['argmax of a scalar', 'DT_SHAPE_MISMATCH', () => argmax(tensor(1))],
    ['an axis that is not there', 'DT_SHAPE_MISMATCH', () => sum(x, { axis: 2 })],
    ['a fractional axis', 'DT_SHAPE_MISMATCH', () => mean(x, { axis: [0.5] })],
    ['integers', 'DT_DTYPE_MISMATCH', () => sum(tensor([1], { dtype: 'i32' }))],
    ['the norm of two dtypes', 'DT_DTYPE_MISMATCH', () => globalNorm([x, tensor([1], { dtype: 'f64' })])],
    ['the norm of nothing', 'DT_INVALID_ARGUMENT', () => globalNorm([])],
    [
      'the norm of an array',
      'DT_INVALID_ARGUMENT',
      () => globalNorm([new Float32Array(2) as unknown as Tensor]),
    ],
  ])('%s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
