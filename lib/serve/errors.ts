import { DrivetrainError, type ErrorCode } from '../native/index.js';

/** A request that cannot be answered: the HTTP status says how, `field` what in the request is to blame. */
export class RequestError extends DrivetrainError {
  readonly status: number;
  readonly field: string | undefined;
  /** What the answer's headers say beside it. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: ErrorCode,
    message: string,
    field?: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(code, message);
    this.status = status;
    this.field = field;
    this.headers = headers;
  }
}

/** 400: the request itself is wrong, at `field`. */
export function badRequest(field: string, message: string): RequestError {
  return new RequestError(400, 'DT_INVALID_REQUEST', message, field);
}

const STATUSES: Partial<Record<ErrorCode, number>> = {
  DT_BATCH_TOO_LARGE: 400,
  DT_INDEX_OUT_OF_RANGE: 400,
  DT_INVALID_REQUEST: 400,
  DT_NOT_FOUND: 404,
  DT_CLOSED: 503,
  DT_QUEUE_FULL: 503,
  DT_DEADLINE: 504,
};

/** The HTTP status of any error; 500 for what no client can cause. */
export function statusOf(error: unknown): number {
  if (error instanceof RequestError) return error.status;
  return (error instanceof DrivetrainError ? STATUSES[error.code] : undefined) ?? 500;
}

/** A value of a request as a message may show it: short, whatever was sent. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = String(value);
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return typeof value === 'string' ? `'${short}'` : short;
}
