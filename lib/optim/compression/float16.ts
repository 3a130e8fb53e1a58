import type { TensorData } from '../../io/index.js';
import { cast, mul } from '../../ops/index.js';
import { type DType, type Tensor, wrap } from '../../tensor/index.js';
import { computedIn } from '../flat-state.js';
import { corrupt, encode, type GradientBytes, type Kinds, take } from './gradient-bytes.js';

/*
 * "0", "1", …: f16, each gradient times 2^e; "exponents": i32, the e of each, which brings the largest |x| into
 * [2^14, 2^15). Powers of two round nothing, and f16 ends at 65504.
 */

const TOP = 14;
/** The e for which 2^e and 2^−e are normal numbers. */
const MOST: Partial<Readonly<Record<DType, number>>> = { f32: 126, f64: 1022 };

/** `largest` has the largest |x| of each. */
export function encodeFloat16(
  kinds: Kinds,
  gradients: readonly Tensor[],
  largest: readonly number[],
): Uint8Array {
  const exponents = Int32Array.from(largest, (most, i) =>
    most === 0 ? 0 : Math.min(TOP - exponentOf(most), MOST[gradients[i]!.dtype]!),
  );
  const halves = gradients.map((gradient, i): [string, TensorData] => {
    const half = cast(mul(gradient, 2 ** exponents[i]!), 'f16');
    return [`${i}`, { dtype: 'f16', shape: half.shape, data: half.borrow() }];
  });
  return encode(kinds, 'float16', {
    ...Object.fromEntries(halves),
    exponents: { dtype: 'i32', shape: [exponents.length], data: exponents },
  });
}

export function decodeFloat16(found: GradientBytes, kinds: Kinds): Tensor[] {
  const exponents = take(found, 'exponents', 'i32', [kinds.length]).data as Int32Array;
  return kinds.map(({ dtype, shape }, i) => {
    const { data } = take(found, `${i}`, 'f16', shape);
    const own = computedIn(dtype);
    const exponent = exponents[i]!;
    if (Math.abs(exponent) > MOST[own]!) corrupt(`exponent ${i} is ${exponent}`);
    return mul(cast(wrap(data, [...shape], { dtype: 'f16' }), own), 2 ** -exponent);
  });
}

const bits = new DataView(new ArrayBuffer(8));

/** ⌊log₂ x⌋ of a normal number above 0, which Math.log2 may miss by one; −1023 of a denormal one. */
function exponentOf(x: number): number {
  bits.setFloat64(0, x);
  return (bits.getUint16(0) >> 4) - 1023;
}
