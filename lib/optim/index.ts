export { AdamW, type AdamWOptions } from './adamw.js';
export { clipGradNorm } from './clip.js';
export { findLearningRate, type LRCurve, type LRFinderOptions, type LRPoint } from './lr-finder.js';
export { Optimizer } from './optimizer.js';
export type { Parameter, ParameterGroup, ParameterGroupOptions } from './parameter-group.js';
export * from './privacy/index.js';
export * from './schedules/index.js';
export { SGD, type SGDOptions } from './sgd.js';
