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
