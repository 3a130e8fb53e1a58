import { argmax, cast, equal, mean, transient } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

/** The share of rows of `output` [n, classes] whose largest value stands at their label [n], i32 or i64: an f32 scalar. */
export function accuracy(output: Tensor, labels: Tensor): Tensor {
  return transient(() => mean(cast(equal(argmax(output), cast(labels, 'i64')), 'f32')));
}
