import { DrivetrainError } from '../native/index.js';
import { broadcastShapes, checkOptions, formatShape, type Tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkFloat, checkMinRank, checkOneOf, checkSameDtype } from './checks.js';
import { contiguous } from './copy.js';
import type { Op } from './op.js';
import { broadcastTo } from './views.js';

export interface AttentionOptions {
  /** Whether query i attends to keys 0 to i only. */
  readonly isCausal?: boolean;
  /**
   * A bool tensor that broadcasts to [..., L, S]: true where a query may attend to a key. Keys that are only padding are
   * masked by [batch, 1, 1, S].
   */
  readonly mask?: Tensor;
  /** What scores are multiplied by; 1/√d unless given. */
  readonly scale?: number;
}

export interface AttentionAttrs {
  readonly isCausal: boolean;
  readonly scale: number;
}

const OPERATION = 'scaledDotProductAttention';

const numbers = ({ isCausal, scale }: AttentionAttrs) => [isCausal ? 1 : 0, scale];

/** Inputs q, k, v and perhaps a mask; outputs the result and the base-2 log-sum of each query, for the gradient. */
const attentionOp: Op<AttentionAttrs> = {
  name: OPERATION,
  infer: ([q, , v]) => {
    const rows = q!.shape.slice(0, -1);
    return [[...rows, v!.shape.at(-1)!], rows].map((shape) => ({ shape, dtype: q!.dtype }));
  },
  numbers,
  strided: () => true,
};

/** Inputs the gradient of the result, the op's outputs and its inputs; outputs the gradients of q, k and v. */
const attentionGradOp: Op<AttentionAttrs> = {
  name: 'scaledDotProductAttentionGrad',
  infer: ([, , , q, k, v]) => [q!, k!, v!].map(({ shape, dtype }) => ({ shape, dtype })),
  numbers,
  strided: (input) => input > 0,
};

/**
 * softmax(scale · query · keyᵀ) · value for query [..., L, d], key [..., S, d] and value [..., S, dv]: [..., L, dv].
 * Leading dimensions (batch, heads) broadcast. f32 or f64; rows may lie anywhere, so heads that are split off by
 * `permute` cost no copy. The L × S scores are never stored: memory is linear in L and S.
 *
 * With both a mask and `isCausal` a query attends to what both allow. One that may attend to nothing gives zeros, and
 * takes no part in gradients. What is masked has a weight of 0, by which its value is still multiplied: it must be
 * finite.
 *
 * Vaswani et al., arXiv:1706.03762; computed by blocks as in Dao et al., arXiv:2205.14135.
 */
export function scaledDotProductAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions = {},
): Tensor {
  checkFloat(OPERATION, query, key, value);
  checkSameDtype(OPERATION, query, key);
  checkSameDtype(OPERATION, query, value);
  for (const x of [query, key, value]) checkMinRank(OPERATION, x, 2);
  const [rows, depth] = query.shape.slice(-2) as [number, number];
  const [keys, width] = value.shape.slice(-2) as [number, number];
  if (key.shape.at(-1) !== depth || key.shape.at(-2) !== keys) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected query [..., L, d], key [..., S, d] and value [..., S, dv] for ${OPERATION} but received ${formatShape(query.shape)}, ${formatShape(key.shape)} and ${formatShape(value.shape)}.`,
    );
  }
  checkOptions(OPERATION, options, ['isCausal', 'mask', 'scale']);
  const { isCausal = false, mask, scale = 1 / Math.sqrt(depth) } = options;
  if (typeof isCausal !== 'boolean' || !Number.isFinite(scale)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected true or false as isCausal and a finite number as scale of ${OPERATION} but received ${String(isCausal)} and ${String(scale)}.`,
    );
  }
  if (mask !== undefined) checkOneOf(OPERATION, 'mask', mask, ['bool']);
  const [q, k, v] = [query, key, value].map(({ shape }) => shape.slice(0, -2));
  const lead = broadcastShapes(broadcastShapes(q!, k!, OPERATION), v!, OPERATION);
  return transient(() => {
    const inputs = [
      broadcastTo(withContiguousRows(query), [...lead, rows, depth]),
      broadcastTo(withContiguousRows(key), [...lead, keys, depth]),
      broadcastTo(withContiguousRows(value), [...lead, keys, width]),
      ...(mask ? [broadcastTo(mask, [...lead, rows, keys])] : []),
    ];
    return apply(attentionOp, inputs, { isCausal, scale })[0]!;
  });
}

function withContiguousRows(x: Tensor): Tensor {
  return x.strides.at(-1) === 1 || x.shape.at(-1)! <= 1 ? x : contiguous(x);
}

/** The gradients of query, key and value from that of the result and the op's outputs and inputs. */
export function attentionGrad(
  dy: Tensor,
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  attrs: AttentionAttrs,
): Tensor[] {
  return apply(attentionGradOp, [dy, ...outputs, ...inputs], attrs);
}
