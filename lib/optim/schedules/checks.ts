import { DrivetrainError, inspect } from '../../native/index.js';

function refuse(name: string, expected: string, value: unknown): never {
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} to be ${expected} but received ${inspect(value)}.`,
  );
}

/** A finite number from 0 to `most`. */
export function checkBetween(name: string, value: number, most = Infinity): void {
  if (typeof value === 'number' && value >= 0 && value <= most && value < Infinity) return;
  refuse(name, `a finite number from 0 ${most === Infinity ? 'on' : `to ${most}`}`, value);
}

/** A finite number above 0. */
export function checkPositive(name: string, value: number): void {
  if (!(typeof value === 'number' && value > 0 && value < Infinity))
    refuse(name, 'a finite number above 0', value);
}

/** A whole number from `least` on. */
export function checkSteps(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) refuse(name, `a whole number from ${least} on`, value);
}

/** Whole numbers from `least` on, each larger than the one before. */
export function checkMilestones(name: string, values: readonly number[], least: number): void {
  const rising =
    Array.isArray(values) &&
    values.every(
      (value, i) => Number.isSafeInteger(value) && value >= least && (i === 0 || value > values[i - 1]!),
    );
  if (!rising) refuse(name, `whole numbers from ${least} on that rise`, values);
}

export function checkOneOf(name: string, value: unknown, known: readonly unknown[]): void {
  if (!known.includes(value)) refuse(name, `one of ${known.map((one) => inspect(one)).join(', ')}`, value);
}
