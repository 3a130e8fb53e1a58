/** Frames of an error's stack: those of a model of models come first, and the line that called it after them. */
const FRAMES = 30;

/** Every error that drivetrain throws carries one of these codes; docs/errors.md lists them with their remedies. */
export type ErrorCode =
  | 'DT_ABORTED'
  | 'DT_ACCURACY'
  | 'DT_ADDON_LOAD'
  | 'DT_ADDON_MISMATCH'
  | 'DT_BATCH_TOO_LARGE'
  | 'DT_CLOSED'
  | 'DT_CORRUPT_FILE'
  | 'DT_DEADLINE'
  | 'DT_DETACHED_BUFFER'
  | 'DT_DISPOSED'
  | 'DT_DTYPE_MISMATCH'
  | 'DT_FALLBACK_FAILED'
  | 'DT_FROZEN'
  | 'DT_INDEX_OUT_OF_RANGE'
  | 'DT_INVALID_ARGUMENT'
  | 'DT_INVALID_REQUEST'
  | 'DT_IO'
  | 'DT_MODEL_FAILED'
  | 'DT_NON_FINITE'
  | 'DT_NOT_CONTIGUOUS'
  | 'DT_NOT_DIFFERENTIABLE'
  | 'DT_NOT_FOUND'
  | 'DT_NOT_RECORDING'
  | 'DT_NOT_SHARED'
  | 'DT_POOL_LIMIT'
  | 'DT_PRIVACY_BUDGET'
  | 'DT_QUEUE_FULL'
  | 'DT_SHAPE_MISMATCH'
  | 'DT_SYMBOLIC_VALUE'
  | 'DT_TENSOR_BUSY'
  | 'DT_UNSUPPORTED_ISA';

/** The one error class. `code` is stable; `message` says what was expected, what came and what to do. */
export class DrivetrainError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    const limit = Error.stackTraceLimit;
    if (limit > 0) Error.stackTraceLimit = Math.max(limit, FRAMES);
    super(message, options);
    Error.stackTraceLimit = limit;
    this.name = 'DrivetrainError';
    this.code = code;
  }
}
