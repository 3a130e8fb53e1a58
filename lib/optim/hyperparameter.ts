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

/** A whole number from 1 on. */
export function positiveInteger(initial: number): Hyperparameter<number> {
  return number(initial, 'a whole number above 0', (value) => Number.isSafeInteger(value) && value > 0);
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

/** true or false; false unless given. */
export function flag(): Hyperparameter<boolean> {
  return {
    default: false,
    expected: 'true or false',
    width: 1,
    encode: (value) => (typeof value === 'boolean' ? [Number(value)] : undefined),
    decode: ([value]) => value === 1,
  };
}
