export { Batcher, type BatcherOptions, type BatcherRunOptions } from './batcher.js';
export { batcherMetrics } from './batcher-metrics.js';
export { MAX_TIMER_MS } from './request.js';
