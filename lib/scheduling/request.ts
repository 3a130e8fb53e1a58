import { setMaxListeners } from 'node:events';
import { DrivetrainError, type TypedArray } from '../native/index.js';
import { outcomeOf } from '../observe/index.js';
import type { DType, Tensor } from '../tensor/index.js';
import type { Rows } from './batch.js';
import type { BatcherMetrics } from './batcher-metrics.js';
import type { Waiting } from './queue.js';

/** Longer timers would fire at once. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;

/** Some rows on their way through a batcher, and the promise of the caller, which is settled exactly once. */
export class Request implements Waiting, Rows {
  readonly values: TypedArray;
  readonly dtype: DType;
  readonly rows: number;
  readonly rowShape: readonly number[];
  readonly key: string;
  readonly arrivedAt: number = performance.now();
  /** `performance.now()` by which it must be in a batch; Infinity for no deadline. */
  readonly deadline: number;
  readonly #metrics: BatcherMetrics;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onAbort: () => void;
  readonly #resolve: (output: Tensor) => void;
  readonly #reject: (error: unknown) => void;
  #settled = false;

  /** `onAbort` and `onDeadline` are called when the signal or the timer fires before the request is settled. */
  constructor(
    content: Rows,
    limits: { signal: AbortSignal | undefined; timeoutMs: number | undefined },
    events: { onAbort: (request: Request) => void; onDeadline: (request: Request) => void },
    promise: { resolve: (output: Tensor) => void; reject: (error: unknown) => void },
    metrics: BatcherMetrics,
  ) {
    this.values = content.values;
    this.dtype = content.dtype;
    this.rows = content.rows;
    this.rowShape = content.rowShape;
    this.key = `${content.dtype}:${content.rowShape.join('x')}`;
    this.#metrics = metrics;
    this.#resolve = promise.resolve;
    this.#reject = promise.reject;
    const { signal, timeoutMs } = limits;
    this.deadline = this.arrivedAt + (timeoutMs ?? Number.POSITIVE_INFINITY);
    this.#timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => events.onDeadline(this), Math.min(timeoutMs, MAX_TIMER_MS));
    this.#signal = signal;
    this.#onAbort = () => events.onAbort(this);
    if (signal === undefined) return;
    // Many requests may share a signal, which is no leak: each takes its listener away when it is settled.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', this.#onAbort);
  }

  resolve(output: Tensor): void {
    if (this.#settled) return;
    this.#settle();
    this.#metrics.answered.inc();
    this.#resolve(output);
  }

  reject(error: unknown): void {
    if (this.#settled) return;
    this.#settle();
    this.#metrics.failed(outcomeOf(error)).inc();
    this.#reject(error);
  }

  abortedError(): DrivetrainError {
    return abortedError(this.#signal!);
  }

  #settle(): void {
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

export function abortedError(signal: AbortSignal): DrivetrainError {
  return new DrivetrainError('DT_ABORTED', 'The request was aborted by its signal.', {
    cause: signal.reason,
  });
}

export function deadlineError(waitedMs: number): DrivetrainError {
  return new DrivetrainError(
    'DT_DEADLINE',
    `The request waited ${waitedMs.toFixed(1)} ms without getting into a batch, past its timeoutMs; allow more time, or send less at once.`,
  );
}
