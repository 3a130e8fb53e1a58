export { accuracy } from './accuracy.js';
export type { FitBatch, ModelInputs } from './batch.js';
export type { EarlyStoppingOptions } from './early-stopping.js';
export {
  type Batches,
  type Figure,
  type FitOptions,
  type FitProgress,
  type FitReport,
  fit,
} from './fit.js';
export {
  type EpochReport,
  type Figures,
  Progress,
  type ProgressOptions,
  type ProgressOutput,
} from './progress.js';
