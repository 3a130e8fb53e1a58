/** The last steps' durations, samples and whether they were skipped, in constant memory. */
export class RecentSteps {
  readonly #seconds: Float64Array;
  readonly #samples: Float64Array;
  readonly #skipped: Uint8Array;
  #count = 0;

  constructor(window: number) {
    this.#seconds = new Float64Array(window);
    this.#samples = new Float64Array(window);
    this.#skipped = new Uint8Array(window);
  }

  /** `seconds` is NaN where it was not measured. */
  push(seconds: number, samples: number): void {
    const at = this.#count++ % this.#seconds.length;
    this.#seconds[at] = seconds;
    this.#samples[at] = samples;
    this.#skipped[at] = 0;
  }

  /** The latest `count` steps were skipped. */
  skip(count: number): void {
    const { length } = this.#skipped;
    for (let back = 1; back <= Math.min(count, length); back++)
      this.#skipped[(this.#count - back) % length] = 1;
  }

  get skippedShare(): number {
    const known = Math.min(this.#count, this.#seconds.length);
    return known === 0 ? 0 : this.#skipped.subarray(0, known).reduce((a, b) => a + b, 0) / known;
  }

  /** Over the steps whose duration was measured. */
  get totals(): { steps: number; seconds: number; samples: number } {
    const totals = { steps: 0, seconds: 0, samples: 0 };
    for (let i = 0; i < Math.min(this.#count, this.#seconds.length); i++) {
      if (Number.isNaN(this.#seconds[i]!)) continue;
      totals.steps++;
      totals.seconds += this.#seconds[i]!;
      totals.samples += this.#samples[i]!;
    }
    return totals;
  }
}
