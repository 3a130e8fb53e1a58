export {
  Dropout,
  Embedding,
  GELU,
  LayerNorm,
  type LayerNormOptions,
  type LayerOptions,
  Linear,
  type LinearOptions,
  ReLU,
  RMSNorm,
  type RMSNormOptions,
  Sequential,
} from './layers.js';
export { crossEntropy, mseLoss } from './losses.js';
export { Module } from './module.js';
export { loadState, type StateEntry } from './state-dict.js';
