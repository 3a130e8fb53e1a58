import { DrivetrainError, inspect } from '../native/index.js';
import { Module } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';
import { perhapsMeant } from '../text/index.js';
import type { Hyperparameter, HyperparameterTable } from './hyperparameter.js';
import { countOf, isMap, isParameters, type Named, type Parameter, type Parameters } from './parameters.js';

/** Parameters with options of their own. */
export type ParameterGroupOptions<H> = Partial<H> & { readonly params: Parameters };

/**
 * Parameters that share hyperparameters. These may be assigned at any time, between steps and between the runs of a
 * compiled step alike: they are validated then, and read when a step runs.
 */
export type ParameterGroup<H> = { -readonly [K in keyof H]-?: H[K] } & {
  readonly params: readonly Tensor[];
  readonly names: readonly string[];
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
      `Expected ${known.join(', ')} as options of ${name} but received ${unknown.join(', ')}${perhapsMeant(unknown, known)}`,
    );
  }
}

const isGroup = (item: unknown) => isParameters((item as { params?: unknown } | null)?.params);

/** The groups that were given, one where parameters were; each has some. */
export function asGroups<H>(
  name: string,
  params: Parameters | readonly ParameterGroupOptions<H>[],
): readonly ParameterGroupOptions<H>[] {
  if (isParameters(params) && countOf(params as Parameters) > 0) {
    if (isMap(params)) return [{ params } as unknown as ParameterGroupOptions<H>];
    const list = params as readonly unknown[];
    const groups = list as readonly ParameterGroupOptions<H>[];
    if (list.every(isGroup) && groups.every((group) => countOf(group.params) > 0)) return groups;
    if (!list.some(isGroup))
      return [{ params: list as readonly Parameter[] } as unknown as ParameterGroupOptions<H>];
  }
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected parameters for ${name} (tensors or Float32Arrays, a map of them by name, or groups { params, lr, … }), at least one in each group, but received ${describeOther(params)}.`,
  );
}

/** What came instead of parameters, with a hint for the usual slips. */
function describeOther(params: unknown): string {
  if (params instanceof Module) return 'a model; pass model.parameters()';
  if (!Array.isArray(params)) return typeof params;
  if (params.length > 0) return `an array of ${params.length}`;
  return 'an array of 0; a model has those of its public fields (no #private ones), and none that are frozen or quantized';
}

/**
 * A group, and its hyperparameters as the numbers that native code reads; the group's properties write to these. Of
 * several options the first that has a value counts, then the default. `check` throws where options do not go together.
 */
export function makeGroup<H extends object>(
  name: string,
  parameters: readonly Named[],
  table: HyperparameterTable<H>,
  check: (group: ParameterGroup<H>) => void,
  ...options: readonly (Partial<H> | undefined)[]
): { group: ParameterGroup<H>; numbers: Float64Array } {
  const entries = Object.entries(table) as [keyof H & string, Hyperparameter<unknown>][];
  const numbers = new Float64Array(entries.reduce((sum, [, { width }]) => sum + width, 0));
  const group = {
    params: parameters.map(({ tensor }) => tensor),
    names: parameters.map((parameter) => parameter.name),
  } as unknown as ParameterGroup<H>;
  let next = 0;
  for (const [key, { width, expected, encode, decode, fixed, default: initial }] of entries) {
    const own = numbers.subarray(next, next + width);
    next += width;
    const encoded = (value: unknown): readonly number[] => {
      const found = encode(value);
      if (found !== undefined) return found;
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected ${expected} for ${key} of ${name} but received ${inspect(value)}.`,
      );
    };
    const set = (value: unknown) => {
      const now = encoded(value);
      if (fixed !== undefined && fixed(value) !== fixed(decode(own))) {
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          `Expected ${key} of ${name} to stay at ${inspect(decode(own))}, which the group's state was made for, but received ${inspect(value)}; make another optimizer.`,
        );
      }
      const before = own.slice();
      own.set(now);
      try {
        check(group);
      } catch (error) {
        own.set(before);
        throw error;
      }
    };
    Object.defineProperty(group, key, { enumerable: true, get: () => decode(own), set });
    own.set(encoded([...options.map((given) => given?.[key]), initial].find((value) => value !== undefined)));
  }
  // Nothing can be added, such as a misspelt name; the setters work all the same.
  Object.freeze(group);
  check(group);
  return { group, numbers };
}

/** The table with learning rates taken into [1e-8, 1]. */
export function clampedRates<H>(table: HyperparameterTable<H>): HyperparameterTable<H> {
  const { lr } = table as { lr?: Hyperparameter<number> };
  if (lr === undefined) return table;
  const encode = (value: unknown) => lr.encode(value)?.map((rate) => Math.min(Math.max(rate, 1e-8), 1));
  return { ...table, lr: { ...lr, encode } };
}
