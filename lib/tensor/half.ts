/** f16 (IEEE binary16) and bf16 as numbers, one at a time; whole arrays go through `cast`. */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The value of 16 bits. */
export function toFloat32(half: number, dtype: 'f16' | 'bf16'): number {
  if (dtype === 'bf16') {
    bits[0] = half << 16;
    return float[0]!;
  }
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The nearest 16 bits, ties to even; too large becomes infinity. The value passes through f32. */
export function toFloat16(value: number, dtype: 'f16' | 'bf16'): number {
  float[0] = value;
  const word = bits[0]!;
  if (Number.isNaN(value)) return dtype === 'bf16' ? 0x7fc0 : 0x7e00;
  if (dtype === 'bf16') return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = Math.abs(float[0]!);
  if (magnitude >= 65520) return sign | 0x7c00;
  const step = 2 ** (Math.max(Math.floor(Math.log2(magnitude)), -14) - 10);
  const rounded = roundToEven(magnitude / step) * step;
  if (rounded < 2 ** -14) return sign | (rounded * 2 ** 24);
  const exponent = Math.floor(Math.log2(rounded));
  return sign | ((exponent + 15) << 10) | ((rounded / 2 ** exponent - 1) * 1024);
}

function roundToEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
