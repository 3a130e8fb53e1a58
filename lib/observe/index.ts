export type { Health, HealthCode, HealthReason, HealthStatus } from './health.js';
export {
  Counter,
  DURATION_BUCKETS,
  defaultRegistry,
  type Family,
  Gauge,
  Histogram,
  METRICS_CONTENT_TYPE,
  Registry,
} from './metrics.js';
export { outcomeOf } from './outcome.js';
export type { TrainingMetrics } from './training-metrics.js';
export {
  type MonitoredOptimizer,
  TrainingMonitor,
  type TrainingMonitorOptions,
  type TrainingStep,
} from './training-monitor.js';
