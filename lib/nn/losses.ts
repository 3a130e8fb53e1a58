import { DrivetrainError } from '../native/index.js';
import {
  abs,
  add,
  type CrossEntropyOptions as CrossEntropyRules,
  cast,
  checkTensor,
  clamp,
  crossEntropyRows,
  div,
  equal,
  exp,
  greater,
  log,
  maximum,
  mean,
  mul,
  neg,
  relu,
  sqrt,
  sub,
  sum,
  transient,
  where,
} from '../ops/index.js';
import { checkOptions, formatShape, sameShape, Tensor } from '../tensor/index.js';
import { checkRange, checkWord } from './checks.js';

/** What becomes of the losses of elements or rows: their mean, their sum, or nothing. */
type Reduction = 'mean' | 'sum' | 'none';

export interface LossOptions {
  /** 'mean' unless given. */
  reduction?: Reduction;
}

export interface CrossEntropyOptions extends CrossEntropyRules, LossOptions {}

/**
 * The negative log-likelihood of labels [n] (i32 or i64) under softmax(logits [n, classes]); its mean over the rows that
 * are not ignored. A label outside of [0, classes) is refused (`DT_INDEX_OUT_OF_RANGE`), and so is a training step that
 * meets one: nothing has changed then. Where every row is ignored the mean is NaN.
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  checkOptions('crossEntropy', options, ['labelSmoothing', 'ignoreIndex', 'reduction']);
  const { reduction = 'mean', ...rules } = options;
  const { ignoreIndex } = rules;
  checkNotOneHot(logits, labels);
  return transient(() => {
    const losses = crossEntropyRows(logits, labels, rules);
    if (ignoreIndex === undefined || reduction !== 'mean') return reduce('crossEntropy', losses, reduction);
    const ignored = cast(equal(labels, ignoreIndex), losses.dtype);
    return div(sum(losses), sub(losses.size, sum(ignored)));
  });
}

function checkNotOneHot(logits: Tensor, labels: Tensor): void {
  if (!(labels instanceof Tensor && logits instanceof Tensor)) return;
  if (labels.rank !== 2 || !sameShape(labels.shape, logits.shape)) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected labels [${labels.shape[0]}], the number of its class for each row, for crossEntropy but received ${formatShape(labels.shape)}; of one-hot rows, argmax(labels) gives the numbers.`,
  );
}

/** The squared differences of two tensors of one shape and dtype; nothing is broadcast, as in all losses here. */
export function mseLoss(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return elementwise('mseLoss', prediction, target, options, () => {
    const difference = sub(prediction, target);
    return mul(difference, difference);
  });
}

/** The absolute differences. */
export function l1Loss(prediction: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return elementwise('l1Loss', prediction, target, options, () => abs(sub(prediction, target)));
}

export interface HuberLossOptions extends LossOptions {
  /** Where the square goes over into the straight line; above 0, 1 unless given. */
  delta?: number;
}

/** d² / 2 for differences d up to delta, delta · (|d| − delta / 2) beyond. Huber, 1964. */
export function huberLoss(prediction: Tensor, target: Tensor, options: HuberLossOptions = {}): Tensor {
  const loss = () => {
    const { delta = 1 } = options;
    checkRange('huberLoss', 'delta', delta, Number.MIN_VALUE, Number.MAX_VALUE);
    return bent(sub(prediction, target), delta);
  };
  return elementwise('huberLoss', prediction, target, options, loss, ['delta']);
}

export interface SmoothL1LossOptions extends LossOptions {
  /** Where the square goes over into the straight line; from 0 on, 1 unless given. 0 is `l1Loss`. */
  beta?: number;
}

/** `huberLoss` over beta: d² / (2 · beta) for differences d up to beta, |d| − beta / 2 beyond. */
export function smoothL1Loss(prediction: Tensor, target: Tensor, options: SmoothL1LossOptions = {}): Tensor {
  const loss = () => {
    const { beta = 1 } = options;
    checkRange('smoothL1Loss', 'beta', beta, 0, Number.MAX_VALUE);
    const difference = sub(prediction, target);
    return beta === 0 ? abs(difference) : div(bent(difference, beta), beta);
  };
  return elementwise('smoothL1Loss', prediction, target, options, loss, ['beta']);
}

/** With c = d clamped to ±bend: c · (d − c / 2), which is d² / 2 inside and bend · (|d| − bend / 2) outside. */
function bent(d: Tensor, bend: number): Tensor {
  const c = clamp(d, { min: -bend, max: bend });
  return mul(c, sub(d, mul(c, 0.5)));
}

/**
 * The binary cross-entropy of sigmoid(logits) and targets from 0 to 1, element by element: max(x, 0) − x · t + log(1 +
 * e^−|x|). `binary_cross_entropy_with_logits` of PyTorch.
 */
export function bceWithLogits(logits: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return elementwise('bceWithLogits', logits, target, options, () => {
    const above = maximum(logits, 0); // its gradient at 0 is ½, as sigmoid(0) asks for
    return add(sub(above, mul(logits, target)), log(add(exp(neg(abs(logits))), 1)));
  });
}

