import {
  abs,
  clamp,
  defaultPool,
  exp,
  gelu,
  log,
  neg,
  pow,
  relu,
  sigmoid,
  sign,
  sqrt,
  type Tensor,
  tanh,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { phi } from './normal-distribution.js';
import {
  awkwardNumbers,
  bothWays1,
  denormals,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  laidOut,
  layouts,
  numbersOf,
  seeds,
  shapes,
  sizeOf,
  TINY,
  UNIT,
} from './support.js';

interface Case {
  readonly op: (x: Tensor) => Tensor;
  readonly reference: (x: number) => number;
  /** Units in the last place: native/kernels/math-inl.h states those of f32; f64 is libm's, and the reference's own. */
  readonly ulps: number;
  /** An error that the reference's steepness adds to its own rounding, relative. */
  readonly steep?: (x: number) => number;
}

const cases: Record<string, Case> = {
  neg: { op: neg, reference: (x) => -x, ulps: 0 },
  abs: { op: abs, reference: Math.abs, ulps: 0 },
  sign: { op: sign, reference: Math.sign, ulps: 0 },
  exp: { op: exp, reference: Math.exp, ulps: 2 },
  log: { op: log, reference: Math.log, ulps: 2 },
  sqrt: { op: sqrt, reference: Math.sqrt, ulps: 0.5 },
  tanh: { op: tanh, reference: Math.tanh, ulps: 3 },
  sigmoid: { op: sigmoid, reference: (x) => 1 / (1 + Math.exp(-x)), ulps: 4 },
  relu: { op: relu, reference: (x) => (x < 0 ? 0 : x), ulps: 0 },
  clamp: {
    op: (x) => clamp(x, { min: -1, max: 0.5 }),
    reference: (x) => (x < -1 ? -1 : x > 0.5 ? 0.5 : x),
    ulps: 0,
  },
  'clamp from below': { op: (x) => clamp(x, { min: 0.5 }), reference: (x) => (x < 0.5 ? 0.5 : x), ulps: 0 },
  'pow 2': { op: (x) => pow(x, 2), reference: (x) => x * x, ulps: 0.5 },
  'pow ½': { op: (x) => pow(x, 0.5), reference: Math.sqrt, ulps: 0.5 },
  'pow 3': { op: (x) => pow(x, 3), reference: (x) => x ** 3, ulps: 2 },
  'pow −1.5': { op: (x) => pow(x, -1.5), reference: (x) => x ** -1.5, ulps: 2 },
  'pow 0': { op: (x) => pow(x, 0), reference: () => 1, ulps: 0 },
  gelu: {
    op: gelu,
    reference: (x) => (x === -Infinity ? 0 : x * phi(x)),
    ulps: 8,
    // e^(−x²/2) of an x² that was rounded, once here and once there; and 1 − erf loses digits near 1.
    steep: (x) => (x < 0 ? 4 * UNIT.f64 * (x * x + 20) : 8 * UNIT.f64),
  },
};

/** Kernels flush denormals: one that goes in may count as any number up to the smallest normal, and so may one that comes out. */
function expectUnary({ reference, ulps, steep }: Case, dtype: Float, x: number, got: number): void {
  const tiny = TINY[dtype];
  const bound = (want: number) =>
    Number.isFinite(want)
      ? Math.abs(want) * (2 * ulps * UNIT[dtype] + (steep?.(x) ?? 0)) + (Math.abs(want) < tiny ? tiny : 0)
      : 0;
  if (Math.abs(x) < tiny && x !== 0) {
    const ends = [reference(Math.sign(x) * 0), reference(Math.sign(x) * tiny)]
      .filter((end) => !(Number.isNaN(end) && !Number.isNaN(got)))
      .sort((a, b) => a - b);
    if (Number.isNaN(got)) {
      expect(ends.some(Number.isNaN), `of ${x}`).toBe(true);
      return;
    }
    expect(got, `of ${x}`).toBeGreaterThanOrEqual(ends[0]! - bound(ends[0]!));
    expect(got, `of ${x}`).toBeLessThanOrEqual(ends.at(-1)! + bound(ends.at(-1)!));
    return;
  }
  const want = reference(x);
  // Called for every number, what follows would take most of the time.
  if (Math.abs(got - want) <= bound(want)) return;
  expectWithin({ dtype, shape: [1], data: Float64Array.of(got) }, [want], bound(want), `of ${x}`);
}

describe.each(Object.entries(cases))('%s', (_, testCase) => {
  test('is the function, on every layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(floats, shapes, layouts, seeds, async (dtype, shape, layout, seed) => {
        const data = awkwardNumbers(sizeOf(shape), seed, dtype);
        const x = laidOut(data, shape, dtype, layout);
        const y = await bothWays1(testCase.op, [x]);
        expect(y).toMatchObject({ dtype, shape });
        const got = numbersOf(y);
        for (let i = 0; i < data.length; i++) expectUnary(testCase, dtype, data[i]!, got[i]!);
        x.dispose();
      }),
      { numRuns: 40 },
    );
  });

  test.each(FLOATS)('takes denormals of %s for zero, or for what they are', (dtype) => {
    const data = denormals(dtype);
    const got = defaultPool.scope(() => testCase.op(laidOut(data, [data.length], dtype)).toArray());
    data.forEach((x, i) => {
      expectUnary(testCase, dtype, x, Number(got[i]));
    });
  });

  test.each(FLOATS)('is accurate over the middling numbers of %s', (dtype) => {
    const data = Array.from({ length: 4001 }, (_, i) => Math.fround((i - 2000) / 97));
    const got = defaultPool.scope(() => testCase.op(laidOut(data, [data.length], dtype)).toArray());
    data.forEach((x, i) => {
      expectUnary(testCase, dtype, x, Number(got[i]));
    });
  });
});

test('relu, and only relu, hides no NaN and keeps no negative zero apart from zero', () => {
  const y = defaultPool.scope(() => relu(laidOut([NaN, -0, -1, 3], [4])).toArray());
  expect(Array.from(y as Float32Array, Math.abs)).toEqual([NaN, 0, 0, 3]);
});
