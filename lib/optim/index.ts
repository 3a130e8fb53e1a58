export { AdamW, type AdamWOptions } from './adamw.js';
export { clipGradNorm } from './clip.js';
export { Optimizer } from './optimizer.js';
export type { Parameter, ParameterGroup, ParameterGroupOptions } from './parameter-group.js';
export {
  CosineAnnealingLR,
  type CosineAnnealingOptions,
  WarmupCosineLR,
  type WarmupCosineOptions,
} from './schedules.js';
export { SGD, type SGDOptions } from './sgd.js';
