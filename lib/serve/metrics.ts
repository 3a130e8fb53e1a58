import type { Counter, Gauge, Histogram, Registry } from '../observe/index.js';
import { type Batcher, batcherMetrics } from '../scheduling/index.js';

const MICROSECONDS = 1e6;

/** Triton's reasons for the outcomes that have one of their own. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['queue_full', 'REJECTED'],
  ['deadline', 'REJECTED'],
  ['closed', 'REJECTED'],
  ['aborted', 'CANCELED'],
  ['model_failed', 'BACKEND'],
]);

/**
 * The metrics of one version of a model: ours, and those that Triton's dashboards know (`nv_inference_*`; durations
 * are sums in microseconds over requests).
 */
export class ModelMetrics {
  /** Bytes of request bodies, inflated where they came compressed. */
  readonly receivedBytes: Counter;
  /** Bytes of the bodies of answers. */
  readonly sentBytes: Counter;
  readonly #duration: Histogram;
  readonly #outcome: (outcome: string) => Counter;
  readonly #ok: Counter;
  readonly #success: Counter;
  readonly #failure: (reason: string) => Counter;
  readonly #requestMicroseconds: Counter;
  readonly #computeMicroseconds: Counter;
  readonly #inferences: Counter;
  readonly #executions: Counter;
  readonly #stopCollecting: (() => void) | undefined;

  constructor(registry: Registry, model: string, version: string, batcher: Batcher | undefined) {
    const names = ['model', 'version'] as const;
    const labels = { model, version };
    const counter = (name: string, help: string) => registry.counter(name, help, names).labels(labels);
    const outcomes = registry.counter(
      'drivetrain_inference_requests_total',
      'Inference requests, by outcome.',
      [...names, 'outcome'],
    );
    const failures = registry.counter(
      'nv_inference_request_failure',
      'Failed inference requests, by reason.',
      [...names, 'reason'],
    );
    this.#outcome = (outcome) => outcomes.labels({ ...labels, outcome });
    this.#ok = this.#outcome('ok');
    this.#failure = (reason) => failures.labels({ ...labels, reason });
    this.#duration = registry
      .histogram('drivetrain_inference_duration_seconds', 'Time to answer a request that succeeded.', names)
      .labels(labels);
    this.receivedBytes = counter(
      'drivetrain_inference_received_bytes_total',
      'Bytes of inference request bodies, inflated.',
    );
    this.sentBytes = counter('drivetrain_inference_sent_bytes_total', 'Bytes of inference response bodies.');
    this.#success = counter('nv_inference_request_success', 'Successful inference requests.');
    this.#inferences = counter('nv_inference_count', 'Inferences performed: a batch of n counts n.');
    this.#executions = counter('nv_inference_exec_count', 'Model executions: a batch counts one.');
    this.#requestMicroseconds = counter(
      'nv_inference_request_duration_us',
      'Time of successful requests, in all.',
    );
    this.#computeMicroseconds = counter(
      'nv_inference_compute_infer_duration_us',
      'Time that requests spent executing.',
    );
    const queueMicroseconds = counter('nv_inference_queue_duration_us', 'Time that requests spent queued.');
    const pending: Gauge = registry
      .gauge('nv_inference_pending_request_count', 'Requests that wait to be executed.', names)
      .labels(labels);
    if (batcher === undefined) return;
    const { queueAge, requestExecution } = batcherMetrics(registry, `${model}:${version}`);
    this.#stopCollecting = registry.onCollect(() => {
      pending.set(batcher.size);
      raiseTo(queueMicroseconds, queueAge.sum * MICROSECONDS);
      raiseTo(this.#computeMicroseconds, requestExecution.value * MICROSECONDS);
    });
  }

  succeeded(seconds: number): void {
    this.#ok.inc();
    this.#duration.observe(seconds);
    this.#success.inc();
    this.#requestMicroseconds.inc(seconds * MICROSECONDS);
  }

  failed(outcome: string): void {
    this.#outcome(outcome).inc();
    this.#failure(REASONS.get(outcome) ?? 'OTHER').inc();
  }

  /** One call of `predict`, for `rows` inferences. */
  executed(rows: number): void {
    this.#executions.inc();
    this.#inferences.inc(rows);
  }

  /** What one request without a batcher spent executing. */
  computedAlone(seconds: number): void {
    this.#computeMicroseconds.inc(seconds * MICROSECONDS);
  }

  close(): void {
    this.#stopCollecting?.();
  }
}

function raiseTo(counter: Counter, total: number): void {
  counter.inc(Math.max(0, total - counter.value));
}
