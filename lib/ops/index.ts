export { accumulate, type GradientSums } from './accumulate.js';
export { activeRecorder, apply, transient, withRecorder } from './apply.js';
export { type AttentionOptions, scaledDotProductAttention } from './attention.js';
export { type BatchStatistics, batchNorm, normaliseBy } from './batch-norm.js';
export { bindingWords, writeBinding } from './bindings.js';
export { CHAIN_LIMITS, type ChainAttrs, type ChainNode, chainOp } from './chain.js';
export { checkOneOf, checkShapeIs, checkTensor, describeNonTensor } from './checks.js';
export { concat, stack } from './concat.js';
export { type Conv1dOptions, type Conv2dOptions, conv1d, conv2d } from './convolution.js';
export { assign, cast, clone, contiguous } from './copy.js';
export { arange, type CreateOptions, full, fullLike, ones, zeros } from './create.js';
export {
  abs,
  add,
  clamp,
  div,
  equal,
  exp,
  gelu,
  greater,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  pow,
  relu,
  sigmoid,
  sign,
  sqrt,
  sub,
  tanh,
  where,
} from './elementwise.js';
export { embedding } from './embedding.js';
export { gradientControl } from './gradient-control.js';
export { type GradientContext, gradientRule, unitGradient, viewGradient } from './gradients.js';
export { indexOutOfRange } from './indices.js';
export { instructionWords, outside, type Place, PROGRAM_WORDS, writeInstruction } from './instruction.js';
export {
  type Int8Attrs,
  linearInt8,
  matmulInt8,
  matmulInteger,
  packInt8,
  type QlinearMatmulOptions,
  QUANTIZES,
  qlinearMatmul,
  type ZeroPoints,
} from './int8.js';
export { maskInPlace } from './mask.js';
export {
  type Activation,
  linear,
  type MatmulAttrs,
  type MatmulOptions,
  matmul,
  packMatmul,
} from './matmul.js';
export type { Indices, Op, Recorder, View } from './op.js';
export { OPCODES, type Opcode } from './opcodes.js';
export { areSmall, type OptimizerOpcode, type OptimizerOperands, OptimizerStep } from './optimizers.js';
export type { OutOptions } from './out.js';
export {
  type AvgPool1dOptions,
  type AvgPool2dOptions,
  adaptiveAvgPool2d,
  avgPool1d,
  avgPool2d,
  type MaxPool1dOptions,
  type MaxPool2dOptions,
  maxPool1d,
  maxPool2d,
} from './pooling.js';
export { dequantizeRows, quantizeLinear, quantizeRows } from './quantize.js';
export { dropout, Generator, type RandomOptions, rand, randn, seed } from './random.js';
export { argmax, globalNorm, max, mean, type Norms, norms, type ReduceOptions, sum } from './reduce.js';
export {
  type CrossEntropyOptions,
  crossEntropyRows,
  layerNorm,
  logSoftmax,
  type RmsNormOptions,
  rmsNorm,
  softmax,
} from './rows.js';
export { checkIndices, type RowGradient, sparseAdamStep } from './sparse-adam.js';
export { type TopkOptions, topk } from './topk.js';
export { broadcastTo, detach, permute, reshape, slice, transpose } from './views.js';
export { type Pair, pairOf } from './windows.js';
