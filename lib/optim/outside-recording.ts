import { DrivetrainError } from '../native/index.js';
import { activeRecorder } from '../ops/index.js';

/** Refuses a step that cannot be recorded: what it is, why, and what to do. */
export function checkOutsideRecording(what: string, why: string, instead: string): void {
  if (activeRecorder() === undefined) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${what} outside of compile(fn) and valueAndGrad(fn), since ${why}, but it was called inside; ${instead}.`,
  );
}
