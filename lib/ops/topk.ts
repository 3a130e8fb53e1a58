import { DrivetrainError } from '../native/index.js';
import { checkOptions, formatShape, normaliseAxis, type Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkFloat } from './checks.js';
import type { Op } from './op.js';
import { transpose } from './views.js';

const topkOp: Op<{ k: number }> = {
  name: 'topk',
  infer: ([x], { k }) => {
    const shape = [...x!.shape.slice(0, -1), k];
    return [
      { shape, dtype: x!.dtype },
      { shape, dtype: 'i64' },
    ];
  },
};

const topkGradOp: Op<{ width: number }> = {
  name: 'topkGrad',
  infer: ([, dy], { width }) => [{ shape: [...dy!.shape.slice(0, -1), width], dtype: dy!.dtype }],
};

export interface TopkOptions {
  /** The dimension along which to look: the last unless named. */
  axis?: number;
}

/**
 * The `k` largest elements along a dimension, in descending order, and their indices along it (i64). f32 or f64. NaN
 * counts as the largest, as in PyTorch; of equals the first comes first.
 */
export function topk(x: Tensor, k: number, options: TopkOptions = {}): [values: Tensor, indices: Tensor] {
  checkFloat('topk', x);
  checkOptions('topk', options, ['axis']);
  const { axis = -1 } = options;
  const along = normaliseAxis(axis, x.rank, 'topk');
  const extent = x.shape[along]!;
  if (!(Number.isInteger(k) && k >= 0 && k <= extent)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected k for topk to be a whole number from 0 to ${extent}, the extent of dimension ${along} of ${formatShape(x.shape)}, but received ${k}.`,
    );
  }
  if (along === x.rank - 1) return apply(topkOp, [x], { k }) as [Tensor, Tensor];
  const [values, indices] = apply(topkOp, [transpose(x, along, -1)], { k }) as [Tensor, Tensor];
  return [transpose(values, along, -1), transpose(indices, along, -1)];
}

/** Zeros [..., width], but for dy [..., k] where the indices of its rows point. */
export function topkGrad(indices: Tensor, dy: Tensor, width: number): Tensor {
  return apply(topkGradOp, [indices, dy], { width })[0]!;
}
