import { setImmediate } from 'node:timers/promises';
import { DrivetrainError } from '../native/index.js';
import { Generator, rand, transient } from '../ops/index.js';
import { outsideScopes, tensor } from '../tensor/index.js';

/** The order of an epoch's samples, by their numbers. It must depend on the epoch alone, for runs to be resumed. */
export type Sampler = (epoch: number) => ArrayLike<number> | Promise<ArrayLike<number>>;

/** Random numbers drawn before the event loop has a turn: about a millisecond of work. */
const CHUNK = 65_536;

/** Blocks of the random stream that belong to one epoch: two numbers each, enough for 2^32 samples. */
const BLOCKS_PER_EPOCH = 2n ** 31n;

/**
 * 0 … length − 1 in an order that depends on seed and epoch alone (Fisher–Yates), the same on every machine. Lets the event
 * loop turn between chunks of the work.
 */
export async function shuffledOrder(length: number, seed: number, epoch: number): Promise<Uint32Array> {
  const order = inOrder(length);
  for (let last = length - 1; last > 0; last -= CHUNK) {
    const randoms = randomsAt(seed, epoch, length - 1 - last, Math.min(CHUNK, last));
    for (let k = 0; k < randoms.length; k++) {
      const i = last - k;
      const j = Math.floor(randoms[k]! * (i + 1));
      const other = order[j]!;
      order[j] = order[i]!;
      order[i] = other;
    }
    if (last > CHUNK) await setImmediate();
  }
  return order;
}

/** 0 … length − 1. */
export function inOrder(length: number): Uint32Array {
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) order[i] = i;
  return order;
}

/** `count` numbers in [0, 1) of the stream that belongs to seed and epoch, from `first`, an even number, on. */
function randomsAt(seed: number, epoch: number, first: number, count: number): Float64Array {
  return outsideScopes(() =>
    transient(() => {
      const generator = new Generator(seed);
      const offset = BigInt(epoch) * BLOCKS_PER_EPOCH + BigInt(first / 2);
      generator.loadStateDict({ state: tensor(BigInt64Array.of(BigInt(seed), offset)) });
      return rand([count], { dtype: 'f64', generator }).toArray() as Float64Array;
    }),
  );
}

export interface BucketSamplerOptions {
  batchSize: number;
  /** 0 unless given. */
  seed?: number;
}

/** Batches whose samples are sorted by length together: more of them save padding, fewer leave more to chance. */
const BATCHES_IN_BUCKET = 50;

/**
 * A sampler for sequences: samples of about one length share a batch, so that little is padded. Samples are shuffled, sorted
 * by length within buckets of 50 batches, and the batches shuffled; where the last is not full, it stays the last.
 */
export function bucketSampler(
  lengths: ArrayLike<number>,
  { batchSize, seed = 0 }: BucketSamplerOptions,
): Sampler {
  checkCount('batchSize of bucketSampler', batchSize, 1);
  checkCount('seed of bucketSampler', seed, 0);
  const bucket = BATCHES_IN_BUCKET * batchSize;
  return async (epoch) => {
    const order = await shuffledOrder(lengths.length, seed, 2 * epoch);
    for (let first = 0; first < order.length; first += bucket) {
      order.subarray(first, first + bucket).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
    }
    const full = Math.floor(order.length / batchSize);
    const batches = await shuffledOrder(full, seed, 2 * epoch + 1);
    const mixed = order.slice();
    batches.forEach((from, to) => {
      mixed.set(order.subarray(from * batchSize, (from + 1) * batchSize), to * batchSize);
    });
    return mixed;
  };
}

/** Refuses anything but a whole number from `least` on. */
export function checkCount(name: string, value: unknown, least: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= least) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a whole number from ${least} on as ${name} but received ${String(value)}.`,
  );
}
