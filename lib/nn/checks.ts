import { DrivetrainError, inspect } from '../native/index.js';

/** Refuses what is no number of features, channels or the like. */
export function checkWidth(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${name} to be a whole number from 1 on but received ${inspect(value)}.`,
    );
  }
}

/** Refuses a number outside of [least, most]. */
export function checkRange(layer: string, name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} of ${layer} from ${least} to ${most} but received ${inspect(value)}.`,
  );
}

/** Refuses what is none of a few words. */
export function checkWord(layer: string, name: string, value: string, words: readonly string[]): void {
  if (words.includes(value)) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} of ${layer} to be ${words.map((word) => `'${word}'`).join(' or ')} but received ${inspect(value)}.`,
  );
}
