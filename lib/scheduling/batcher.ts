import { DrivetrainError, type TypedArray } from '../native/index.js';
import { defaultRegistry, outcomeOf, type Registry } from '../observe/index.js';
import {
  checkOptions,
  defaultPool,
  formatShape,
  type PressureLevel,
  Tensor,
  typedArrayName,
  wrap,
} from '../tensor/index.js';
import { gather, type Rows, scatter } from './batch.js';
import { type BatcherMetrics, batcherMetrics, type DispatchReason } from './batcher-metrics.js';
import { type Group, headOf, RequestQueue } from './queue.js';
import { abortedError, deadlineError, MAX_TIMER_MS, Request } from './request.js';

export interface BatcherOptions {
  /** The most rows in a batch. Default 64. */
  maxBatchSize?: number;
  /**
   * How many milliseconds a batch that is not full waits for company, counted from the arrival of its oldest request.
   * It waits only under load, which is when the batch before it held more than one request. Default 0.
   */
  maxWaitMs?: number;
  /** The most rows that wait; more are refused at once with `DT_QUEUE_FULL`. Default 1024, or maxBatchSize if that is more. */
  maxQueueSize?: number;
  /** How many milliseconds a request may wait for its batch before it fails with `DT_DEADLINE`. Default: no limit. */
  timeoutMs?: number;
  /** How many batches may run at the same time. Default 1. */
  concurrency?: number;
  /** The `batcher` label of its metrics. Default 'default'. */
  name?: string;
  /** Where its metrics are kept. Default: `defaultRegistry`. */
  registry?: Registry;
}

export interface BatcherRunOptions {
  /** Ends the request with `DT_ABORTED`; one that waits leaves the queue. */
  signal?: AbortSignal;
  /** Instead of the batcher's own `timeoutMs`. */
  timeoutMs?: number;
}

/** The share of `maxBatchSize` that a batch takes while the default pool is near its limit. */
const SHARES: Readonly<Record<PressureLevel, number>> = { high: 1 / 2, critical: 1 / 4 };

const OPTIONS: readonly (keyof BatcherOptions)[] = [
  'maxBatchSize',
  'maxWaitMs',
  'maxQueueSize',
  'timeoutMs',
  'concurrency',
  'name',
  'registry',
];

/**
 * Answers many small requests with few large calls of `run`. A request is some rows, a tensor [rows, …]; requests of
 * the same dtype and row shape share a batch [sum of rows, …] in the order of their arrival, and each is answered with
 * its own rows of the result. Nothing waits at low load: an idle executor takes what came during the current turn of
 * the event loop, and while it is busy the next batch gathers. Near the limit of the default pool batches are smaller: half
 * of `maxBatchSize` from 80 % of it on, a quarter from 95 % on; a single request is never split.
 */
export class Batcher {
  readonly #run: (batch: Tensor) => Promise<Tensor>;
  readonly #maxBatchSize: number;
  readonly #maxWaitMs: number;
  readonly #maxQueueSize: number;
  readonly #timeoutMs: number | undefined;
  readonly #concurrency: number;
  readonly #metrics: BatcherMetrics;
  readonly #queue = new RequestQueue<Request>();
  readonly #events = {
    onAbort: (request: Request): void => {
      this.#leave(request);
      request.reject(request.abortedError());
      this.#schedule();
    },
    onDeadline: (request: Request): void => {
      if (this.#leave(request)) request.reject(deadlineError(performance.now() - request.arrivedAt));
      this.#schedule();
    },
  };
  /** The end of the current turn of the event loop, when one is due. */
  #turn: NodeJS.Immediate | undefined;
  /** The end of the wait for company, when one is due. */
  #wait: NodeJS.Timeout | undefined;
  #batches = 0;
  #inFlight = 0;
  /** How many requests the last batch held: more than one is what load looks like. */
  #lastRequests = 0;
  #closing = false;
  #drained: (() => void)[] = [];

  /** `run` maps [rows, …] to [rows, …]; its result is disposed when it has been copied. `DT_INVALID_ARGUMENT`. */
  constructor(run: (batch: Tensor) => Promise<Tensor>, options: BatcherOptions = {}) {
    checkOptions('Batcher', options, OPTIONS);
    const { maxBatchSize = 64, maxWaitMs = 0, timeoutMs, concurrency = 1, name = 'default' } = options;
    const { maxQueueSize = Math.max(1024, maxBatchSize), registry = defaultRegistry } = options;
    if (typeof run !== 'function') throw invalid('run', 'a function', run);
    checkWhole('maxBatchSize', maxBatchSize, 1);
    checkWhole('maxQueueSize', maxQueueSize, maxBatchSize);
    checkWhole('concurrency', concurrency, 1);
    if (!(maxWaitMs >= 0 && maxWaitMs <= MAX_TIMER_MS))
      throw invalid('maxWaitMs', 'milliseconds, 0 or more,', maxWaitMs);
    checkTimeout(timeoutMs);
    this.#run = run;
    this.#maxBatchSize = maxBatchSize;
    this.#maxWaitMs = maxWaitMs;
    this.#maxQueueSize = maxQueueSize;
    this.#timeoutMs = timeoutMs;
    this.#concurrency = concurrency;
    this.#metrics = batcherMetrics(registry, name);
  }

