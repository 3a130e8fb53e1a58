import { inspect } from 'node:util';
import { DrivetrainError } from '../native/index.js';
import type { Tensor } from '../tensor/index.js';
import type { Hyperparameter, HyperparameterTable } from './hyperparameter.js';

/** What can be optimised in place: a tensor, or a caller's own Float32Array or Float64Array. */
export type Parameter = Tensor | Float32Array | Float64Array;

/** Parameters with options of their own. */
export type ParameterGroupOptions<H> = Partial<H> & { readonly params: readonly Parameter[] };

/**
 * Parameters that share hyperparameters. These may be assigned at any time, between steps and between the runs of a
 * compiled step alike: they are validated then, and read when a step runs.
 */
export type ParameterGroup<H> = { -readonly [K in keyof H]-?: H[K] } & {
  readonly params: readonly Tensor[];
};

/** Refuses options that have another key than the table, and `also`. */
export function checkKeys(name: string, options: unknown, table: object, also: readonly string[] = []): void {
  if (typeof options !== 'object' && options !== undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an object as options of ${name} but received ${inspect(options)}.`,
    );
  }
  const known = [...also, ...Object.keys(table)];
  const unknown = Object.keys(options ?? {}).filter((key) => !known.includes(key));
  if (unknown.length > 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${known.join(', ')} as options of ${name} but received ${unknown.join(', ')}.`,
    );
  }
}

/**
 * A group, and its hyperparameters as the numbers that native code reads; the group's properties write to these. Of
 * several options the first that has a value counts, then the default.
 */
export function makeGroup<H extends object>(
  name: string,
  params: readonly Tensor[],
  table: HyperparameterTable<H>,
  ...options: readonly (Partial<H> | undefined)[]
): { group: ParameterGroup<H>; numbers: Float64Array } {
  const entries = Object.entries(table) as [keyof H & string, Hyperparameter<unknown>][];
  const numbers = new Float64Array(entries.reduce((sum, [, { width }]) => sum + width, 0));
  const group = { params } as ParameterGroup<H>;
  let next = 0;
  for (const [key, { width, expected, encode, decode, default: initial }] of entries) {
    const own = numbers.subarray(next, next + width);
    next += width;
    const set = (value: unknown) => {
      const encoded = encode(value);
      if (encoded === undefined) {
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          `Expected ${expected} for ${key} of ${name} but received ${inspect(value)}.`,
        );
      }
      own.set(encoded);
    };
    Object.defineProperty(group, key, { enumerable: true, get: () => decode(own), set });
    set([...options.map((given) => given?.[key]), initial].find((value) => value !== undefined));
  }
  // Nothing can be added, such as a misspelt name; the setters work all the same.
  Object.freeze(group);
  return { group, numbers };
}
