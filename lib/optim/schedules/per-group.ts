import { DrivetrainError } from '../../native/index.js';

/** One value for all groups, or one for each, as one for each. */
export function perGroup<T>(name: string, value: T | readonly T[], groups: number): readonly T[] {
  const values = Array.isArray(value) ? (value as readonly T[]) : Array<T>(groups).fill(value as T);
  if (values.length === groups) return values;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected one ${name} or one for each of ${groups} groups but received ${values.length}.`,
  );
}
