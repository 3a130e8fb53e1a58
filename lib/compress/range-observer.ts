import { DrivetrainError } from '../native/index.js';
import type { Tensor } from '../tensor/index.js';

/** How a range is taken from the values that were seen. */
export type CalibrationMethod = 'min-max' | 'percentile' | 'mse';

export type Range = readonly [low: number, high: number];

/** Bins on each side of 0. */
const HALF = 4096;

/** Steps of a u8. */
const STEPS = 255;

/** Shares of an end of the range that the search for the least squared error tries. */
const SHARES = Array.from({ length: 32 }, (_, i) => (i + 1) / 32);

/**
 * What values were seen: the least, the largest, and a histogram in one pass. Its bins are as wide as a power of two, from
 * 0 outwards, and merge in pairs where a value lies beyond the last: the counts do not depend on the order, and a bin is
 * at most 1/2048 of the largest magnitude wide.
 */
export class RangeObserver {
  low = Infinity;
  high = -Infinity;
  count = 0;
  /** Bin i holds the values in [(i − HALF) · width, (i + 1 − HALF) · width). */
  readonly #bins = new Float64Array(2 * HALF);
  #width = 0;

  /** Takes in all elements of an f32 tensor; refuses NaN and infinity. */
  add(x: Tensor, layer: string): void {
    const values = x.toArray() as Float32Array;
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (!(Math.abs(value) < Infinity)) throw notFinite(layer, value);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (values.length === 0) return;
    this.low = Math.min(this.low, low);
    this.high = Math.max(this.high, high);
    this.count += values.length;
    this.#widen(Math.max(-low, high));
    const [bins, perUnit] = [this.#bins, 1 / this.#width];
    for (const value of values) bins[Math.floor(value * perUnit) + HALF]!++;
  }

  /** The range of the method, with 0 inside. */
  range(method: CalibrationMethod, percentile: number): Range {
    const [low, high] = [Math.min(this.low, 0), Math.max(this.high, 0)];
    if (method === 'min-max') return [low, high];
    if (method === 'mse') return this.#leastError(low, high);
    const cut = (1 - percentile / 100) * this.count;
    return [
      Math.max(low, Math.min(this.#quantile(cut), 0)),
      Math.min(high, Math.max(this.#quantile(this.count - cut), 0)),
    ];
  }

  /** The mean squared error of quantizing what was seen, each value taken as the middle of its bin. */
  squaredError([low, high]: Range): number {
    const step = (high - low) / STEPS;
    const zero = Math.round(-low / step);
    const [bins, width] = [this.#bins, this.#width];
    let sum = 0;
    for (let i = 0; i < bins.length; i++) {
      const n = bins[i]!;
      if (n === 0) continue;
      const x = (i - HALF + 0.5) * width;
      const q = Math.min(STEPS, Math.max(0, Math.round(x / step) + zero));
      const error = (q - zero) * step - x;
      sum += n * error * error;
    }
    return sum / this.count;
  }

  /** Up to which value `rank` of the values lie: linear inside of a bin. */
  #quantile(rank: number): number {
    let seen = 0;
    for (let i = 0; i < this.#bins.length; i++) {
      const n = this.#bins[i]!;
      if (n > 0 && seen + n >= rank) return (i - HALF + (rank - seen) / n) * this.#width;
      seen += n;
    }
    return this.high;
  }

  /** The shares of both ends, each on its own, that leave the least squared error; the widest of equals. */
  #leastError(low: number, high: number): Range {
    let best: Range = [low, high];
    if (low === high) return best;
    let least = Infinity;
    for (const a of low < 0 ? SHARES.toReversed() : [1]) {
      for (const b of high > 0 ? SHARES.toReversed() : [1]) {
        const range: Range = [low * a, high * b];
        const error = this.squaredError(range);
        if (error < least) [least, best] = [error, range];
      }
    }
    return best;
  }

  /** Makes room for a magnitude. */
  #widen(magnitude: number): void {
    // The least power of two above it, so that a value on the edge is inside; never so small that its reciprocal is not finite.
    const needed = 2 ** (Math.floor(Math.log2(Math.max(magnitude, 2 ** -126))) + 1);
    if (this.#width === 0) this.#width = needed / HALF;
    const bins = this.#bins;
    for (; this.#width * HALF < needed; this.#width *= 2) {
      const merged = new Float64Array(2 * HALF);
      for (let i = 0; i < bins.length; i++) merged[Math.floor((i - HALF) / 2) + HALF]! += bins[i]!;
      bins.set(merged);
    }
  }
}

function notFinite(layer: string, value: number): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected finite inputs of ${layer === '' ? 'the model' : layer} in the calibration of quantize but received ${value}.`,
  );
}
