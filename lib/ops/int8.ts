import { binding, DrivetrainError } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkMinRank, checkOneOf, checkShapeIs } from './checks.js';
import { ACTIVATIONS, type MatmulAttrs } from './matmul.js';
import type { Op } from './op.js';

/** The most products of −128 · −128 whose sum 32 bits hold. */
const MAX_INT8_DEPTH = 131_071;

const quantizeRowsOp: Op = {
  name: 'quantizeRows',
  infer: ([x]) => [
    { shape: x!.shape, dtype: 'i8' },
    { shape: x!.shape.slice(0, -1), dtype: 'f32' },
  ],
};

const dequantizeRowsOp: Op = {
  name: 'dequantizeRows',
  infer: ([q]) => [{ shape: q!.shape, dtype: 'f32' }],
};

const packInt8Op: Op = {
  name: 'packInt8',
  infer: ([weight]) => {
    const [n, k] = weight!.shape as [number, number];
    return [{ shape: [binding.packedInt8Bytes(k, n)], dtype: 'i8' }];
  },
  strided: () => true,
};

export const matmulInt8Op: Op<MatmulAttrs> = {
  name: 'matmulInt8',
  infer: ([q, , , scales]) => [{ shape: [q!.shape[0]!, scales!.shape[0]!], dtype: 'f32' }],
  numbers: ({ activation }) => [ACTIVATIONS[activation]],
};

/**
 * Each row of x [..., n] (f32) as i8 with a scale of its own: x ≈ q · scale, |q| ≤ 127, rounded to nearest even. A row
 * with NaN or infinity has the scale NaN; one whose scale would be under 2^-125 (denormals, as good as zeros) has 1, and
 * zeros. Returns [q, scales [...]].
 */
export function quantizeRows(x: Tensor): [q: Tensor, scales: Tensor] {
  checkOneOf('quantizeRows', 'x', x, ['f32']);
  checkMinRank('quantizeRows', x, 1);
  return apply(quantizeRowsOp, [x], undefined) as [Tensor, Tensor];
}

/** q [..., n] (i8) times the scale of each row [...] (f32): f32 [..., n]. */
export function dequantizeRows(q: Tensor, scales: Tensor): Tensor {
  checkOneOf('dequantizeRows', 'q', q, ['i8']);
  checkOneOf('dequantizeRows', 'scales', scales, ['f32']);
  checkMinRank('dequantizeRows', q, 1);
  checkShapeIs('dequantizeRows', 'scales', scales, q.shape.slice(0, -1));
  return apply(dequantizeRowsOp, [q, scales], undefined)[0]!;
}

/** Weight [out, in] (i8) in the layout of the kernels in use: opaque bytes for `linearInt8`, in this process only. */
export function packInt8(weight: Tensor): Tensor {
  checkOneOf('packInt8', 'weight', weight, ['i8']);
  if (weight.rank !== 2) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected weight [out, in] for packInt8 but received ${formatShape(weight.shape)}.`,
    );
  }
  if (weight.shape[1]! > MAX_INT8_DEPTH) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at most ${MAX_INT8_DEPTH} columns for packInt8, so that 32-bit sums are exact, but received ${formatShape(weight.shape)}.`,
    );
  }
  return apply(packInt8Op, [weight], undefined)[0]!;
}

/**
 * q · weightᵀ with exact 32-bit sums, times both scales, plus bias: for q [m, in] (i8) with row scales [m], a weight
 * from `packInt8` with channel scales [out], and bias [out]: f32 [m, out]. The same bits on every instruction set.
 */
export function matmulInt8(
  q: Tensor,
  rowScales: Tensor,
  packed: Tensor,
  channelScales: Tensor,
  bias?: Tensor,
): Tensor {
  const operation = 'matmulInt8';
  checkOneOf(operation, 'q', q, ['i8']);
  checkOneOf(operation, 'row scales', rowScales, ['f32']);
  checkOneOf(operation, 'packed weight', packed, ['i8']);
  checkOneOf(operation, 'channel scales', channelScales, ['f32']);
  if (q.rank !== 2) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected q [m, in] for matmulInt8 but received ${formatShape(q.shape)}.`,
    );
  }
  const [m, k] = q.shape as [number, number];
  const out = channelScales.size;
  checkShapeIs(operation, 'row scales', rowScales, [m]);
  checkShapeIs(operation, 'channel scales', channelScales, [out]);
  checkShapeIs(operation, 'packed weight', packed, [binding.packedInt8Bytes(k, out)]);
  const operands = [q, rowScales, packed, channelScales];
  if (bias !== undefined) {
    checkOneOf(operation, 'bias', bias, ['f32']);
    checkShapeIs(operation, 'bias', bias, [out]);
    operands.push(bias);
  }
  return apply(matmulInt8Op, operands, { activation: 'none' })[0]!;
}
