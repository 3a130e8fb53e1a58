/**
 * The instructions that native code executes, in the order of their numbers. `scripts/generate-opcodes.mjs` makes the
 * C++ header from this list; the addon carries its hash, which is checked at load.
 */
export const OPCODES = [
  'neg',
  'abs',
  'sign',
  'exp',
  'log',
  'sqrt',
  'tanh',
  'sigmoid',
  'relu',
  'gelu',
  'add',
  'sub',
  'mul',
  'div',
  'maximum',
  'minimum',
  'reluGrad',
  'geluGrad',
  'equal',
  'greater',
  'where',
  'clamp',
  'pow',
  'fill',
  'mask',
  'copy',
  'embedSlice',
  'concat',
  'cast',
  'sum',
  'max',
  'argmax',
  'topk',
  'topkGrad',
  'norms',
  'matmul',
  'packMatmul',
  'softmax',
  'softmaxGrad',
  'logSoftmax',
  'logSoftmaxGrad',
  'crossEntropy',
  'crossEntropyGrad',
  'layerNorm',
  'layerNormGrad',
  'rmsNorm',
  'rmsNormGrad',
  'scaledDotProductAttention',
  'scaledDotProductAttentionGrad',
  'embedding',
  'embeddingGrad',
  'uniform',
  'normal',
  'dropout',
  'advance',
  'sgd',
  'adam',
  'adamw',
  'adamEightBit',
  'adamwEightBit',
  'nadam',
  'radam',
  'adabelief',
  'adamax',
  'adagrad',
  'adadelta',
  'rmsprop',
  'lion',
  'lamb',
  'lars',
  'gradientControl',
  'accumulate',
  'lookahead',
  'adafactor',
  'muon',
  'sparseAdam',
  'quantizeRows',
  'dequantizeRows',
  'quantizeLinear',
  'packInt8',
  'matmulInt8',
] as const;

/** Bumped when lib/native/binding.ts changes in a way that older addons do not have; part of the hash. */
const SURFACE = 4;

export type Opcode = (typeof OPCODES)[number];

/** FNV-1a over `SURFACE` and the names, as the generated header has it. */
export function opcodeHash(): string {
  let hash = 0x811c9dc5;
  for (const character of [SURFACE, ...OPCODES].join(',')) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  }
  return hash.toString(16).padStart(8, '0');
}
