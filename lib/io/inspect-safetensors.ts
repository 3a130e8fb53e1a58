import { DTYPES, type DType, isHalf, sizeOf } from '../tensor/index.js';
import { readInto, withFile } from './files.js';
import { halfValues } from './half-values.js';
import { printable } from './json-cursor.js';
import { readHeader } from './safetensors.js';
import { corrupt } from './safetensors-header.js';

export interface TensorStatistics {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly elements: number;
  /** Of the elements that are finite; NaN where there is none. */
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** The square root of the mean squared distance from the mean. */
  readonly std: number;
  /** Elements that are 0. */
  readonly zeros: number;
  /** Elements that are NaN or infinite. */
  readonly notFinite: number;
}

export interface SafetensorsInspection {
  /** Of the whole file. */
  readonly bytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  /** In the file's order. */
  readonly tensors: readonly TensorStatistics[];
}

/** Bytes that are read and looked at in one turn of the event loop; a multiple of every element's size. */
const PIECE = 2 ** 20;

/**
 * What is in a safetensors file: each tensor's dtype, shape and statistics in f64. The file is read in pieces of 1 MiB, so that
 * it may be larger than memory. Throws as `readSafetensors` does.
 */
export async function inspectSafetensors(path: string): Promise<SafetensorsInspection> {
  return withFile(path, async (file, bytes) => {
    const { start, entries, metadata } = await readHeader(file, bytes, path);
    const buffer = new ArrayBuffer(PIECE);
    const tensors: TensorStatistics[] = [];
    for (const { name, dtype, shape, begin, end } of entries) {
      const sums = new RunningStatistics();
      for (let at = begin; at < end; at += PIECE) {
        const piece = new Uint8Array(buffer, 0, Math.min(PIECE, end - at));
        if ((await readInto(file, piece, start + at)) < piece.length)
          corrupt(path, `it was cut off inside tensor ${printable(name)} while it was read`);
        sums.add(valuesOf(piece, dtype));
      }
      tensors.push({ name, dtype, shape, bytes: end - begin, elements: sizeOf(shape), ...sums.result() });
    }
    return { bytes, metadata, tensors };
  });
}

/** The elements as numbers; of i64 beyond 2^53 the nearest. */
function valuesOf({ buffer, length }: Uint8Array, dtype: DType): ArrayLike<number> {
  const { array: Elements, bytes } = DTYPES[dtype];
  const elements = new Elements(buffer as ArrayBuffer, 0, length / bytes);
  if (isHalf(dtype)) return halfValues(elements as Uint16Array, dtype);
  return dtype === 'i64' ? Float64Array.from(elements as BigInt64Array, Number) : (elements as Float32Array);
}

/** Mean and variance of pieces, put together by the formula of Chan, Golub and LeVeque (1979). */
class RunningStatistics {
  #count = 0;
  #mean = 0;
  /** The sum of squared distances from the mean. */
  #squares = 0;
  #min = Infinity;
  #max = -Infinity;
  #zeros = 0;
  #notFinite = 0;

  add(values: ArrayLike<number>): void {
    let [count, sum] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (!(value - value === 0)) continue;
      count++;
      sum += value;
      if (value === 0) this.#zeros++;
      if (value < this.#min) this.#min = value;
      if (value > this.#max) this.#max = value;
    }
    this.#notFinite += values.length - count;
    if (count === 0) return;
    const mean = sum / count;
    let squares = 0;
    for (let i = 0; i < values.length; i++) {
      const distance = values[i]! - mean;
      if (distance - distance === 0) squares += distance * distance;
    }
    const total = this.#count + count;
    const apart = mean - this.#mean;
    this.#squares += squares + apart * apart * ((this.#count * count) / total);
    this.#mean += apart * (count / total);
    this.#count = total;
  }

  result() {
    const none = this.#count === 0;
    return {
      min: none ? NaN : this.#min,
      max: none ? NaN : this.#max,
      mean: none ? NaN : this.#mean,
      std: none ? NaN : Math.sqrt(this.#squares / this.#count),
      zeros: this.#zeros,
      notFinite: this.#notFinite,
    };
  }
}
