/** A straight line through the logarithms of numbers that follow each other. */
export interface Trend {
  /** The change of the logarithm from one number to the next: 0.01 where they grow by 1 % each time. */
  readonly slope: number;
  /** The standard error of the slope. */
  readonly error: number;
  /** How many numbers it stands on. */
  readonly count: number;
}

/** The last finite numbers of a series: two windows of them, in constant memory. */
export class Series {
  readonly window: number;
  readonly #values: Float64Array;
  #count = 0;

  constructor(window: number) {
    this.window = window;
    this.#values = new Float64Array(2 * window);
  }

  /** All that were pushed. */
  get count(): number {
    return this.#count;
  }

  /** Numbers that are not finite are left out: one of them would hide all others for two windows. */
  push(value: number): void {
    if (!Number.isFinite(value)) return;
    this.#values[this.#count % this.#values.length] = value;
    this.#count++;
  }

  /** The mean of the last window, or of the one before it; undefined where it is not full yet. */
  mean(back: 0 | 1 = 0): number | undefined {
    const end = this.#count - back * this.window;
    if (end < this.window) return undefined;
    let sum = 0;
    for (let i = end - this.window; i < end; i++) sum += this.#at(i);
    return sum / this.window;
  }

  /** Least squares over the logarithms of the last window, or of what there is of it: undefined where one is not above 0. */
  trend(): Trend | undefined {
    const count = Math.min(this.#count, this.window);
    if (count < 3) return undefined;
    const begin = this.#count - count;
    const middle = (count - 1) / 2;
    let [sum, along, squares] = [0, 0, 0];
    for (let i = 0; i < count; i++) {
      const value = this.#at(begin + i);
      if (!(value > 0)) return undefined;
      const y = Math.log(value);
      sum += y;
      along += (i - middle) * y;
      squares += (i - middle) ** 2;
    }
    const [mean, slope] = [sum / count, along / squares];
    let residual = 0;
    for (let i = 0; i < count; i++) {
      residual += (Math.log(this.#at(begin + i)) - mean - slope * (i - middle)) ** 2;
    }
    return { slope, error: Math.sqrt(residual / (count - 2) / squares), count };
  }

  #at(index: number): number {
    return this.#values[index % this.#values.length]!;
  }
}
