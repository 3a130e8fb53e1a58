import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions, Tensor } from '../tensor/index.js';
import { type Collated, collate as defaultCollate } from './collate.js';
import type { BatchDataset, Dataset } from './dataset.js';
import { checkCount, inOrder, type Sampler, shuffledOrder } from './sampler.js';

export interface DataLoaderOptions<S, B> {
  /** Samples in a batch. */
  batchSize: number;
  /** Another order in each epoch; false unless given. */
  shuffle?: boolean;
  /** What the order depends on, beside the epoch: a whole number, 0 unless given. */
  seed?: number;
  /** An order of one's own, in the place of `shuffle`. It has as many numbers as the dataset has samples. */
  sampler?: Sampler;
  /** Leaves out the last batch of an epoch where it is not full; false unless given. */
  dropLast?: boolean;
  /** Batches that are made ahead while the consumer is at work; 2 unless given. */
  prefetch?: number;
  /** Makes a batch of samples; `collate` unless given. What it returns is handed over to the consumer. */
  collate?: (samples: S[]) => B | Promise<B>;
}

/** Where a loader stands, as plain JSON. */
export interface DataLoaderState {
  readonly epoch: number;
  /** Batches of the epoch that were handed over. */
  readonly position: number;
  readonly seed: number;
  /** Samples in the dataset, and in a batch: a loader with others cannot go on from here. */
  readonly samples: number;
  readonly batchSize: number;
}

const OPTIONS = ['batchSize', 'shuffle', 'seed', 'sampler', 'dropLast', 'prefetch', 'collate'];

/**
 * Batches of a dataset: an array of samples, any object with `length` and `get(index)`, or one that makes whole batches, such
 * as `TensorDataset`. `for await (const batch of loader)` gives the batches of one epoch, or the rest of it where the loop
 * before was left early or a state was loaded; the next loop gives the next epoch. Tensors in a batch are the consumer's to
 * dispose; batches that were made ahead and never asked for are disposed here.
 *
 * The order depends on seed and epoch alone, so that a run that was checkpointed goes on with the same batches.
 */
export class DataLoader<S, B = Collated<S>> implements AsyncIterable<B> {
  /** Samples in the dataset. */
  readonly samples: number;
  readonly batchSize: number;
  /** Batches in an epoch. */
  readonly length: number;
  readonly #make: (indices: Uint32Array) => B | Promise<B>;
  readonly #sampler: Sampler | undefined;
  readonly #shuffle: boolean;
  readonly #prefetch: number;
  #seed: number;
  #epoch = 0;
  #position = 0;
  #iterating = false;

  constructor(dataset: Dataset<S> | readonly S[] | BatchDataset<B>, options: DataLoaderOptions<S, B>) {
    checkOptions('DataLoader', options, OPTIONS);
    const { batchSize, shuffle = false, seed = 0, sampler, dropLast = false, prefetch = 2 } = options;
    checkCount('batchSize of DataLoader', batchSize, 1);
    checkCount('seed of DataLoader', seed, 0);
    checkCount('prefetch of DataLoader', prefetch, 0);
    if (sampler !== undefined && (typeof sampler !== 'function' || shuffle))
      throw refused(
        'either shuffle or a function (epoch) => numbers as sampler',
        inspect({ shuffle, sampler }),
      );
    this.#make = makerOf(dataset, options.collate);
    checkCount('length of the dataset', dataset.length, 0);
    this.samples = dataset.length;
    this.batchSize = batchSize;
    this.length = dropLast ? Math.floor(this.samples / batchSize) : Math.ceil(this.samples / batchSize);
    this.#sampler = sampler;
    this.#shuffle = shuffle;
    this.#prefetch = prefetch;
    this.#seed = seed;
  }

  /** The epoch that is running, or comes next; from 0. */
  get epoch(): number {
    return this.#epoch;
  }

  [Symbol.asyncIterator](): AsyncGenerator<B, void, undefined> {
    return this.iterate();
  }

