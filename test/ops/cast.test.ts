import { cast, type DType, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toFloat16, toFloat32 } from '../../dist/tensor/half.js';
import { DTYPES } from '../../dist/tensor/index.js';
import {
  awkwardNumbers,
  bothWays1,
  laidOut,
  layouts,
  randomSource,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
} from './support.js';

const ALL = Object.keys(DTYPES) as DType[];
const isHalf = (dtype: DType): dtype is 'f16' | 'bf16' => dtype === 'f16' || dtype === 'bf16';
const isFloat = (dtype: DType) => isHalf(dtype) || dtype === 'f32' || dtype === 'f64';

const BITS: Partial<Record<DType, number>> = { i64: 64, i32: 32, i8: 8 };

/** An element as its dtype keeps it, over the whole range. */
function elementsOf(dtype: DType, n: number, seed: number): (number | bigint)[] {
  const next = randomSource(seed);
  if (dtype === 'f32' || dtype === 'f64') {
    const whole = [
      127.9,
      -128.9,
      255.5,
      -0.9,
      2 ** 31,
      -(2 ** 31) - 1,
      2 ** 63,
      -(2 ** 63),
      65519,
      65520,
      0.49,
    ];
    return awkwardNumbers(n, seed, dtype).map((x) => {
      const value = next() < 0.5 ? whole[Math.floor(next() * whole.length)]! : x;
      return dtype === 'f32' ? Math.fround(value) : value;
    });
  }
  if (isHalf(dtype)) return Array.from({ length: n }, () => Math.floor(next() * 0x10000));
  if (dtype === 'bool') return Array.from({ length: n }, () => Number(next() < 0.5));
  if (dtype === 'u8') return Array.from({ length: n }, () => Math.floor(next() * 256));
  const bits = BITS[dtype]!;
  return Array.from({ length: n }, () => {
    const wide = BigInt.asIntN(
      bits,
      (BigInt(Math.floor(next() * 2 ** 32)) << 32n) | BigInt(Math.floor(next() * 2 ** 32)),
    );
    const value = next() < 0.5 ? wide >> BigInt(Math.floor(next() * bits)) : wide;
    return dtype === 'i64' ? value : Number(value);
  });
}

/** The f32 nearest to an integer of 64 bits: `Number` alone would round twice. */
function nearestFloat32(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  const excess = BigInt(Math.max(0, magnitude.toString(2).length - 24));
  const unit = 1n << excess;
  const rest = magnitude % unit;
  let rounded = magnitude - rest;
  if (rest * 2n > unit || (rest * 2n === unit && (rounded / unit) % 2n === 1n)) rounded += unit;
  return Number(value < 0n ? -rounded : rounded);
}

/** Conversion passes through f32 and f64 arithmetic, which takes their denormals for zero. */
function isDenormal(element: number | bigint, dtype: DType): boolean {
  if (typeof element === 'bigint' || !isFloat(dtype)) return false;
  const value = isHalf(dtype) ? toFloat32(element, dtype) : element;
  return Math.abs(value) < (dtype === 'f64' ? 2 ** -1022 : dtype === 'f16' ? 0 : 2 ** -126);
}

/** What `cast` promises, one element at a time. */
function converted(element: number | bigint, from: DType, to: DType): number | bigint {
  const value = isHalf(from) ? toFloat32(element as number, from) : element;
  if (to === 'bool') return Number(value) === 0 ? 0 : 1;
  const single = () => (typeof value === 'bigint' ? nearestFloat32(value) : Math.fround(value));
  if (isHalf(to)) return toFloat16(single(), to);
  if (to === 'f32') return single();
  if (to === 'f64') return Number(value);
  const bits = to === 'u8' ? 8 : BITS[to]!;
  const [low, high] = to === 'u8' ? [0n, 255n] : [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n];
  let whole: bigint;
  if (isFloat(from)) {
    if (Number.isNaN(value)) whole = 0n;
    else if ((value as number) >= Number(high)) whole = high;
    else if ((value as number) <= Number(low)) whole = low;
    else whole = BigInt(Math.trunc(value as number));
  } else {
    // Between integers the low bits are kept, as a typed array does.
    whole = to === 'u8' ? BigInt.asUintN(8, BigInt(value)) : BigInt.asIntN(bits, BigInt(value));
  }
  return to === 'i64' ? whole : Number(whole);
}

describe.each(ALL)('from %s', (from) => {
  test.each(ALL)('to %s, every element is what the rule says, both ways', async (to) => {
    await fc.assert(
      fc.asyncProperty(shapes, layouts, seeds, async (shape, layout, seed) => {
        const data = elementsOf(from, sizeOf(shape), seed);
        const x = laidOut(data as number[], shape, from, layout);
        const y = await bothWays1((t) => cast(t, to), [x]);
        expect(y).toMatchObject({ dtype: to, shape });
        data.forEach((element, i) => {
          const want = from === to ? element : converted(element, from, to);
          const got = (y.data as Float64Array)[i]!;
          const bothNaN =
            isHalf(to) && Number.isNaN(toFloat32(want as number, to)) && Number.isNaN(toFloat32(got, to));
          const zero = Number(isHalf(to) ? toFloat32(got, to) : got) === 0;
          const flushed = isDenormal(element, from) && zero;
          const underflow = isDenormal(want, to) && zero;
          if (!Object.is(got, want) && !bothNaN && !flushed && !underflow)
            expect.fail(`${element}: expected ${want} but received ${got}`);
        });
        x.dispose();
      }),
      { numRuns: 8 },
    );
  });
});

test.each(['f16', 'bf16'] as const)(
  'all 65536 patterns of %s widen to their value and come back',
  async (dtype) => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const x = tensor(patterns, { dtype });
    const wide = await bothWays1((t) => cast(t, 'f32'), [x]);
    const back = await bothWays1((t) => cast(t, dtype), [tensor(wide.data as Float32Array)]);
    for (let i = 0; i < 65536; i++) {
      const value = toFloat32(i, dtype);
      const got = (wide.data as Float32Array)[i]!;
      // The smallest bf16 are denormals of f32 too, which may be flushed.
      if (dtype === 'bf16' && Math.abs(value) < 2 ** -126 && got === 0) continue;
      if (!Object.is(got, value)) expect.fail(`${i.toString(16)}: expected ${value} but received ${got}`);
      const again = (back.data as Uint16Array)[i]!;
      if (Number.isNaN(value)) expect(Number.isNaN(toFloat32(again, dtype))).toBe(true);
      else if (again !== i) expect.fail(`${i.toString(16)} came back as ${again.toString(16)}`);
    }
  },
);

test('the same dtype is the tensor itself', () => {
  const x = tensor([1, 2]);
  expect(cast(x, 'f32')).toBe(x);
});

test('an unknown dtype is refused by name', () => {
  const refusal = refusalOf(() => cast(tensor([1]), 'f99' as DType));
  expect(refusal.code).toBe('DT_DTYPE_MISMATCH');
  expect(refusal.message).toContain('f99');
});
