import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkMinRank, checkOneOf, checkPer, checkShapeIs } from './checks.js';
import type { Op } from './op.js';

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

const quantizeLinearOp: Op = {
  name: 'quantizeLinear',
  infer: ([x, , zeroPoint]) => [{ shape: x!.shape, dtype: zeroPoint!.dtype }],
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

/**
 * x (f32, any shape) in steps of one scale (f32), counted from a zero point whose dtype, i8 or u8, is the result's:
 * x / scale rounded to nearest even, plus the zero point, clamped; NaN gives the zero point. ONNX's QuantizeLinear for a
 * whole tensor.
 */
export function quantizeLinear(x: Tensor, scale: Tensor, zeroPoint: Tensor): Tensor {
  checkOneOf('quantizeLinear', 'x', x, ['f32']);
  checkOneOf('quantizeLinear', 'scale', scale, ['f32']);
  checkOneOf('quantizeLinear', 'zero point', zeroPoint, ['i8', 'u8']);
  checkPer('quantizeLinear', 'scale', scale);
  checkPer('quantizeLinear', 'zero point', zeroPoint);
  return apply(quantizeLinearOp, [x, scale, zeroPoint], undefined)[0]!;
}
