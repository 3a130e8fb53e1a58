import { DrivetrainError } from '../native/index.js';
import {
  checkOptions,
  formatShape,
  isHalf,
  normaliseAxis,
  type Shape,
  sameShape,
  sizeOf,
  type Tensor,
} from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkFloat, checkSameDtype, checkTensor } from './checks.js';
import { cast } from './copy.js';
import { mul } from './elementwise.js';
import type { Op } from './op.js';
import { permute, reshape } from './views.js';

const REDUCE_OPTIONS = ['axis', 'keepDims'];

export interface ReduceOptions {
  /** The dimensions to reduce: all of them unless given. */
  axis?: number | readonly number[];
  /** Keeps the reduced dimensions as 1. */
  keepDims?: boolean;
}

/** A row-major input seen as [outer, reduced, inner]; the output has shape [outer, inner]. */
export interface Reduction {
  outer: number;
  reduced: number;
  inner: number;
}

const numbers = ({ outer, reduced, inner }: Reduction) => [outer, reduced, inner];

const sumOp: Op<Reduction> = {
  name: 'sum',
  infer: ([x], { outer, inner }) => [{ shape: [outer, inner], dtype: x!.dtype }],
  numbers,
};

const maxOp: Op<Reduction> = {
  name: 'max',
  infer: ([x], { outer, inner }) => [{ shape: [outer, inner], dtype: x!.dtype }],
  numbers,
};

const argmaxOp: Op<Reduction> = {
  name: 'argmax',
  infer: (_, { outer }) => [{ shape: [outer], dtype: 'i64' }],
  numbers,
};

function reduce(op: Op<Reduction>, x: Tensor, options: ReduceOptions): Tensor {
  checkFloat(op.name, x);
  checkOptions(op.name, options, REDUCE_OPTIONS);
  const { axis, keepDims = false } = options;
  const axes = reducedAxes(op.name, x, axis);
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const reduced = sizeOf(axes.map((i) => x.shape[i]!));
  if (op !== sumOp && reduced === 0) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at least one element to reduce for ${op.name} but received shape ${formatShape(x.shape)}.`,
    );
  }
  // Adjacent dimensions are reduced where they are; others are moved to the end first.
  const first = axes[0] ?? 0;
  const adjacent = axes.every((axis, i) => axis === first + i);
  const source = adjacent ? x : permute(x, [...kept, ...axes]);
  const outer = sizeOf(adjacent ? x.shape.slice(0, first) : kept.map((i) => x.shape[i]!));
  const inner = adjacent ? sizeOf(x.shape.slice(first + axes.length)) : 1;
  const y = apply(op, [source], { outer, reduced, inner })[0]!;
  return reshape(
    y,
    keepDims ? x.shape.map((n, i) => (axes.includes(i) ? 1 : n)) : kept.map((i) => x.shape[i]!),
  );
}

function reducedAxes(operation: string, x: Tensor, axis: ReduceOptions['axis']): number[] {
  if (axis === undefined) return x.shape.map((_, i) => i);
  const axes = [axis].flat().map((one) => normaliseAxis(one, x.rank, operation));
  return [...new Set(axes)].sort((a, b) => a - b);
}

/** The sum over dimensions. f32 or f64; added up in an order that depends on the shape alone. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkTensor('sum', x);
  return reduce(sumOp, x, options);
}

/** The mean over dimensions. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkFloat('mean', x);
  checkOptions('mean', options, REDUCE_OPTIONS);
  return transient(() => {
    const total = sum(x, options);
    return mul(total, total.size / x.size);
  });
}

/** The largest element over dimensions; NaN where there is one. */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkTensor('max', x);
  return reduce(maxOp, x, options);
}

/** The index of the largest element along one dimension (the last unless named), as i64; the first of equals. */
export function argmax(x: Tensor, axis = -1): Tensor {
  checkFloat('argmax', x);
  const along = normaliseAxis(axis, x.rank, 'argmax');
  const kept = x.shape.map((_, i) => i).filter((i) => i !== along);
  const reduced = x.shape[along]!;
  const shape = kept.map((i) => x.shape[i]!);
  if (reduced === 0) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at least one element along dimension ${along} for argmax but received shape ${formatShape(x.shape)}.`,
    );
  }
  const source = permute(x, [...kept, along]);
  return reshape(apply(argmaxOp, [source], { outer: sizeOf(shape), reduced, inner: 1 })[0]!, shape);
}

/** Sums over the dimensions that broadcasting to `x.shape` added or repeated: the reverse of `broadcastTo`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  if (isHalf(x.dtype)) return cast(sumTo(cast(x, 'f32'), shape), x.dtype);
  const lead = x.rank - shape.length;
  const axis = x.shape
    .map((_, i) => i)
    .filter((i) => i < lead || (shape[i - lead] === 1 && x.shape[i] !== 1));
  return reshape(sum(x, { axis }), shape);
}

const normsOp: Op = {
  name: 'norms',
  infer: ([x]) => [
    { shape: [], dtype: x!.dtype },
    { shape: [], dtype: x!.dtype },
    { shape: [], dtype: 'i64' },
  ],
};

/** What `norms` found: scalars over all elements of all tensors. */
export interface Norms {
  /** The square root of the sum of squares. */
  readonly l2: Tensor;
  /** The largest |x|; NaN where an element is. */
  readonly max: Tensor;
  /** How many elements are NaN or infinite, i64. */
  readonly notFinite: Tensor;
}

/**
 * The L2 norm, the largest absolute value and the count of what is not finite over all elements of all tensors (f32 or
 * f64, one dtype), in one pass. Squares are added up in double, in an order that depends on the shapes alone, and do not
 * overflow. Not differentiable.
 */
export function norms(tensors: readonly Tensor[]): Norms {
  checkFloat('norms', ...tensors);
  const [first, ...others] = tensors;
  if (first === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      'Expected at least one tensor for norms but received none.',
    );
  }
  for (const other of others) checkSameDtype('norms', first, other);
  const [l2, max, notFinite] = apply(normsOp, tensors, undefined) as [Tensor, Tensor, Tensor];
  return { l2, max, notFinite };
}

/** The L2 norm over all elements of all tensors: that of `norms`. Not differentiable. */
export function globalNorm(tensors: readonly Tensor[]): Tensor {
  return transient(() => norms(tensors).l2);
}