  /** How many requests wait for a batch. */
  get size(): number {
    return this.#queue.length;
  }

  /** How many requests are in a batch that runs. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * The rows of the output that belong to `input`: a tensor over an owned copy, with nothing to dispose. `input` is a
   * tensor [rows, …], or a typed array as the one row [1, length]; it is copied before this returns. Rejects with
   * `DT_QUEUE_FULL`, `DT_DEADLINE`, `DT_ABORTED`, `DT_BATCH_TOO_LARGE`, `DT_CLOSED`, `DT_SHAPE_MISMATCH` (no rows), or
   * with the error of the `run` that its batch was in; where that was `DT_INDEX_OUT_OF_RANGE`, each request of the batch has
   * run again alone.
   */
  run(input: Tensor | TypedArray, options: BatcherRunOptions = {}): Promise<Tensor> {
    return new Promise((resolve, reject) => {
      try {
        this.#admit(input, options, { resolve, reject });
      } catch (error) {
        this.#metrics.failed(outcomeOf(error)).inc();
        reject(error);
      }
    });
  }

  /**
   * Refuses new requests (`DT_CLOSED`) and resolves when all work is done: with `drain` (the default) all requests
   * that were accepted are answered, without it those that wait are rejected with `DT_CLOSED`.
   */
  close({ drain = true }: { drain?: boolean } = {}): Promise<void> {
    this.#closing = true;
    if (!drain) {
      for (let group = this.#queue.oldest(); group !== undefined; group = this.#queue.oldest()) {
        const request = headOf(group);
        this.#leave(request);
        request.reject(new DrivetrainError('DT_CLOSED', 'The batcher was closed before this request ran.'));
      }
    }
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#schedule();
    });
  }

  #admit(
    input: Tensor | TypedArray,
    options: BatcherRunOptions,
    promise: { resolve: (output: Tensor) => void; reject: (error: unknown) => void },
  ): void {
    checkOptions('Batcher.run', options, ['signal', 'timeoutMs']);
    const { signal, timeoutMs = this.#timeoutMs } = options;
    if (this.#closing)
      throw new DrivetrainError('DT_CLOSED', 'The batcher is closed and takes no more requests.');
    if (signal?.aborted) throw abortedError(signal);
    checkTimeout(timeoutMs);
    const content = this.#copyRows(input);
    const request = new Request(content, { signal, timeoutMs }, this.#events, promise, this.#metrics);
    this.#queue.add(request);
    this.#metrics.queueRows.inc(request.rows);
    this.#schedule();
  }

  /** Checks shape and room before it copies: refusing a request costs next to nothing. */
  #copyRows(input: Tensor | TypedArray): Rows {
    let shape: readonly number[];
    if (typedArrayName(input) !== undefined) shape = [1, (input as TypedArray).length];
    else if (input instanceof Tensor) shape = input.shape;
    else throw invalid('input', 'a Tensor or a typed array', input);
    const [rows, ...rowShape] = shape;
    if (rows === undefined || rows === 0) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected input to have a first dimension of at least one row but received shape ${formatShape(shape)}.`,
      );
    }
    if (rows > this.#maxBatchSize) {
      throw new DrivetrainError(
        'DT_BATCH_TOO_LARGE',
        `Expected at most ${this.#maxBatchSize} rows in a request but received ${rows}; split it, or raise maxBatchSize.`,
      );
    }
    if (this.#queue.rows + rows > this.#maxQueueSize) {
      throw new DrivetrainError(
        'DT_QUEUE_FULL',
        `The queue holds ${this.#queue.rows} of at most ${this.#maxQueueSize} rows and has no room for ${rows} more; try again later.`,
      );
    }
    const tensor = input instanceof Tensor ? input : wrap(input);
    return { values: tensor.toArray(), dtype: tensor.dtype, rows, rowShape };
  }

  /** Whether the request was still waiting. */
  #leave(request: Request): boolean {
    const waited = this.#queue.remove(request);
    if (waited) this.#metrics.queueRows.dec(request.rows);
    return waited;
  }

  /**
   * Looks at the queue when this turn of the event loop ends. Also after a batch: its callers often send their next
   * requests at once, and these should not miss the batch that now leaves.
   */
  #schedule(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    clearTimeout(this.#wait);
    this.#wait = undefined;
    while (this.#batches < this.#concurrency) {
      const now = performance.now();
      const group = this.#queue.oldest((candidate) => this.#remainingWait(candidate, now) <= 0);
      if (group === undefined) break;
      const reason = this.#reasonToSend(group);
      const batch = this.#take(group, now);
      if (batch.length > 0) void this.#execute(batch, reason);
    }
    if (this.#batches < this.#concurrency) this.#waitForCompany();
    if (this.#closing && this.#batches === 0 && this.#queue.length === 0) {
      for (const resolve of this.#drained.splice(0)) resolve();
    }
  }

  /** For how many more milliseconds a group waits for company. */
  #remainingWait(group: Group<Request>, now: number): number {
    return this.#reasonToSend(group) === 'wait' ? headOf(group).arrivedAt + this.#maxWaitMs - now : 0;
  }

  /** The most rows that a batch of several requests takes now. */
  #mostRows(): number {
    const level = defaultPool.pressure;
    const rows = level === undefined ? this.#maxBatchSize : Math.ceil(this.#maxBatchSize * SHARES[level]);
    this.#metrics.mostRows.set(rows);
    return rows;
  }

  #reasonToSend(group: Group<Request>): DispatchReason {
    if (group.rows >= this.#mostRows()) return 'full';
    return this.#maxWaitMs > 0 && this.#lastRequests > 1 && !this.#closing ? 'wait' : 'idle';
  }

  #waitForCompany(): void {
    const group = this.#queue.oldest();
    if (group === undefined) return;
    const remaining = this.#remainingWait(group, performance.now());
    this.#wait = setTimeout(() => this.#dispatch(), Math.max(1, Math.ceil(remaining)));
  }

  /** The oldest requests of a group that fit into a batch, without those whose deadline has passed. */
  #take(group: Group<Request>, now: number): Request[] {
    const batch: Request[] = [];
    const most = this.#mostRows();
    let rows = 0;
    for (const request of group.requests) {
      if (request.deadline <= now) {
        this.#leave(request);
        request.reject(deadlineError(now - request.arrivedAt));
        continue;
      }
      if (batch.length > 0 && rows + request.rows > most) break;
      rows += request.rows;
      this.#leave(request);
      batch.push(request);
    }
    return batch;
  }

  async #execute(batch: readonly Request[], reason: DispatchReason): Promise<void> {
    const metrics = this.#metrics;
    const startedAt = performance.now();
    let rows = 0;
    for (const request of batch) {
      rows += request.rows;
      metrics.queueAge.observe((startedAt - request.arrivedAt) / 1000);
    }
    metrics.dispatches[reason].inc();
    metrics.batchRows.observe(rows);
    this.#lastRequests = batch.length;
    this.#batches++;
    this.#inFlight += batch.length;
    await this.#answer(batch);
    this.#batches--;
    this.#inFlight -= batch.length;
    this.#schedule();
  }

  /** Where some request of several has an index that is out of range, the halves run again: only that one fails. */
  async #answer(batch: readonly Request[]): Promise<void> {
    const metrics = this.#metrics;
    const startedAt = performance.now();
    try {
      const output = await this.#run(gather(batch));
      const seconds = (performance.now() - startedAt) / 1000;
      metrics.execution.observe(seconds);
      metrics.requestExecution.inc(seconds * batch.length);
      const outputs = await scatter(output, batch);
      batch.forEach((request, i) => {
        request.resolve(outputs[i]!);
      });
    } catch (error) {
      if (batch.length > 1 && error instanceof DrivetrainError && error.code === 'DT_INDEX_OUT_OF_RANGE')
        for (const half of halves(batch)) await this.#answer(half);
      else for (const request of batch) request.reject(error);
    }
  }
}

function halves<T>(items: readonly T[]): [T[], T[]] {
  const middle = Math.ceil(items.length / 2);
  return [items.slice(0, middle), items.slice(middle)];
}

function checkWhole(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least)
    throw invalid(name, `a whole number, ${least} or more,`, value);
}

function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs !== undefined && !(timeoutMs >= 0))
    throw invalid('timeoutMs', 'milliseconds, 0 or more,', timeoutMs);
}

function invalid(name: string, expected: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for ${name} but received ${String(received)}.`,
  );
}
