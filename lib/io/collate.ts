import { DrivetrainError, type TypedArray } from '../native/index.js';
import { stack, transient } from '../ops/index.js';
import { dtypeOf, empty, type NestedNumbers, Tensor, tensor } from '../tensor/index.js';

/** What `collate` makes of samples of type S. */
export type Collated<S> = S extends number | bigint | boolean | TypedArray | Tensor | readonly number[]
  ? Tensor
  : S extends string
    ? string[]
    : { -readonly [K in keyof S]: Collated<S[K]> };

/**
 * Puts samples together to a batch, each part of them along a new first dimension: numbers, and arrays of numbers, to f32;
 * bigints to i64, booleans to bool; typed arrays and tensors, of one length or shape, in their own dtype; strings to an
 * array. Arrays and objects of such stay arrays and objects. Throws `DT_INVALID_ARGUMENT`, `DT_SHAPE_MISMATCH`.
 */
export function collate<S>(samples: readonly S[]): Collated<S> {
  return transient(() => collateAll(samples, 'a sample')) as Collated<S>;
}

function collateAll(samples: readonly unknown[], where: string): unknown {
  const first = samples[0];
  const kind = kindOf(first);
  const other = samples.find((sample) => kindOf(sample) !== kind);
  if (other !== undefined) throw notAlike(where, kind, kindOf(other));
  switch (kind) {
    case 'string':
      return [...samples];
    case 'number':
    case 'row':
      return tensor(samples as readonly NestedNumbers[]);
    case 'bigint':
      return tensor(BigInt64Array.from(samples as readonly bigint[]));
    case 'boolean':
      return tensor(Uint8Array.from(samples as readonly boolean[], Number), { dtype: 'bool' });
    case 'tensor':
      return stack(samples as readonly Tensor[]);
    case 'array':
      return collateParts(samples as readonly unknown[][], where);
    case 'object':
      return collateParts(samples as readonly Record<string, unknown>[], where);
    case 'typed array':
      return stackArrays(samples as readonly TypedArray[], where);
    default:
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected numbers, strings, typed arrays, tensors, or arrays and objects of them, in ${where} but received ${kind}; give the DataLoader a collate of your own.`,
      );
  }
}

function kindOf(sample: unknown): string {
  if (typeof sample !== 'object' || sample === null) return sample === null ? 'null' : typeof sample;
  if (sample instanceof Tensor) return 'tensor';
  if (ArrayBuffer.isView(sample)) return 'typed array';
  if (!Array.isArray(sample)) return 'object';
  return sample.length > 0 && sample.every((item) => typeof item === 'number') ? 'row' : 'array';
}

/** Arrays and objects, part by part. */
function collateParts(samples: readonly (unknown[] | Record<string, unknown>)[], where: string): unknown {
  const keys = Object.keys(samples[0]!);
  const other = samples.find((sample) => Object.keys(sample).join() !== keys.join());
  if (other !== undefined)
    throw notAlike(where, keys.join(', ') || 'nothing', Object.keys(other).join(', ') || 'nothing');
  const parts = keys.map((key) => [
    key,
    collateAll(
      samples.map((sample) => (sample as Record<string, unknown>)[key]),
      `part ${key} of ${where}`,
    ),
  ]);
  return Array.isArray(samples[0]) ? parts.map(([, part]) => part) : Object.fromEntries(parts);
}

function stackArrays(arrays: readonly TypedArray[], where: string): Tensor {
  const { length } = arrays[0]!;
  const dtype = dtypeOf(arrays[0]!);
  const describe = (one: TypedArray) => `${one.constructor.name} of ${one.length}`;
  const other = arrays.find((one) => one.length !== length || dtypeOf(one) !== dtype);
  if (other !== undefined) throw notAlike(where, describe(arrays[0]!), describe(other), 'DT_SHAPE_MISMATCH');
  const made = empty([arrays.length, length], dtype);
  const all = made.borrow() as Float32Array;
  arrays.forEach((one, i) => {
    all.set(one as Float32Array, i * length);
  });
  return made;
}

function notAlike(
  where: string,
  first: string,
  other: string,
  code: 'DT_INVALID_ARGUMENT' | 'DT_SHAPE_MISMATCH' = 'DT_INVALID_ARGUMENT',
): DrivetrainError {
  return new DrivetrainError(
    code,
    `Expected samples that are alike in a batch but ${where} is ${first} in one and ${other} in another; give the DataLoader a collate of your own.`,
  );
}
