import type { Tensor } from '../../dist/tensor/index.js';

/** An executor whose batches stay in flight until the test lets them go; it answers each row with itself. */
export class Gate {
  /** The first element of each row, batch by batch. */
  readonly batches: number[][] = [];
  readonly #waiting: (() => void)[] = [];
  /** The most batches that were in flight at once. */
  most = 0;

  readonly run = async (batch: Tensor): Promise<Tensor> => {
    const width = batch.size / batch.shape[0]!;
    const values = batch.toArray();
    this.batches.push(Array.from({ length: batch.shape[0]! }, (_, row) => Number(values[row * width])));
    const released = new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.most = Math.max(this.most, this.#waiting.length);
    await released;
    return batch;
  };

  /** Lets the oldest batch in flight finish, and waits until what follows from it has happened. */
  async release(): Promise<void> {
    this.#waiting.shift()!();
    await turns();
  }
}

/** Lets the event loop come round, so that everything that is due at the end of a turn has happened. */
export async function turns(count = 4): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

export const row = (...values: number[]): Float32Array => Float32Array.from(values);

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The value of one sample of an exposition, by its name and labels as they are written; undefined if absent. */
export function sampleOf(exposition: string, sample: string): number | undefined {
  const line = exposition.split('\n').find((candidate) => candidate.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length + 1));
}
