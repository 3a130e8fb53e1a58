import {
  assign,
  broadcastTo,
  clone,
  contiguous,
  type DType,
  permute,
  reshape,
  slice,
  tensor,
  transpose,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPES } from '../../dist/tensor/index.js';
import {
  bothWays1,
  broadcastSource,
  contentOf,
  indexOf,
  laidOut,
  layouts,
  offsetOf,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
} from './support.js';

const counted = (n: number) => Array.from({ length: n }, (_, i) => i);
const read = ({ data }: { data: ArrayLike<number | bigint> }) => Array.from(data, Number);

/** A shape and an order of its dimensions. */
const permuted = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    order: fc.shuffledSubarray(counted(shape.length), { minLength: shape.length }),
  }),
);

const sliced = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 }).chain((shape) =>
  fc.nat(shape.length - 1).chain((axis) =>
    fc.tuple(fc.nat(shape[axis]!), fc.nat(shape[axis]!)).map(([a, b]) => ({
      shape,
      axis,
      begin: Math.min(a, b),
      end: Math.max(a, b),
    })),
  ),
);

describe('every view holds the elements that its name says, on every layout, both ways:', () => {
  test('permute', async () => {
    await fc.assert(
      fc.asyncProperty(permuted, layouts, async ({ shape, order }, layout) => {
        const x = laidOut(counted(sizeOf(shape)), shape, 'f64', layout);
        const y = await bothWays1((t) => permute(t, order), [x]);
        expect(y.shape).toEqual(order.map((axis) => shape[axis]));
        const want = counted(sizeOf(shape)).map((i) => {
          const index = indexOf(i, y.shape);
          const source = new Array<number>(shape.length);
          order.forEach((axis, at) => {
            source[axis] = index[at]!;
          });
          return offsetOf(source, shape);
        });
        expect(read(y)).toEqual(want);
      }),
      { numRuns: 60 },
    );
  });

  test('transpose', async () => {
    const x = laidOut(counted(24), [2, 3, 4], 'f32');
    for (const [a, b, order] of [
      [undefined, undefined, [0, 2, 1]],
      [0, 2, [2, 1, 0]],
      [-3, 1, [1, 0, 2]],
      [1, 1, [0, 1, 2]],
    ] as const) {
      const got = await bothWays1((t) => transpose(t, a, b), [x]);
      expect(got).toEqual(await bothWays1((t) => permute(t, order), [x]));
    }
  });

  test('slice', async () => {
    await fc.assert(
      fc.asyncProperty(sliced, layouts, async ({ shape, axis, begin, end }, layout) => {
        const x = laidOut(counted(sizeOf(shape)), shape, 'f32', layout);
        const y = await bothWays1((t) => slice(t, axis - shape.length, begin, end), [x]);
        expect(y.shape).toEqual(shape.map((extent, i) => (i === axis ? end - begin : extent)));
        const want = counted(sizeOf(y.shape)).map((i) =>
          offsetOf(
            indexOf(i, y.shape).map((at, k) => (k === axis ? at + begin : at)),
            shape,
          ),
        );
        expect(read(y)).toEqual(want);
      }),
      { numRuns: 60 },
    );
  });

  test('broadcastTo', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, layouts, seeds, async (shape, layout, seed) => {
        const from = shape
          .map((extent, i) => ((seed >> i) & 1 ? 1 : extent))
          .slice(seed % (shape.length + 1));
        const x = laidOut(counted(sizeOf(from)), from, 'f64', layout);
        const y = await bothWays1((t) => broadcastTo(t, shape), [x]);
        expect(y.shape).toEqual(shape);
        expect(read(y)).toEqual(counted(sizeOf(shape)).map((i) => broadcastSource(i, shape, from)));
      }),
      { numRuns: 60 },
    );
  });

  test('reshape, with one dimension left to be computed', async () => {
    await fc.assert(
      fc.asyncProperty(permuted, layouts, fc.nat(4), async ({ shape, order }, layout, which) => {
        const x = laidOut(counted(sizeOf(shape)), shape, 'f32', layout);
        const target = order.map((axis) => shape[axis]!);
        const others = target.filter((_, i) => i !== which % target.length);
        const given = target.map((extent, i) =>
          sizeOf(others) > 0 && i === which % target.length ? -1 : extent,
        );
        const y = await bothWays1((t) => reshape(t, given), [x]);
        expect(y.shape).toEqual(target);
        expect(read(y)).toEqual(counted(sizeOf(shape)));
      }),
      { numRuns: 60 },
    );
  });

  test('one after another', async () => {
    const x = laidOut(counted(2 * 3 * 4 * 5), [2, 3, 4, 5], 'f32');
    const y = await bothWays1(
      (t) => slice(reshape(permute(slice(t, 1, 1, 3), [3, 0, 2, 1]), [5, 2, 8]), 2, 3, 7),
      [x],
    );
    const want = [];
    for (let d = 0; d < 5; d++)
      for (let a = 0; a < 2; a++)
        for (let k = 3; k < 7; k++) want.push(offsetOf([a, 1 + (k % 2), Math.floor(k / 2), d], [2, 3, 4, 5]));
    expect(read(y)).toEqual(want);
  });
});

