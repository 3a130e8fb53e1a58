import type { Tensor } from '../tensor/index.js';
import type { Figures } from './progress.js';

/** Means of figures over batches, weighted by their samples. */
export class MeanFigures {
  samples = 0;
  readonly #sums: Record<string, number> = {};

  /** Takes the figures of a batch, scalars, and disposes them. */
  add(figures: Readonly<Record<string, Tensor>>, samples: number): void {
    for (const [name, figure] of Object.entries(figures)) {
      this.#sums[name] = (this.#sums[name] ?? 0) + samples * figure.item();
    }
    for (const figure of Object.values(figures)) figure.dispose();
    this.samples += samples;
  }

  get figures(): Figures {
    return Object.fromEntries(Object.entries(this.#sums).map(([name, sum]) => [name, sum / this.samples]));
  }
}
