import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions, formatShape, type Tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkFloat, checkSameDtype, checkShapeIs } from './checks.js';
import type { Op } from './op.js';
import { sum } from './reduce.js';
import { reshape } from './views.js';
import { type Pair, pairOf, placesOf, type Windows, windowNumbers } from './windows.js';

export interface Conv1dOptions {
  /** How far apart windows are; 1 unless given. */
  readonly stride?: number;
  /** Zeros on both sides; none unless given. */
  readonly padding?: number;
  /** How far apart the elements of a window are; 1 unless given. */
  readonly dilation?: number;
  /** Channels are cut into so many groups, each with features of its own; 1 unless given. */
  readonly groups?: number;
}

export interface Conv2dOptions {
  /** How far apart windows are; 1 unless given. */
  readonly stride?: Pair;
  /** Zeros on each side of rows and columns; none unless given. */
  readonly padding?: Pair;
  /** How far apart the elements of a window are; 1 unless given. */
  readonly dilation?: Pair;
  /** Channels are cut into so many groups, each with features of its own; 1 unless given. */
  readonly groups?: number;
}

export interface ConvAttrs extends Windows {
  readonly groups: number;
}

interface ConvGradAttrs extends ConvAttrs {
  /** Of the gradient. */
  readonly shape: readonly number[];
}

const numbers = (attrs: ConvAttrs) => [...windowNumbers(attrs), attrs.groups];

/** Inputs x, weight and perhaps a bias. */
const conv2dOp: Op<ConvAttrs> = {
  name: 'conv2d',
  infer: ([x, weight], attrs) => [
    { shape: [x!.shape[0]!, weight!.shape[0]!, ...placesOf('conv2d', x!, attrs)], dtype: x!.dtype },
  ],
  numbers,
};

const gradOp = (name: 'conv2dGradInput' | 'conv2dGradWeight'): Op<ConvGradAttrs> => ({
  name,
  infer: ([first], { shape }) => [{ shape, dtype: first!.dtype }],
  numbers,
});
const gradInputOp = gradOp('conv2dGradInput');
const gradWeightOp = gradOp('conv2dGradWeight');

const OPTIONS = ['stride', 'padding', 'dilation', 'groups'];

/**
 * Cross-correlation of x [n, c, h, w] with weight [features, c / groups, kh, kw], plus a bias [features]: [n, features,
 * oh, ow], where oh = ⌊(h + 2 · padding − dilation · (kh − 1) − 1) / stride⌋ + 1, and ow likewise. f32 or f64. As matrix
 * products over columns (im2col), which are made for some samples at a time, and made again for the gradient.
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: Conv2dOptions = {}): Tensor {
  checkOperands('conv2d', x, weight, bias, 4, '[n, channels, height, width]');
  checkOptions('conv2d', options, OPTIONS);
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  const attrs: ConvAttrs = {
    kernel: [weight.shape[2]!, weight.shape[3]!],
    stride: pairOf('conv2d', 'stride', stride, 1),
    padding: pairOf('conv2d', 'padding', padding, 0),
    dilation: pairOf('conv2d', 'dilation', dilation, 1),
    groups,
  };
  return convolve('conv2d', x, weight, bias, attrs);
}

/** The same for x [n, c, length] and weight [features, c / groups, k]: [n, features, places]. */
export function conv1d(x: Tensor, weight: Tensor, bias?: Tensor, options: Conv1dOptions = {}): Tensor {
  checkOperands('conv1d', x, weight, bias, 3, '[n, channels, length]');
  checkOptions('conv1d', options, OPTIONS);
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
  const attrs: ConvAttrs = {
    kernel: [1, weight.shape[2]!],
    stride: [1, checkNumber('conv1d', 'stride', stride, 1)],
    padding: [0, checkNumber('conv1d', 'padding', padding, 0)],
    dilation: [1, checkNumber('conv1d', 'dilation', dilation, 1)],
    groups,
  };
  return transient(() => {
    const y = convolve('conv1d', asPlanes(x), asPlanes(weight), bias, attrs);
    return reshape(y, [y.shape[0]!, y.shape[1]!, y.shape[3]!]);
  });
}

/** [a, b, length] as [a, b, 1, length]. */
export function asPlanes(x: Tensor): Tensor {
  return reshape(x, [...x.shape.slice(0, -1), 1, x.shape.at(-1)!]);
}

function convolve(
  operation: string,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  attrs: ConvAttrs,
): Tensor {
  const [channels, features] = [x.shape[1]!, weight.shape[0]!];
  const { groups } = attrs;
  if (
    !Number.isSafeInteger(groups) ||
    groups < 1 ||
    features % groups !== 0 ||
    weight.shape[1]! * groups !== channels
  ) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected weight [features, channels / groups, …] with groups that divide features and the ${channels} channels of x for ${operation} but received weight ${formatShape(weight.shape)} and ${inspect(groups)} groups. Of x ${formatShape(x.shape)} the second dimension counts channels; permute puts it there.`,
    );
  }
  placesOf(operation, x, attrs);
  if (bias !== undefined) checkShapeIs(operation, 'bias', bias, [features]);
  return apply(conv2dOp, [x, weight, ...(bias ? [bias] : [])], attrs)[0]!;
}

function checkOperands(
  operation: string,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  rank: number,
  layout: string,
): void {
  checkFloat(operation, x, weight);
  checkSameDtype(operation, x, weight);
  if (bias !== undefined) checkSameDtype(operation, x, bias);
  if (x.rank !== rank || weight.rank !== rank || weight.size === 0) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected x ${layout} and a weight of as many dimensions, none of them 0, for ${operation} but received ${formatShape(x.shape)} and ${formatShape(weight.shape)}.`,
    );
  }
}

export function checkNumber(operation: string, name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} of ${operation} to be a whole number from ${least} on but received ${inspect(value)}.`,
  );
}

/** The gradients of x, weight and bias. */
export function conv2dGrad(
  dy: Tensor,
  inputs: readonly Tensor[],
  attrs: ConvAttrs,
  needs: (i: number) => boolean,
): (Tensor | undefined)[] {
  const [x, weight] = inputs as [Tensor, Tensor];
  return [
    needs(0) ? apply(gradInputOp, [weight, dy], { ...attrs, shape: x.shape })[0]! : undefined,
    needs(1) ? apply(gradWeightOp, [x, dy], { ...attrs, shape: weight.shape })[0]! : undefined,
    // First along the places of each plane, which lie side by side.
    inputs.length > 2 && needs(2) ? sum(sum(dy, { axis: [2, 3] }), { axis: 0 }) : undefined,
  ];
}
