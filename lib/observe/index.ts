export type { Finding } from '../text/index.js';
export { type DiagnoseOptions, diagnose } from './diagnose.js';
export { Diagnosis, type DiagnosisData } from './diagnosis.js';
export type { Health, HealthCode, HealthReason, HealthStatus } from './health.js';
export {
  Counter,
  defaultRegistry,
  type Family,
  Gauge,
  Histogram,
  METRICS_CONTENT_TYPE,
  Registry,
} from './metrics.js';
export type { Numbers } from './numbers.js';
export { outcomeOf } from './outcome.js';
export { type BatchSizeAdvice, type BatchSizeQuery, recommendBatchSize } from './recommend-batch-size.js';
export {
  type AdvisedOptimizer,
  type OptimizerAdvice,
  type OptimizerQuery,
  recommendOptimizer,
} from './recommend-optimizer.js';
export type { TrainingMetrics } from './training-metrics.js';
export {
  type MonitoredOptimizer,
  TrainingMonitor,
  type TrainingMonitorOptions,
  type TrainingStep,
} from './training-monitor.js';
