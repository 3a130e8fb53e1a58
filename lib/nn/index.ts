export { GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh } from './activations.js';
export { attend } from './attend.js';
export { BatchNorm1d, BatchNorm2d, type BatchNormOptions } from './batch-norm.js';
export { Conv1d, Conv2d } from './convolution.js';
export * as init from './init.js';
export { hasInitialValues, withoutInitialValues } from './initialise.js';
export {
  Dropout,
  Embedding,
  Flatten,
  LayerNorm,
  type LayerNormOptions,
  type LayerOptions,
  Linear,
  type LinearOptions,
  linearOf,
  Residual,
  RMSNorm,
  type RMSNormOptions,
  Sequential,
} from './layers.js';
export {
  bceWithLogits,
  type CosineEmbeddingLossOptions,
  type CosineSimilarityOptions,
  type CrossEntropyOptions,
  cosineEmbeddingLoss,
  cosineSimilarity,
  crossEntropy,
  type HuberLossOptions,
  huberLoss,
  type KlDivOptions,
  klDiv,
  type LossOptions,
  l1Loss,
  mseLoss,
  type SmoothL1LossOptions,
  smoothL1Loss,
} from './losses.js';
export { Module } from './module.js';
export {
  type AttentionMasks,
  MultiHeadAttention,
  type MultiHeadAttentionOptions,
} from './multi-head-attention.js';
export { AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d } from './pooling.js';
export { LearnedPositionalEncoding, PositionalEncoding } from './positions.js';
export { loadState, type StateEntry, stateEntry, withThawed } from './state-dict.js';
export { Summary, type SummaryOptions, type SummaryRow, summary } from './summary.js';
export {
  TransformerEncoder,
  TransformerEncoderLayer,
  type TransformerEncoderLayerOptions,
} from './transformer.js';