export interface KlDivOptions {
  /** Whether the target holds logarithms as well; false unless given. */
  logTarget?: boolean;
  /** 'batchMean' is the sum over the first dimension's extent: the divergence. 'mean' unless given, as in PyTorch. */
  reduction?: Reduction | 'batchMean';
}

/** target · (log target − input) of log-probabilities and probabilities; 0 where the target is 0. */
export function klDiv(input: Tensor, target: Tensor, options: KlDivOptions = {}): Tensor {
  const { logTarget = false, reduction = 'mean', ...others } = options;
  checkWord('klDiv', 'reduction', reduction, ['mean', 'sum', 'none', 'batchMean']);
  const pointwise = () => {
    if (logTarget) return mul(exp(target), sub(target, input));
    const some = greater(target, 0);
    return mul(target, sub(log(where(some, target, 1)), input));
  };
  return transient(() => {
    const given = { ...others, reduction: reduction === 'batchMean' ? 'sum' : reduction } as const;
    const loss = elementwise('klDiv', input, target, given, pointwise);
    return reduction === 'batchMean' ? div(loss, input.shape[0] ?? 1) : loss;
  });
}

export interface CosineSimilarityOptions {
  /** The dimension along which the vectors lie: the last unless named. */
  axis?: number;
}

/** What keeps vectors of nothing from dividing by zero, as in PyTorch: the least product of norms; added to each square. */
const LEAST_NORMS = 1e-8;
const ADDED_TO_SQUARES = 1e-12;

/** a · b / (‖a‖ ‖b‖) along a dimension of two tensors of one shape; 0 where one is a vector of zeros. */
export function cosineSimilarity(a: Tensor, b: Tensor, options: CosineSimilarityOptions = {}): Tensor {
  checkPair('cosineSimilarity', a, b);
  checkOptions('cosineSimilarity', options, ['axis']);
  const { axis = -1 } = options;
  return transient(() => cosine(a, b, axis, (x, y) => maximum(mul(x, y), LEAST_NORMS ** 2)));
}

/** `product` makes of the sums of squares what the dot product is divided by the root of. */
function cosine(a: Tensor, b: Tensor, axis: number, product: (x: Tensor, y: Tensor) => Tensor): Tensor {
  const dot = (x: Tensor, y: Tensor) => sum(mul(x, y), { axis });
  return div(dot(a, b), sqrt(product(dot(a, a), dot(b, b))));
}

export interface CosineEmbeddingLossOptions extends LossOptions {
  /** From −1 to 1; 0 unless given. */
  margin?: number;
}

/** For rows of a and b [..., features] and a target [...]: 1 − cos where it is above 0, else max(0, cos − margin). */
export function cosineEmbeddingLoss(
  a: Tensor,
  b: Tensor,
  target: Tensor,
  options: CosineEmbeddingLossOptions = {},
): Tensor {
  const operation = 'cosineEmbeddingLoss';
  checkPair(operation, a, b);
  checkTensor(operation, target);
  checkOptions(operation, options, ['margin', 'reduction']);
  const { margin = 0, reduction = 'mean' } = options;
  checkRange(operation, 'margin', margin, -1, 1);
  if (!sameShape(target.shape, a.shape.slice(0, -1))) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a target ${formatShape(a.shape.slice(0, -1))}, one for each row, for ${operation} but received ${formatShape(target.shape)}.`,
    );
  }
  return transient(() => {
    const added = (x: Tensor, y: Tensor) => mul(add(x, ADDED_TO_SQUARES), add(y, ADDED_TO_SQUARES));
    const alike = cosine(a, b, -1, added);
    const apart = relu(sub(alike, margin));
    return reduce(operation, where(greater(target, 0), sub(1, alike), apart), reduction);
  });
}

function elementwise(
  operation: string,
  prediction: Tensor,
  target: Tensor,
  options: LossOptions,
  loss: () => Tensor,
  more: readonly string[] = [],
): Tensor {
  checkPair(operation, prediction, target);
  checkOptions(operation, options, [...more, 'reduction']);
  return transient(() => reduce(operation, loss(), options.reduction ?? 'mean'));
}

function checkPair(operation: string, prediction: Tensor, target: Tensor): void {
  checkTensor(operation, prediction);
  checkTensor(operation, target);
  if (!sameShape(prediction.shape, target.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a target of the prediction's shape ${formatShape(prediction.shape)} for ${operation} but received ${formatShape(target.shape)}; nothing is broadcast, as the mean would then be over pairs that do not belong together: use reshape or broadcastTo.`,
    );
  }
}

function reduce(operation: string, losses: Tensor, reduction: Reduction): Tensor {
  checkWord(operation, 'reduction', reduction, ['mean', 'sum', 'none']);
  if (reduction === 'none') return losses;
  return reduction === 'mean' ? mean(losses) : sum(losses);
}
