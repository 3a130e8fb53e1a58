export { AdamW, type AdamWOptions } from './adamw.js';
export { clipGradNorm } from './clip.js';
export { Optimizer, type Parameter, type ParameterGroup, type ParameterGroupOptions } from './optimizer.js';
export {
  CosineAnnealingLR,
  type CosineAnnealingOptions,
  WarmupCosineLR,
  type WarmupCosineOptions,
} from './schedules.js';
export { SGD, type SGDOptions } from './sgd.js';
