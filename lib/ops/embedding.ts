import { DrivetrainError } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkFloat, checkOneOf } from './checks.js';
import type { Op } from './op.js';

const embeddingOp: Op = {
  name: 'embedding',
  infer: ([weight, indices]) => [{ shape: [...indices!.shape, weight!.shape[1]!], dtype: weight!.dtype }],
};

const embeddingGradOp: Op<{ rows: number }> = {
  name: 'embeddingGrad',
  infer: ([, dy], { rows }) => [{ shape: [rows, dy!.shape.at(-1)!], dtype: dy!.dtype }],
};

/**
 * Rows of weight [rows, n] by indices [...] (i32 or i64): [..., n]. An index outside the table gives a row of NaN, since
 * values are not looked at when a program is recorded.
 */
export function embedding(weight: Tensor, indices: Tensor): Tensor {
  checkFloat('embedding', weight);
  checkOneOf('embedding', 'indices', indices, ['i32', 'i64']);
  if (weight.rank !== 2) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected weight [rows, n] for embedding but received ${formatShape(weight.shape)}.`,
    );
  }
  return apply(embeddingOp, [weight, indices], undefined)[0]!;
}

/** Adds each row of dy [..., n] to the row that its index names: [rows, n]. */
export function embeddingGrad(indices: Tensor, dy: Tensor, rows: number): Tensor {
  return apply(embeddingGradOp, [indices, dy], { rows })[0]!;
}
