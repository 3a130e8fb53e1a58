import {
  type DType,
  defaultPool,
  equal,
  greater,
  less,
  type Operand,
  type Tensor,
  tensor,
  where,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bitsOf,
  bothWays1,
  broadcastSource,
  FLOATS,
  type Float,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomSource,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
  TINY,
} from './support.js';

const cases: Record<
  string,
  [op: (a: Operand, b: Operand) => Tensor, (a: number | bigint, b: number | bigint) => boolean]
> = {
  equal: [equal, (a, b) => a === b],
  greater: [greater, (a, b) => a > b],
  less: [less, (a, b) => a < b],
};

const RANGES: Partial<Record<DType, [number | bigint, number | bigint]>> = {
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  i8: [-128, 127],
  u8: [0, 255],
  bool: [0, 1],
};

/** Both ends of the range and small numbers, so that many are equal. Denormals are left to themselves. */
function comparable(dtype: DType, n: number, seed: number): (number | bigint)[] {
  if (dtype === 'f32' || dtype === 'f64') {
    const few = [0, -0, 1, -1, Infinity, -Infinity, NaN, TINY[dtype as Float], 2.5];
    const wide = awkwardNumbers(n, seed, dtype).map((x) => (Math.abs(x) < TINY[dtype as Float] ? 0 : x));
    const next = randomSource(seed);
    return wide.map((x) => (next() < 0.6 ? few[Math.floor(next() * few.length)]! : x));
  }
  const next = randomSource(seed);
  const small = (k: number) => (dtype === 'i64' ? BigInt(k) : k);
  const few = [...RANGES[dtype]!, small(0), small(1)];
  return Array.from({ length: n }, () => few[Math.floor(next() * few.length)]!);
}

const comparableDtypes = fc.constantFrom<DType>('f32', 'f64', 'i64', 'i32', 'i8', 'u8', 'bool');

describe.each(Object.entries(cases))('%s', (_, [op, reference]) => {
  test('gives bool for every dtype, layout and broadcast, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(comparableDtypes, shapes, layouts, seeds, async (dtype, shape, layout, seed) => {
        const smaller = shape.slice(Math.min(1, shape.length));
        const a = comparable(dtype, sizeOf(shape), seed);
        const b = comparable(dtype, sizeOf(smaller), seed + 1);
        const x = laidOut(a as number[], shape, dtype, layout);
        const y = laidOut(b as number[], smaller, dtype, layout);
        const result = await bothWays1(op, [x, y]);
        expect(result).toMatchObject({ dtype: 'bool', shape });
        const want = a.map((value, i) => Number(reference(value, b[broadcastSource(i, shape, smaller)]!)));
        expect(Array.from(result.data as Uint8Array)).toEqual(want);
        x.dispose();
        y.dispose();
      }),
      { numRuns: 80 },
    );
  });

  test('takes a number in the other operand’s dtype', async () => {
    const x = tensor(Int8Array.of(-128, 0, 3, 127));
    expect(numbersOf(await bothWays1((t) => op(t, 3), [x]))).toEqual(
      [-128, 0, 3, 127].map((value) => Number(reference(value, 3))),
    );
  });

  test.each(['f16', 'bf16'] as const)('refuses %s, whose bits have another order', (dtype) => {
    const x = tensor([1, -2], { dtype });
    const refusal = refusalOf(() => op(x, x));
    expect(refusal.code).toBe('DT_DTYPE_MISMATCH');
    expect(refusal.message).toContain(dtype);
  });
});

test.each(['i32', 'i8', 'u8', 'i64'] as const)(
  'a number that %s cannot hold is refused, not bent into it',
  (dtype) => {
    const x = tensor([1, 0], { dtype });
    for (const number of [0.5, NaN, 1e30, -Infinity]) {
      expect(refusalOf(() => equal(x, number)).code).toBe('DT_INVALID_ARGUMENT');
      expect(refusalOf(() => greater(number, x)).code).toBe('DT_INVALID_ARGUMENT');
    }
  },
);

describe('where', () => {
  test('chooses bit for bit, over every broadcast of its three operands, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        floats,
        shapes,
        layouts,
        seeds,
        fc.nat(2),
        async (dtype, shape, layout, seed, largest) => {
          // One operand has the full shape, the others fewer or smaller dimensions.
          const [full, tail, ones] = [shape, shape.slice(Math.min(1, shape.length)), shape.map(() => 1)];
          const parts = [full, tail, ones];
          const [conditionShape, aShape, bShape] = [0, 1, 2].map((i) => parts[(i + largest) % 3]!) as [
            number[],
            number[],
            number[],
          ];
          const next = randomSource(seed);
          const condition = Array.from({ length: sizeOf(conditionShape) }, () => Number(next() < 0.5));
          const a = awkwardNumbers(sizeOf(aShape), seed + 1, dtype);
          const b = awkwardNumbers(sizeOf(bShape), seed + 2, dtype);
          const inputs = [
            laidOut(condition, conditionShape, 'bool', layout),
            laidOut(a, aShape, dtype, layout),
            laidOut(b, bShape, dtype, layout),
          ];
          const result = await bothWays1(where as (...inputs: Tensor[]) => Tensor, inputs);
          expect(result).toMatchObject({ dtype, shape });
          const want = result.data.slice() as Float64Array;
          for (let i = 0; i < want.length; i++) {
            const chosen = condition[broadcastSource(i, shape, conditionShape)];
            want[i] = chosen ? a[broadcastSource(i, shape, aShape)]! : b[broadcastSource(i, shape, bShape)]!;
          }
          expect(bitsOf(result.data)).toBe(bitsOf(want));
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each(FLOATS)('takes numbers beside %s', async (dtype) => {
    const x = tensor([1, 2, 3], { dtype });
    const mask = tensor([1, 0, 1], { dtype: 'bool' });
    expect(numbersOf(await bothWays1((t) => where(mask, t, -5), [x]))).toEqual([1, -5, 3]);
    expect(numbersOf(await bothWays1((t) => where(mask, 9, t), [x]))).toEqual([9, 2, 9]);
  });

  test('takes two numbers as f32', () => {
    const y = defaultPool.scope(() => where(tensor([1, 0], { dtype: 'bool' }), 1, 2).toJSON());
    expect(y).toEqual({ dtype: 'f32', shape: [2], data: [1, 2] });
  });
});
