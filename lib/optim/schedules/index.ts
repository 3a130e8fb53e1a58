export {
  ChainedScheduler,
  SequentialLR,
  type SequentialOptions,
} from './compose.js';
export {
  CosineAnnealingLR,
  type CosineAnnealingOptions,
  CosineAnnealingWarmRestarts,
  type WarmRestartsOptions,
  WarmupCosineLR,
  type WarmupCosineOptions,
} from './cosine.js';
export {
  CyclicLR,
  type CyclicOptions,
  type MomentumCycleOptions,
  OneCycleLR,
  type OneCycleOptions,
} from './cycle.js';
export {
  ConstantLR,
  type ConstantOptions,
  ExponentialLR,
  InverseSquareRootLR,
  LambdaLR,
  LinearLR,
  type LinearLROptions,
  MultiStepLR,
  type MultiStepOptions,
  PolynomialLR,
  type PolynomialOptions,
  StepLR,
  type StepOptions,
} from './decay.js';
export { type LayerwiseOptions, layerwiseDecay } from './layerwise.js';
export { type PlateauOptions, type PlateauState, ReduceLROnPlateau } from './plateau.js';
export type { LRScheduler, ScheduleState } from './schedule.js';
