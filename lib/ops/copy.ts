import { DrivetrainError } from '../native/index.js';
import { checkDtype, type DType, formatShape, sameShape, type Tensor } from '../tensor/index.js';
import { apply, copyOp, transient } from './apply.js';
import { checkSameDtype, checkTensor } from './checks.js';
import type { Op } from './op.js';

/** The destination is the second input; there is no output. */
const assignOp: Op = {
  name: 'copy',
  infer: () => [],
  strided: () => true,
  writes: (input) => input === 1,
};

interface EmbedSlice {
  shape: readonly number[];
  axis: number;
  begin: number;
}

const embedSliceOp: Op<EmbedSlice> = {
  name: 'embedSlice',
  infer: ([dy], { shape }) => [{ shape, dtype: dy!.dtype }],
  numbers: ({ axis, begin }) => [axis, begin],
  strided: () => true,
};

const castOp: Op<{ dtype: DType }> = {
  name: 'cast',
  infer: ([x], { dtype }) => [{ shape: x!.shape, dtype }],
};

/** A row-major copy with memory of its own. */
export function clone(x: Tensor): Tensor {
  checkTensor('clone', x);
  return apply(copyOp, [x], undefined)[0]!;
}

/** The tensor itself where it is row-major without gaps, else a copy that is. */
export function contiguous(x: Tensor): Tensor {
  checkTensor('contiguous', x);
  return x.contiguous ? x : clone(x);
}

/** Writes the elements of `source` into `target`, in place. Same shape and dtype. */
export function assign(target: Tensor, source: Tensor): void {
  checkSameDtype('assign', target, source);
  if (!sameShape(target.shape, source.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a source of shape ${formatShape(target.shape)} for assign but received ${formatShape(source.shape)}.`,
    );
  }
  if (target.size > 0 && target.strides.some((stride, i) => stride === 0 && target.shape[i]! > 1)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a target whose elements are apart for assign but received one of shape ${formatShape(target.shape)} that broadcasting repeats.`,
    );
  }
  const overlap = source.storage === target.storage;
  transient(() => apply(assignOp, [overlap ? clone(source) : source, target], undefined));
}

/**
 * The same values in another dtype. Floats become integers by truncation, saturating, NaN as 0; anything becomes bool
 * by "not zero"; f16 and bf16 round to nearest even.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  checkTensor('cast', x);
  checkDtype('cast', dtype);
  return x.dtype === dtype ? x : apply(castOp, [x], { dtype })[0]!;
}

/** Zeros in the shape of `like`, with `dy` from `begin` on along `axis`: the gradient of `slice`. */
export function embedSlice(dy: Tensor, like: Tensor, axis: number, begin: number): Tensor {
  return apply(embedSliceOp, [dy], { shape: like.shape, axis, begin })[0]!;
}
