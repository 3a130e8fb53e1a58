import {
  type AttentionOptions,
  matmul,
  mul,
  scaledDotProductAttention,
  softmax,
  transpose,
  where,
} from '../ops/index.js';
import { type Tensor, tensor } from '../tensor/index.js';
import type { Dropout } from './layers.js';

/** Beside any score of attention, nothing; yet finite, for rows where all is masked. */
const NOTHING = -1e30;

/** Scaled-dot-product attention, of whose weights `dropout` drops some in training. */
export function attend(q: Tensor, k: Tensor, v: Tensor, dropout: Dropout, options: AttentionOptions): Tensor {
  if (!dropout.drops()) return scaledDotProductAttention(q, k, v, options);
  // Weights of attention are made as a matrix, so that some of them can be dropped.
  const { mask, isCausal } = options;
  const masks = [
    ...(mask ? [mask] : []),
    ...(isCausal ? [lowerTriangle(q.shape.at(-2)!, k.shape.at(-2)!)] : []),
  ];
  const only = (x: Tensor, otherwise: number) => masks.reduce((y, one) => where(one, y, otherwise), x);
  const scores = mul(matmul(q, transpose(k)), 1 / Math.sqrt(q.shape.at(-1)!));
  return matmul(dropout.forward(only(softmax(only(scores, NOTHING)), 0)), v);
}

/** True where the row is at or after the column. */
function lowerTriangle(rows: number, columns: number): Tensor {
  const bits = Uint8Array.from({ length: rows * columns }, (_, i) =>
    Number(i % columns <= Math.floor(i / columns)),
  );
  return tensor(bits, { shape: [rows, columns], dtype: 'bool' });
}