  /**
   * The same as iterating the loader itself, with a signal: an abort ends the loop with `DT_ABORTED`, and the next one goes on
   * with the batch that was waited for. What the dataset or `collate` throws ends the loop at its batch. One loop at a time.
   */
  async *iterate({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<B, void, undefined> {
    if (signal !== undefined && typeof signal?.addEventListener !== 'function')
      throw refused('an AbortSignal as signal of iterate', inspect(signal, { depth: 0 }));
    if (this.#iterating)
      throw refused('one loop at a time over a DataLoader', 'a second one; make another loader for it');
    this.#iterating = true;
    const ahead: Promise<B>[] = [];
    try {
      const order = await unlessAborted(this.#order(), signal);
      let next = this.#position;
      const request = (count: number) => {
        while (ahead.length < count && next < this.length) ahead.push(this.#batch(order, next++));
      };
      while (this.#position < this.length) {
        request(1);
        const batch = await unlessAborted(ahead[0]!, signal);
        ahead.shift();
        this.#position++;
        request(this.#prefetch);
        yield batch;
      }
      this.#epoch++;
      this.#position = 0;
    } finally {
      this.#iterating = false;
      for (const batch of ahead) batch.then(disposeBatch, () => {});
    }
  }

  stateDict(): DataLoaderState {
    const { samples, batchSize } = this;
    return { epoch: this.#epoch, position: this.#position, seed: this.#seed, samples, batchSize };
  }

  /** Goes on where `stateDict` was called: with the batch after the last that was handed over. Not inside a loop. */
  loadStateDict({ epoch, position, seed, samples, batchSize }: DataLoaderState): void {
    if (this.#iterating)
      throw refused('loadStateDict of DataLoader outside of its loop', 'a call inside of it');
    checkCount('epoch for loadStateDict of DataLoader', epoch, 0);
    checkCount('position for loadStateDict of DataLoader', position, 0);
    checkCount('seed for loadStateDict of DataLoader', seed, 0);
    if (samples !== this.samples || batchSize !== this.batchSize || position > this.length) {
      throw refused(
        `the state of a DataLoader of ${this.samples} samples in ${this.length} batches of ${this.batchSize}`,
        `${samples} samples, batches of ${batchSize}, position ${position}`,
      );
    }
    this.#epoch = epoch;
    this.#position = position;
    this.#seed = seed;
  }

  async #order(): Promise<Uint32Array> {
    if (this.#sampler !== undefined) return this.#checkOrder(await this.#sampler(this.#epoch));
    if (this.#shuffle) return shuffledOrder(this.samples, this.#seed, this.#epoch);
    return inOrder(this.samples);
  }

  #checkOrder(order: ArrayLike<number>): Uint32Array {
    const { samples } = this;
    const refuse = (received: string): never => {
      throw refused(`${samples} whole numbers below ${samples} from the sampler`, received);
    };
    if (order?.length !== samples) refuse(`${order?.length} of them`);
    const checked = new Uint32Array(samples);
    for (let i = 0; i < samples; i++) {
      const index = order[i]!;
      if (!(Number.isInteger(index) && index >= 0 && index < samples)) refuse(`${index} among them`);
      checked[i] = index;
    }
    return checked;
  }

  /** Begins after the consumer has had the turn: what it submits then runs while the batch is made. */
  #batch(order: Uint32Array, index: number): Promise<B> {
    const indices = order.slice(index * this.batchSize, (index + 1) * this.batchSize);
    const made = new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#make(indices));
    // It is awaited in its turn, or never: until then a rejection is not unhandled.
    made.catch(() => {});
    return made;
  }
}

/** Makes batches of a dataset's samples, by their numbers. */
export function makerOf<S, B>(
  dataset: Dataset<S> | readonly S[] | BatchDataset<B>,
  collate: ((samples: S[]) => B | Promise<B>) | undefined,
): (indices: Uint32Array) => B | Promise<B> {
  const { batch } = (dataset ?? {}) as Partial<BatchDataset<B>>;
  if (typeof batch === 'function' && !Array.isArray(dataset)) {
    if (collate === undefined) return (indices) => (dataset as BatchDataset<B>).batch(indices);
    throw refused('no collate for a dataset that makes batches itself', 'one');
  }
  const { get } = (dataset ?? {}) as Partial<Dataset<S>>;
  if (!Array.isArray(dataset) && typeof get !== 'function') {
    throw refused(
      'an array, or an object with length and get(index) or batch(indices), as dataset (new TensorDataset(x, y) for tensors)',
      inspect(dataset, { depth: 0 }),
    );
  }
  const sample = Array.isArray(dataset)
    ? (index: number) => dataset[index] as S
    : (index: number) => (dataset as Dataset<S>).get(index);
  const join = collate ?? (defaultCollate as unknown as (samples: S[]) => B);
  return async (indices) => join(await Promise.all(Array.from(indices, sample)));
}

/** The promise's outcome, or `DT_ABORTED` as soon as the signal fires. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () =>
      reject(
        new DrivetrainError('DT_ABORTED', 'The loop over a DataLoader was ended by its signal.', {
          cause: signal.reason,
        }),
      );
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Disposes the tensors in a batch: in itself, or in arrays and objects. */
export function disposeBatch(batch: unknown): void {
  if (batch instanceof Tensor) batch.dispose();
  else if (typeof batch === 'object' && batch !== null && !ArrayBuffer.isView(batch))
    for (const part of Object.values(batch)) disposeBatch(part);
}

function refused(expected: string, received: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} but received ${received}.`);
}