test('views share memory: what is assigned to one shows in the other', () => {
  const x = tensor(new Float32Array(12), { shape: [3, 4] });
  assign(
    slice(transpose(x), 0, 1, 3),
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]),
  );
  expect(Array.from(x.toArray() as Float32Array)).toEqual([0, 1, 4, 0, 0, 2, 5, 0, 0, 3, 6, 0]);
});

const copied = fc.constantFrom(...(Object.keys(DTYPES) as DType[]));

test('clone and assign keep every bit of every dtype on every layout', async () => {
  await fc.assert(
    fc.asyncProperty(copied, shapes, layouts, layouts, async (dtype, shape, layout, targetLayout) => {
      const data = counted(sizeOf(shape)).map((i) =>
        dtype === 'i64' ? BigInt(i) << 40n : dtype === 'bool' ? i % 2 : i % 100,
      );
      const x = laidOut(data as number[], shape, dtype, layout);
      const copy = await bothWays1(clone, [x]);
      expect(copy).toEqual({ dtype, shape, data: x.toArray() });
      const zeros = data.map(() => (dtype === 'i64' ? 0n : 0));
      const target = laidOut(zeros as number[], shape, dtype, targetLayout);
      assign(target, x);
      expect(contentOf(target)).toEqual(copy);
      x.dispose();
      target.dispose();
    }),
    { numRuns: 80 },
  );
});

test('assigning to part of a tensor leaves the rest alone', () => {
  const data = counted(6 * 7);
  const x = tensor(Float64Array.from(data), { shape: [6, 7] });
  assign(slice(slice(x, 0, 2, 4), 1, 3, 5), tensor(Float64Array.of(-1, -2, -3, -4), { shape: [2, 2] }));
  const want = data.slice();
  [17, 18, 24, 25].forEach((at, i) => {
    want[at] = -1 - i;
  });
  expect(Array.from(x.toArray() as Float64Array)).toEqual(want);
});

test('contiguous is the tensor itself where it lies row by row, else a copy', () => {
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  expect(contiguous(x)).toBe(x);
  const turned = contiguous(transpose(x));
  expect(turned.storage).not.toBe(x.storage);
  expect(turned.toJSON().data).toEqual([1, 3, 2, 4]);
});

describe('what does not fit is refused:', () => {
  const x = tensor(new Float32Array(12), { shape: [3, 4] });
  test.each<[string, () => unknown]>([
    ['reshape to another size', () => reshape(x, [5])],
    ['reshape with two unknowns', () => reshape(x, [-1, -1])],
    ['reshape with an unknown that does not divide', () => reshape(x, [5, -1])],
    ['reshape with an unknown beside zero', () => reshape(x, [0, -1])],
    ['reshape to negative dimensions', () => reshape(x, [-3, -4])],
    ['permute without a dimension', () => permute(x, [0])],
    ['permute with one twice', () => permute(x, [1, 1])],
    ['permute with one too many', () => permute(x, [0, 2])],
    ['transpose of a vector', () => transpose(tensor([1]))],
    ['transpose by a fraction', () => transpose(x, 0.5, 1)],
    ['slice beyond the end', () => slice(x, 0, 1, 4)],
    ['slice that ends before it begins', () => slice(x, 0, 2, 1)],
    ['slice from before the beginning', () => slice(x, 0, -1, 2)],
    ['slice along no dimension', () => slice(x, 2, 0, 1)],
    ['broadcastTo a smaller shape', () => broadcastTo(x, [4])],
    ['broadcastTo another extent', () => broadcastTo(x, [3, 5])],
    ['broadcastTo more dimensions than there are', () => broadcastTo(x, [1, 1, 1, 1, 1, 1, 1, 3, 4])],
  ])('%s', (_, run) => {
    expect(refusalOf(run).code).toBe('DT_SHAPE_MISMATCH');
  });
});
