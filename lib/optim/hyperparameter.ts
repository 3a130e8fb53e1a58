/** An option of an optimizer: its range, and its numbers among those that native code reads. */
export interface Hyperparameter<T> {
  readonly default: T | undefined;
  readonly expected: string;
  /** How many numbers it takes. */
  readonly width: number;
  /** The numbers of a value, or undefined where the value is out of range. */
  readonly encode: (value: unknown) => readonly number[] | undefined;
  readonly decode: (numbers: Float64Array) => T;
  /** What of a value must stay as the group was made with, since its state depends on it. */
  readonly fixed?: (value: T) => unknown;
}

/** What an optimizer's options may be, in the order of the numbers. */
export type HyperparameterTable<H> = { readonly [K in keyof H]-?: Hyperparameter<Required<H>[K]> };

function number(
  initial: number | undefined,
  expected: string,
  accepts: (value: number) => boolean,
): Hyperparameter<number> {
  return {
    default: initial,
    expected,
    width: 1,
    encode: (value) => (typeof value === 'number' && accepts(value) ? [value] : undefined),
    decode: ([value]) => value!,
  };
}

/** A finite number from 0 on: learning rates, eps. */
export function nonNegative(initial?: number): Hyperparameter<number> {
  return number(initial, 'a finite number from 0 on', (value) => value >= 0 && value < Infinity);
}

/** A finite number above 0. */
export function positive(initial: number): Hyperparameter<number> {
  return number(initial, 'a finite number above 0', (value) => value > 0 && value < Infinity);
}

/** A finite number of at most 0: the exponent of a decay. */
export function nonPositive(initial: number): Hyperparameter<number> {
  return number(initial, 'a finite number of at most 0', (value) => value <= 0 && value > -Infinity);
}

/** A whole number from 1 on. */
export function count(initial: number): Hyperparameter<number> {
  return number(initial, 'a whole number from 1 on', (value) => Number.isSafeInteger(value) && value > 0);
}

/** A number from 0 to 1: weight decay. */
export function share(initial: number): Hyperparameter<number> {
  return number(initial, 'a number in [0, 1]', (value) => value >= 0 && value <= 1);
}

const isBelowOne = (value: unknown) => typeof value === 'number' && value >= 0 && value < 1;

/** A number from 0 up to, but not with, 1: the decay rate of a running average. */
export function belowOne(initial: number): Hyperparameter<number> {
  return number(initial, 'a number in [0, 1)', isBelowOne);
}

/** Two numbers as of `belowOne`. */
export function twoBelowOne(
  first: number,
  second: number,
): Hyperparameter<readonly [first: number, second: number]> {
  return {
    default: [first, second],
    expected: 'two numbers in [0, 1)',
    width: 2,
    encode: (value) =>
      Array.isArray(value) && value.length === 2 && isBelowOne(value[0]) && isBelowOne(value[1])
        ? value
        : undefined,
    decode: ([first, second]) => [first!, second!],
  };
}

/** A finite number above 0, and one from 0 on: terms added to a second moment and to a norm. */
export function positiveAndNonNegative(
  first: number,
  second: number,
): Hyperparameter<readonly [first: number, second: number]> {
  return {
    default: [first, second],
    expected: 'a finite number above 0 and one from 0 on',
    width: 2,
    encode: (value) =>
      Array.isArray(value) &&
      value.length === 2 &&
      value.every(isFiniteNumber) &&
      value[0] > 0 &&
      value[1] >= 0
        ? value
        : undefined,
    decode: ([first, second]) => [first!, second!],
  };
}

const isFiniteNumber = (value: unknown) => typeof value === 'number' && Number.isFinite(value);

/** true or false; false unless given. */
export function flag(initial = false): Hyperparameter<boolean> {
  return {
    default: initial,
    expected: 'true or false',
    width: 1,
    encode: (value) => (typeof value === 'boolean' ? [Number(value)] : undefined),
    decode: ([value]) => value === 1,
  };
}
