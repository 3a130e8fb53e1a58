import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions, formatShape, type Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkEps, checkFloat, checkMinRank, checkOneOf, checkSameDtype, checkShapeIs } from './checks.js';
import type { Indices, Op, TensorSpec } from './op.js';
import type { Opcode } from './opcodes.js';

const sameAsFirst = ([x]: readonly Tensor[]): TensorSpec[] => [{ shape: x!.shape, dtype: x!.dtype }];

function rowOp(name: Opcode): (x: Tensor) => Tensor {
  const op: Op = { name, infer: sameAsFirst, inPlace: true };
  return (x) => {
    checkFloat(name, x);
    checkMinRank(name, x, 1);
    return apply(op, [x], undefined)[0]!;
  };
}

function rowGradOp(name: Opcode): (y: Tensor, dy: Tensor) => Tensor {
  const op: Op = { name, infer: sameAsFirst };
  return (y, dy) => apply(op, [y, dy], undefined)[0]!;
}

/** e^x over its sum, along the last dimension. f32 or f64, as are all functions of this file. */
export const softmax = rowOp('softmax');
/** The logarithm of softmax, without its loss of precision. */
export const logSoftmax = rowOp('logSoftmax');

export const softmaxGrad = rowGradOp('softmaxGrad');
export const logSoftmaxGrad = rowGradOp('logSoftmaxGrad');

export interface CrossEntropyOptions {
  /** The share of the loss that all classes have alike, from 0 to 1; 0 unless given. */
  labelSmoothing?: number;
  /** A label whose rows count for nothing; none unless given. (PyTorch has −100 unless told otherwise.) */
  ignoreIndex?: number;
}

export interface CrossEntropyAttrs {
  readonly labelSmoothing: number;
  readonly ignoreIndex: number | undefined;
}

const crossEntropyNumbers = ({ labelSmoothing, ignoreIndex }: CrossEntropyAttrs) => [
  labelSmoothing,
  Number(ignoreIndex !== undefined),
  ignoreIndex ?? 0,
];

const labelsOf = ([logits]: readonly Tensor[], { ignoreIndex }: CrossEntropyAttrs): Indices => ({
  input: 1,
  name: 'labels of crossEntropy',
  limit: logits!.shape[1]!,
  what: 'classes',
  remedy: `Correct the label, or leave its row out: ${ignoreIndex === undefined ? 'the option ignoreIndex names the label of such rows' : `ignoreIndex is ${ignoreIndex}`}.`,
});

const crossEntropyOp: Op<CrossEntropyAttrs> = {
  name: 'crossEntropy',
  infer: ([logits]) => [{ shape: [logits!.shape[0]!], dtype: logits!.dtype }],
  numbers: crossEntropyNumbers,
  indices: labelsOf,
};

const crossEntropyGradOp: Op<CrossEntropyAttrs> = {
  name: 'crossEntropyGrad',
  infer: sameAsFirst,
  numbers: crossEntropyNumbers,
  indices: labelsOf,
};

/**
 * For each row of logits [n, classes] the negative log-likelihood of its label under the softmax: [n]. Labels [n] are
 * i32 or i64; one outside of [0, classes) is refused (`DT_INDEX_OUT_OF_RANGE`), an ignored one gives 0. Label smoothing:
 * Szegedy et al., arXiv:1512.00567.
 */
export function crossEntropyRows(
  logits: Tensor,
  labels: Tensor,
  { labelSmoothing = 0, ignoreIndex }: CrossEntropyOptions = {},
): Tensor {
  checkFloat('crossEntropy', logits);
  checkOneOf('crossEntropy', 'labels', labels, ['i32', 'i64']);
  if (logits.rank !== 2 || logits.shape[1] === 0) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected logits [n, classes], with at least one class, for crossEntropy but received ${formatShape(logits.shape)}.`,
    );
  }
  checkShapeIs('crossEntropy', 'labels', labels, [logits.shape[0]!]);
  if (
    !(labelSmoothing >= 0 && labelSmoothing <= 1) ||
    !(ignoreIndex === undefined || Number.isSafeInteger(ignoreIndex))
  ) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected labelSmoothing of crossEntropy from 0 to 1 and a whole number as ignoreIndex but received ${inspect({ labelSmoothing, ignoreIndex })}.`,
    );
  }
  return apply(crossEntropyOp, [logits, labels], { labelSmoothing, ignoreIndex })[0]!;
}

export function crossEntropyGrad(
  logits: Tensor,
  labels: Tensor,
  dy: Tensor,
  attrs: CrossEntropyAttrs,
): Tensor {
  return apply(crossEntropyGradOp, [logits, labels, dy], attrs)[0]!;
}

export interface NormAttrs {
  readonly eps: number;
}

/** A normalisation of rows, or the gradient of one, whose outputs are like the inputs named. */
const normOp = (name: Opcode, outputs: readonly number[]): Op<NormAttrs> => ({
  name,
  infer: (inputs) => outputs.map((i) => ({ shape: inputs[i]!.shape, dtype: inputs[i]!.dtype })),
  numbers: ({ eps }) => [eps],
});

const layerNormOp = normOp('layerNorm', [0]);
const layerNormGradOp = normOp('layerNormGrad', [0, 1, 1]);
const rmsNormOp = normOp('rmsNorm', [0]);
const rmsNormGradOp = normOp('rmsNormGrad', [0, 1]);

/** Checks the parameters of a normalisation along the last dimension of x. */
function checkNorm(operation: string, x: Tensor, parameters: Readonly<Record<string, Tensor>>): void {
  checkFloat(operation, x, ...Object.values(parameters));
  checkMinRank(operation, x, 1);
  for (const [name, parameter] of Object.entries(parameters)) {
    checkSameDtype(operation, x, parameter);
    checkShapeIs(operation, name, parameter, [x.shape.at(-1)!]);
  }
}

/**
 * (x − mean) / √(variance + eps) · gamma + beta along the last dimension, for x [..., n], gamma [n], beta [n].
 * Ba, Kiros and Hinton, arXiv:1607.06450.
 */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, eps = 1e-5): Tensor {
  checkEps('layerNorm', eps);
  checkNorm('layerNorm', x, { gamma, beta });
  return apply(layerNormOp, [x, gamma, beta], { eps })[0]!;
}

export function layerNormGrad(x: Tensor, gamma: Tensor, dy: Tensor, eps: number): Tensor[] {
  return apply(layerNormGradOp, [x, gamma, dy], { eps });
}

export interface RmsNormOptions {
  /** Added to the mean of the squares; unless given the dtype's epsilon, 2⁻²³ in f32 and 2⁻⁵² in f64. */
  eps?: number;
}

/**
 * x / √(mean(x²) + eps) · weight along the last dimension, for x [..., n] and weight [n], as PyTorch's `rms_norm`.
 * Zhang and Sennrich, arXiv:1910.07467.
 */
export function rmsNorm(x: Tensor, weight: Tensor, options: RmsNormOptions = {}): Tensor {
  checkNorm('rmsNorm', x, { weight });
  checkOptions('rmsNorm', options, ['eps']);
  const { eps = x.dtype === 'f32' ? 2 ** -23 : 2 ** -52 } = options;
  checkEps('rmsNorm', eps);
  return apply(rmsNormOp, [x, weight], { eps })[0]!;
}

export function rmsNormGrad(x: Tensor, weight: Tensor, dy: Tensor, eps: number): Tensor[] {
  return apply(rmsNormGradOp, [x, weight, dy], { eps });
}
