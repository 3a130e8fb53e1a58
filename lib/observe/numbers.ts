import { contiguous } from '../ops/index.js';
import { DTYPES, type DType, type Tensor } from '../tensor/index.js';

/** How many elements of a tensor are no ordinary numbers. */
export interface Numbers {
  readonly elements: number;
  /** Denormal: other than 0, and smaller than all numbers of full precision. */
  readonly denormal: number;
  /** NaN or infinite. */
  readonly notFinite: number;
}

/** Elements that are looked at in one turn of the event loop: well under a millisecond. */
const CHUNK = 2 ** 17;

/** In the last word of an element: its exponent's place and largest value. Words are as wide as the dtype, 32 bits at most. */
const LAYOUTS: Partial<Record<DType, { shift: number; most: number }>> = {
  f32: { shift: 23, most: 0xff },
  f64: { shift: 20, most: 0x7ff },
  f16: { shift: 10, most: 0x1f },
  bf16: { shift: 7, most: 0xff },
};

/**
 * Counts by the bits, since the kernels take denormals for 0. Lets the event loop turn, and waits for awaited runs that
 * write the tensor. Integers are all ordinary.
 */
export async function lookAt(tensor: Tensor): Promise<Numbers> {
  const found = { elements: tensor.size, denormal: 0, notFinite: 0 };
  const layout = LAYOUTS[tensor.dtype];
  if (layout === undefined) return found;
  const source = contiguous(tensor);
  for (let begin = 0; begin < source.size; begin += CHUNK) {
    if (begin > 0) await new Promise((resolve) => setImmediate(resolve));
    const count = Math.min(CHUNK, source.size - begin);
    const { buffer } = await source.viewAs([count], undefined, source.offset + begin).read();
    const { bytes } = DTYPES[tensor.dtype];
    countIn(bytes === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer), bytes === 8, layout, found);
  }
  if (source !== tensor) source.dispose();
  return found;
}

/** `wide`: elements of two words, the low one first. */
function countIn(
  words: Uint16Array | Uint32Array,
  wide: boolean,
  { shift, most }: { shift: number; most: number },
  found: { denormal: number; notFinite: number },
): void {
  const fraction = 2 ** shift - 1;
  const width = wide ? 2 : 1;
  for (let i = width - 1; i < words.length; i += width) {
    const word = words[i]!;
    const exponent = (word >>> shift) & most;
    if (exponent === most) found.notFinite++;
    else if (exponent === 0 && ((word & fraction) !== 0 || (wide && words[i - 1] !== 0))) found.denormal++;
  }
}
