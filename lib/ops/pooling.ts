import { DrivetrainError } from '../native/index.js';
import { checkOptions, formatShape, type Tensor, tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkFloat, checkMinRank } from './checks.js';
import { asPlanes, checkNumber } from './convolution.js';
import { mul } from './elementwise.js';
import { matmul } from './matmul.js';
import type { Op } from './op.js';
import { sum } from './reduce.js';
import { reshape, transpose } from './views.js';
import { type Pair, pairOf, placesOf, type Windows, windowNumbers } from './windows.js';

export interface AvgPool1dOptions {
  /** How far apart windows are; the kernel's size unless given. */
  readonly stride?: number;
  /** Rows on each side that count as zeros of AvgPool, and never win in MaxPool; none unless given. */
  readonly padding?: number;
}

export interface MaxPool1dOptions extends AvgPool1dOptions {
  /** How far apart the elements of a window are; 1 unless given. */
  readonly dilation?: number;
}

export interface AvgPool2dOptions {
  /** How far apart windows are; the kernel's size unless given. */
  readonly stride?: Pair;
  /** Rows and columns on each side that count as zeros of AvgPool, and never win in MaxPool; none unless given. */
  readonly padding?: Pair;
}

export interface MaxPool2dOptions extends AvgPool2dOptions {
  /** How far apart the elements of a window are; 1 unless given. */
  readonly dilation?: Pair;
}

const pooled = (operation: string, x: Tensor, windows: Windows): number[] => [
  ...x.shape.slice(0, -2),
  ...placesOf(operation, x, windows),
];

/** Outputs the maxima, and where in its plane each was found. */
const maxPoolOp: Op<Windows> = {
  name: 'maxPool2d',
  infer: ([x], attrs) => {
    const shape = pooled('maxPool2d', x!, attrs);
    return [
      { shape, dtype: x!.dtype },
      { shape, dtype: 'i32' },
    ];
  },
  numbers: windowNumbers,
};

const avgPoolOp: Op<Windows> = {
  name: 'avgPool2d',
  infer: ([x], attrs) => [{ shape: pooled('avgPool2d', x!, attrs), dtype: x!.dtype }],
  numbers: windowNumbers,
};

interface PoolGradAttrs extends Windows {
  readonly shape: readonly number[];
}

const gradOp = (name: 'maxPool2dGrad' | 'avgPool2dGrad'): Op<PoolGradAttrs> => ({
  name,
  infer: (inputs, { shape }) => [{ shape, dtype: inputs.at(-1)!.dtype }],
  numbers: windowNumbers,
});
const maxPoolGradOp = gradOp('maxPool2dGrad');
const avgPoolGradOp = gradOp('avgPool2dGrad');

/**
 * The largest element of each window of x [..., h, w]: [..., oh, ow], where oh = ⌊(h + 2 · padding − dilation · (kh − 1)
 * − 1) / stride⌋ + 1. f32 or f64. NaN where there is one; the gradient goes to the first of equals, as in PyTorch.
 */
export function maxPool2d(x: Tensor, kernelSize: Pair, options: MaxPool2dOptions = {}): Tensor {
  checkFloat('maxPool2d', x);
  checkMinRank('maxPool2d', x, 2);
  checkOptions('maxPool2d', options, ['stride', 'padding', 'dilation']);
  return pool('maxPool2d', maxPoolOp, x, kernelSize, options);
}

/** The same along the last dimension: x [..., length]. */
export function maxPool1d(x: Tensor, kernelSize: number, options: MaxPool1dOptions = {}): Tensor {
  return pool1d('maxPool1d', maxPoolOp, x, kernelSize, options, ['stride', 'padding', 'dilation']);
}

/** The mean of each window of x [..., h, w], padding counted as zeros: [..., oh, ow]. f32 or f64. */
export function avgPool2d(x: Tensor, kernelSize: Pair, options: AvgPool2dOptions = {}): Tensor {
  checkFloat('avgPool2d', x);
  checkMinRank('avgPool2d', x, 2);
  checkOptions('avgPool2d', options, ['stride', 'padding']);
  return pool('avgPool2d', avgPoolOp, x, kernelSize, options);
}

