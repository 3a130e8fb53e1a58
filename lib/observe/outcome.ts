import { DrivetrainError } from '../native/index.js';

/** What a metric's `outcome` label says of an error: its code in small letters (`queue_full`), or `error`. */
export function outcomeOf(error: unknown): string {
  return error instanceof DrivetrainError ? error.code.slice('DT_'.length).toLowerCase() : 'error';
}
