import type { Counter, Family, Gauge, Histogram, Registry } from '../observe/index.js';

/** Why a batch was sent: it was full, its executor was idle, or its oldest request had waited for `maxWaitMs`. */
export type DispatchReason = 'full' | 'idle' | 'wait';

/** The metrics of the batcher of one name in one registry. */
export interface BatcherMetrics {
  readonly batchRows: Histogram;
  /** The most rows that a batch takes, which falls under memory pressure. */
  readonly mostRows: Gauge;
  /** Seconds from a request's arrival until its batch was sent; only requests that came so far. */
  readonly queueAge: Histogram;
  /** Seconds that `run` took, once a batch. */
  readonly execution: Histogram;
  /** Seconds that `run` took, once a request: what requests spent executing, all together. */
  readonly requestExecution: Counter;
  readonly queueRows: Gauge;
  readonly dispatches: Readonly<Record<DispatchReason, Counter>>;
  readonly answered: Counter;
  readonly failed: (outcome: string) => Counter;
}

const ROW_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/** The same objects' counts for the same registry and name, whoever asks. */
export function batcherMetrics(registry: Registry, batcher: string): BatcherMetrics {
  const labels = { batcher };
  const dispatches = registry.counter(
    'drivetrain_batch_dispatches_total',
    'Batches sent, by the reason for sending.',
    ['batcher', 'reason'],
  );
  const requests: Family<Counter, 'batcher' | 'outcome'> = registry.counter(
    'drivetrain_batcher_requests_total',
    'Requests answered, by outcome.',
    ['batcher', 'outcome'],
  );
  return {
    batchRows: registry
      .histogram('drivetrain_batch_size_rows', 'Rows in a batch.', ['batcher'], ROW_BUCKETS)
      .labels(labels),
    mostRows: registry
      .gauge('drivetrain_batch_limit_rows', 'The most rows that a batch takes now.', ['batcher'])
      .labels(labels),
    queueAge: registry
      .histogram('drivetrain_queue_age_seconds', 'Time from arrival until the batch was sent.', ['batcher'])
      .labels(labels),
    execution: registry
      .histogram('drivetrain_batch_execution_seconds', 'Time that a batch took to run.', ['batcher'])
      .labels(labels),
    requestExecution: registry
      .counter(
        'drivetrain_request_execution_seconds_total',
        'Time that requests spent executing, all together.',
        ['batcher'],
      )
      .labels(labels),
    queueRows: registry
      .gauge('drivetrain_queue_size_rows', 'Rows waiting for a batch.', ['batcher'])
      .labels(labels),
    dispatches: {
      full: dispatches.labels({ batcher, reason: 'full' }),
      idle: dispatches.labels({ batcher, reason: 'idle' }),
      wait: dispatches.labels({ batcher, reason: 'wait' }),
    },
    answered: requests.labels({ batcher, outcome: 'ok' }),
    failed: (outcome) => requests.labels({ batcher, outcome }),
  };
}
