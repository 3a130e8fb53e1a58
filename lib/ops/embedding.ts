import { DrivetrainError } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkFloat, checkOneOf } from './checks.js';
import type { Indices, Op } from './op.js';

const indicesInto = (rows: number, input: number): Indices => ({
  input,
  name: 'indices of embedding',
  limit: rows,
  what: 'rows',
  remedy: 'Correct the index, or make the table larger.',
});

const embeddingOp: Op = {
  name: 'embedding',
  indices: ([weight]) => indicesInto(weight!.shape[0]!, 1),
  infer: ([weight, indices]) => [{ shape: [...indices!.shape, weight!.shape[1]!], dtype: weight!.dtype }],
};

const embeddingGradOp: Op<{ rows: number }> = {
  name: 'embeddingGrad',
  indices: (_, { rows }) => indicesInto(rows, 0),
  infer: ([, dy], { rows }) => [{ shape: [rows, dy!.shape.at(-1)!], dtype: dy!.dtype }],
};

/**
 * Rows of weight [rows, n] by indices [...] (i32 or i64): [..., n]. An index outside of the table is refused
 * (`DT_INDEX_OUT_OF_RANGE`), also in a compiled function: then nothing has changed.
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
