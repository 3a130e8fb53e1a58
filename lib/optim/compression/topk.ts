import type { TensorData } from '../../io/index.js';
import { abs, reshape, topk, zeros } from '../../ops/index.js';
import { DTYPES, type Tensor, wrap } from '../../tensor/index.js';
import { computedIn } from '../flat-state.js';
import { corrupt, encode, type GradientBytes, type Kinds, take } from './gradient-bytes.js';

/* "0.indices", "1.indices", …: i32 [k], rising positions in row-major order; "0.values", …: f32 or f64 [k]. */

type FloatArray = Float32Array | Float64Array;

/** The elements that are sent for one gradient. */
export interface Chosen {
  readonly indices: Int32Array;
  readonly values: FloatArray;
}

export function encodeTopK(kinds: Kinds, chosen: readonly Chosen[]): Uint8Array {
  const tensors = chosen.flatMap(({ indices, values }, i): [string, TensorData][] => [
    [`${i}.indices`, { dtype: 'i32', shape: [indices.length], data: indices }],
    [`${i}.values`, { dtype: computedIn(kinds[i]!.dtype), shape: [values.length], data: values }],
  ]);
  return encode(kinds, 'topk', Object.fromEntries(tensors));
}

export function decodeTopK(found: GradientBytes, kinds: Kinds): Tensor[] {
  return kinds.map(({ dtype, shape }, i) => {
    const indices = take(found, `${i}.indices`, 'i32', [-1]).data as Int32Array;
    const values = take(found, `${i}.values`, computedIn(dtype), [indices.length]).data as FloatArray;
    const gradient = zeros(shape, { dtype: computedIn(dtype) });
    const all = gradient.borrow();
    let last = -1;
    for (let j = 0; j < indices.length; j++) {
      const at = indices[j]!;
      if (at <= last || at >= all.length) corrupt(`${i}.indices has ${at} after ${last}, of ${all.length}`);
      all[at] = values[j]!;
      last = at;
    }
    return gradient;
  });
}

/** The `k` elements of the largest |x|, of equals the first: those of `topk`, in their order in the tensor. */
export function chooseLargest(x: Tensor, k: number): Chosen {
  const among = candidatesOf(x, k);
  const magnitudes = abs(among === undefined ? reshape(x, [x.size]) : wrap(gather(x, among)));
  const indices = Int32Array.from(topk(magnitudes, k)[1].borrow() as BigInt64Array, Number);
  if (among !== undefined) {
    indices.forEach((at, i) => {
      indices[i] = among[at]!;
    });
  }
  indices.sort();
  return { indices, values: gather(x, indices) };
}

/** Every so many elements one is sampled: a prime, since tensors are often a multiple of 64 wide. */
const SAMPLED = 61;
/** From so many elements on, and for shares up to this, a sample saves more than it costs. */
const LONG = 2 ** 16;
const FEW = 1 / 8;

/**
 * Positions, rising, that hold the `k` largest |x| for certain, and not many more: those from a magnitude on that a sample
 * says is a little too low. undefined where they are too few or too many, or where `topk` of everything is fast already.
 */
function candidatesOf(x: Tensor, k: number): Int32Array | undefined {
  if (x.size < LONG || k > x.size * FEW) return undefined;
  const all = x.borrow() as FloatArray;
  const places = new Int32Array(Math.floor(x.size / SAMPLED)).map((_, i) => i * SAMPLED);
  const rank = Math.ceil((1.25 * k) / SAMPLED) + 8;
  const floor = (topk(abs(wrap(gather(x, places))), rank)[0].borrow() as FloatArray)[rank - 1]!;
  const found = new Int32Array(4 * k + 2048);
  let count = 0;
  for (let i = 0; i < all.length; i++) {
    if (!(Math.abs(all[i]!) >= floor)) continue;
    if (count === found.length) return undefined;
    found[count++] = i;
  }
  return count < k ? undefined : found.subarray(0, count);
}

function gather(x: Tensor, places: Int32Array): FloatArray {
  const all = x.borrow() as FloatArray;
  const values = new DTYPES[x.dtype].array(places.length) as FloatArray;
  for (let i = 0; i < places.length; i++) values[i] = all[places[i]!]!;
  return values;
}
