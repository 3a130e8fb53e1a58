import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { type Tensor, tensor } from '../index.js';

/** Pixels of a digit, 8 × 8, and the value of a full one. */
export const PIXELS = 64;
export const FULL = 16;

export interface Digits {
  readonly count: number;
  /** [count, PIXELS], from 0 to 1. */
  readonly x: Tensor;
  /** [count], i32. */
  readonly labels: Tensor;
}

/** Every fifth digit is for the test, the one after it for decisions about the model, the others are to learn from. */
const PARTS = { test: [0], validation: [1], train: [2, 3, 4] } as const;

/** The handwritten digits of data/digits.csv.gz; data/README.md says where they come from. */
export async function loadDigits(): Promise<Record<keyof typeof PARTS, Digits>> {
  const file = new URL('../../data/digits.csv.gz', import.meta.url);
  const text = (await promisify(gunzip)(await readFile(file))).toString();
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.split(',').map(Number));
  const part = (remainders: readonly number[]): Digits => {
    const own = rows.filter((_, i) => remainders.includes(i % 5));
    const pixels = Float32Array.from(
      own.flatMap((row) => row.slice(0, PIXELS)),
      (value) => value / FULL,
    );
    const labels = Int32Array.from(own, (row) => row[PIXELS]!);
    return { count: own.length, x: tensor(pixels, { shape: [own.length, PIXELS] }), labels: tensor(labels) };
  };
  return { test: part(PARTS.test), validation: part(PARTS.validation), train: part(PARTS.train) };
}