/** The same along the last dimension: x [..., length]. */
export function avgPool1d(x: Tensor, kernelSize: number, options: AvgPool1dOptions = {}): Tensor {
  return pool1d('avgPool1d', avgPoolOp, x, kernelSize, options, ['stride', 'padding']);
}

function pool(
  operation: string,
  op: Op<Windows>,
  x: Tensor,
  kernelSize: Pair,
  { stride = kernelSize, padding = 0, dilation = 1 }: MaxPool2dOptions,
): Tensor {
  const windows: Windows = {
    kernel: pairOf(operation, 'kernelSize', kernelSize, 1),
    stride: pairOf(operation, 'stride', stride, 1),
    padding: pairOf(operation, 'padding', padding, 0),
    dilation: pairOf(operation, 'dilation', dilation, 1),
  };
  if (windows.padding.some((p, d) => 2 * p > windows.kernel[d]!)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected padding of ${operation} to be at most half of the kernel's size ${formatShape(windows.kernel)} but received ${formatShape(windows.padding)}.`,
    );
  }
  placesOf(operation, x, windows);
  return apply(op, [x], windows)[0]!;
}

function pool1d(
  operation: string,
  op: Op<Windows>,
  x: Tensor,
  kernelSize: number,
  options: MaxPool1dOptions,
  known: readonly string[],
): Tensor {
  checkFloat(operation, x);
  checkMinRank(operation, x, 1);
  checkOptions(operation, options, known);
  const { stride = kernelSize, padding = 0, dilation = 1 } = options;
  const along = (name: string, value: number, least: number) => checkNumber(operation, name, value, least);
  return transient(() => {
    const y = pool(operation, op, asPlanes(x), [1, along('kernelSize', kernelSize, 1)], {
      stride: [1, along('stride', stride, 1)],
      padding: [0, along('padding', padding, 0)],
      dilation: [1, along('dilation', dilation, 1)],
    });
    return reshape(y, [...x.shape.slice(0, -1), y.shape.at(-1)!]);
  });
}

/**
 * Means of x [..., h, w] over windows that cover it evenly: [..., oh, ow]. Window i of o along a dimension of n covers
 * ⌊i · n / o⌋ up to ⌈(i + 1) · n / o⌉, as in PyTorch. f32 or f64.
 */
export function adaptiveAvgPool2d(x: Tensor, outputSize: Pair): Tensor {
  checkFloat('adaptiveAvgPool2d', x);
  checkMinRank('adaptiveAvgPool2d', x, 2);
  const [rows, columns] = pairOf('adaptiveAvgPool2d', 'outputSize', outputSize, 1);
  const [height, width] = x.shape.slice(-2) as [number, number];
  if (height === 0 || width === 0) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected planes of at least one element for adaptiveAvgPool2d but received shape ${formatShape(x.shape)}.`,
    );
  }
  return transient(() => {
    if (rows === 1 && columns === 1) {
      return mul(sum(x, { axis: [-2, -1], keepDims: true }), 1 / (height * width));
    }
    const means = (n: number, windows: number) => {
      const matrix = evenly(n, windows);
      return tensor(x.dtype === 'f64' ? matrix : Float32Array.from(matrix), { shape: [windows, n] });
    };
    return matmul(means(height, rows), matmul(x, transpose(means(width, columns))));
  });
}

/** A matrix [windows, n] that takes the means of windows over n elements. */
function evenly(n: number, windows: number): Float64Array {
  const matrix = new Float64Array(windows * n);
  for (let i = 0; i < windows; i++) {
    const [first, end] = [Math.floor((i * n) / windows), Math.ceil(((i + 1) * n) / windows)];
    matrix.fill(1 / (end - first), i * n + first, i * n + end);
  }
  return matrix;
}

export function maxPoolGrad(indices: Tensor, dy: Tensor, x: Tensor, windows: Windows): Tensor {
  return apply(maxPoolGradOp, [indices, dy], { ...windows, shape: x.shape })[0]!;
}

export function avgPoolGrad(dy: Tensor, x: Tensor, windows: Windows): Tensor {
  return apply(avgPoolGradOp, [dy], { ...windows, shape: x.shape })[0]!;
}
