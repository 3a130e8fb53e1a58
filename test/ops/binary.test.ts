import {
  add,
  defaultPool,
  div,
  maximum,
  minimum,
  mul,
  type Operand,
  sub,
  type Tensor,
  tensor,
  transpose,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bothWays1,
  broadcastSource,
  denormals,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  LARGEST,
  laidOut,
  layouts,
  numbersOf,
  seeds,
  shapes,
  sizeOf,
  TINY,
} from './support.js';

interface Case {
  readonly op: (a: Operand, b: Operand) => Tensor;
  readonly reference: (a: number, b: number) => number;
}

const spoiled = (a: number, b: number) => Number.isNaN(a) || Number.isNaN(b);
const cases: Record<string, Case> = {
  add: { op: add, reference: (a, b) => a + b },
  sub: { op: sub, reference: (a, b) => a - b },
  mul: { op: mul, reference: (a, b) => a * b },
  div: { op: div, reference: (a, b) => a / b },
  maximum: { op: maximum, reference: (a, b) => (spoiled(a, b) ? NaN : a > b ? a : b) },
  minimum: { op: minimum, reference: (a, b) => (spoiled(a, b) ? NaN : a < b ? a : b) },
};

/** Arithmetic is exactly rounded: of two f32, rounding the double result once more changes nothing. */
const rounded = (dtype: Float, x: number) => (dtype === 'f32' ? Math.fround(x) : x);

/** Denormals may be flushed on the way in and out; everything else is exact. */
function expectBinary({ reference }: Case, dtype: Float, a: number, b: number, got: number): void {
  const tiny = TINY[dtype];
  const readings = (x: number) => (Math.abs(x) < tiny ? [x, 0 * x] : [x]);
  const wanted = readings(a).flatMap((x) => readings(b).map((y) => rounded(dtype, reference(x, y))));
  const matches = (want: number) =>
    got === want ||
    (Number.isNaN(got) && Number.isNaN(want)) ||
    (Math.abs(got) < tiny && Math.abs(want) < tiny) ||
    (got === 0 && Math.abs(want) === tiny);
  if (!wanted.some(matches)) expect.fail(`of ${a} and ${b}: expected ${wanted} but received ${got}`);
}

/** A shape, and one that broadcasts to it: some dimensions one, some leading ones left out. */
const broadcastable = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    smaller: fc
      .tuple(
        fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
        fc.nat(shape.length),
      )
      .map(([ones, dropped]) => shape.map((extent, i) => (ones[i] ? 1 : extent)).slice(dropped)),
  }),
);

describe.each(Object.entries(cases))('%s', (_, testCase) => {
  test('is exact on every layout and broadcast, both ways, with either operand the smaller', async () => {
    await fc.assert(
      fc.asyncProperty(
        floats,
        broadcastable,
        layouts,
        layouts,
        seeds,
        fc.boolean(),
        async (dtype, { shape, smaller }, layout, otherLayout, seed, swapped) => {
          const large = awkwardNumbers(sizeOf(shape), seed, dtype);
          const small = awkwardNumbers(sizeOf(smaller), seed + 1, dtype);
          const x = laidOut(large, shape, dtype, layout);
          const y = laidOut(small, smaller, dtype, otherLayout);
          const result = await bothWays1(testCase.op, swapped ? [y, x] : [x, y]);
          expect(result).toMatchObject({ dtype, shape });
          const got = numbersOf(result);
          got.forEach((value, i) => {
            const pair = [large[i]!, small[broadcastSource(i, shape, smaller)]!] as const;
            const [a, b] = swapped ? [pair[1], pair[0]] : pair;
            expectBinary(testCase, dtype, a, b, value);
          });
          x.dispose();
          y.dispose();
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each(FLOATS)('takes denormals of %s for zero, or for what they are', (dtype) => {
    const some = denormals(dtype);
    const others = [0, 1, -3, LARGEST[dtype], ...some];
    const pairs = some.flatMap((a) => others.flatMap((b) => [[a, b] as const, [b, a] as const]));
    const [a, b] = [0, 1].map((side) =>
      laidOut(
        pairs.map((pair) => pair[side]!),
        [pairs.length],
        dtype,
      ),
    );
    const got = defaultPool.scope(() => testCase.op(a!, b!).toArray());
    pairs.forEach(([x, y], i) => {
      expectBinary(testCase, dtype, x, y, Number(got[i]));
    });
  });

  test('broadcasts both operands at once', async () => {
    const a = tensor([[1], [2], [4]]);
    const b = tensor([[3, 5]]);
    const result = await bothWays1(testCase.op, [a, b]);
    expect(result.shape).toEqual([3, 2]);
    const want = [1, 2, 4].flatMap((x) => [3, 5].map((y) => Math.fround(testCase.reference(x, y))));
    expectWithin(result, want, 0);
  });

  test.each(FLOATS)('takes a number in the dtype of a tensor of %s, on either side', async (dtype) => {
    const data = awkwardNumbers(33, 7, dtype);
    const x = laidOut(data, [33], dtype);
    const after = await bothWays1((t) => testCase.op(t, 0.1), [x]);
    const before = await bothWays1((t) => testCase.op(0.1, t), [x]);
    expect(after.dtype).toBe(dtype);
    data.forEach((value, i) => {
      expectBinary(testCase, dtype, value, rounded(dtype, 0.1), numbersOf(after)[i]!);
      expectBinary(testCase, dtype, rounded(dtype, 0.1), value, numbersOf(before)[i]!);
    });
  });

  test('takes one tensor as both operands', async () => {
    const data = awkwardNumbers(65, 11, 'f32');
    const x = laidOut(data, [65], 'f32');
    const got = numbersOf(await bothWays1((t) => testCase.op(t, t), [x]));
    data.forEach((value, i) => {
      expectBinary(testCase, 'f32', value, value, got[i]!);
    });
  });

  test('takes a tensor and its transpose, which share their memory', async () => {
    const n = 37;
    const data = awkwardNumbers(n * n, 5, 'f64');
    const x = laidOut(data, [n, n], 'f64');
    // The temporary is where a recorded program might write over what it still reads.
    const got = numbersOf(
      await bothWays1(
        (t) => {
          const copy = mul(t, 1);
          return testCase.op(copy, transpose(copy));
        },
        [x],
      ),
    );
    data.forEach((value, i) => {
      expectBinary(testCase, 'f64', value, data[(i % n) * n + Math.floor(i / n)]!, got[i]!);
    });
  });
});

test('two numbers make an f32 scalar', () => {
  const y = defaultPool.scope(() => add(0.1, 0.2).toJSON());
  expect(y).toEqual({ dtype: 'f32', shape: [], data: [Math.fround(Math.fround(0.1) + Math.fround(0.2))] });
});
