import { DrivetrainError } from '../native/index.js';
import { broadcastShapes, formatShape, sizeOf, type Tensor } from '../tensor/index.js';
import { applyOne, transient } from './apply.js';
import { checkFloat, checkMinRank, checkSameDtype, checkShapeIs } from './checks.js';
import type { Op } from './op.js';
import { checkOutIs, type OutOptions } from './out.js';
import { broadcastTo, reshape, transpose } from './views.js';

/** What is applied to each element of a product before it is stored; the numbers of native/kernels/kernels.h. */
export const ACTIVATIONS = { none: 0, relu: 1 } as const;

export interface MatmulAttrs {
  readonly activation: keyof typeof ACTIVATIONS;
}

/** Inputs a [..., m, k], b [..., k, n] and perhaps a bias [n]. */
export const matmulOp: Op<MatmulAttrs> = {
  name: 'matmul',
  infer: ([a, b]) => [{ shape: [...a!.shape.slice(0, -1), b!.shape.at(-1)!], dtype: a!.dtype }],
  numbers: ({ activation }, inputs) => [ACTIVATIONS[activation], 1, inputs.length - 2, 0, 0],
  strided: (input) => input < 2,
};

/**
 * The matrix product of a [..., m, k] and b [..., k, n]: [..., m, n], leading dimensions broadcast. f32 or f64, any
 * strides (a transposed view costs no copy). `out` may not be an operand.
 */
export function matmul(a: Tensor, b: Tensor, options: OutOptions): Tensor;
export function matmul(a: Tensor, b: Tensor): Tensor;
export function matmul(a: Tensor, b: Tensor, options?: OutOptions): Tensor {
  checkFloat('matmul', a, b);
  checkSameDtype('matmul', a, b);
  checkMinRank('matmul', a, 2);
  checkMinRank('matmul', b, 2);
  const [m, k] = a.shape.slice(-2) as [number, number];
  const [rows, n] = b.shape.slice(-2) as [number, number];
  if (k !== rows) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected inner dimensions that agree for matmul but received ${formatShape(a.shape)} and ${formatShape(b.shape)}.`,
    );
  }
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), 'matmul');
  const operands = [broadcastTo(a, [...batch, m, k]), broadcastTo(b, [...batch, k, n])];
  return applyOne(matmulOp, operands, { activation: 'none' }, options?.out);
}

/**
 * x · weightᵀ + bias for x [..., in], weight [out, in], bias [out]: [..., out]. f32 or f64. `options.out` may not be an
 * operand.
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | undefined, options: OutOptions): Tensor;
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor;
export function linear(x: Tensor, weight: Tensor, bias?: Tensor, options?: OutOptions): Tensor {
  checkFloat('linear', x, weight);
  checkSameDtype('linear', x, weight);
  checkMinRank('linear', x, 1);
  const [out, width] = weight.shape as [number, number];
  if (weight.rank !== 2 || x.shape.at(-1) !== width) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected x [..., in] and weight [out, in] for linear but received ${formatShape(x.shape)} and ${formatShape(weight.shape)}.`,
    );
  }
  if (bias !== undefined) {
    checkSameDtype('linear', weight, bias);
    checkShapeIs('linear', 'bias', bias, [out]);
  }
  const lead = x.shape.slice(0, -1);
  const rows = sizeOf(lead);
  const given = options?.out;
  if (given !== undefined) checkOutIs('linear', { shape: [...lead, out], dtype: x.dtype }, given);
  return transient(() => {
    const operands = [reshape(x, [rows, width]), transpose(weight), ...(bias ? [bias] : [])];
    const y = applyOne(matmulOp, operands, { activation: 'none' }, given?.viewAs([rows, out]));
    return given ?? reshape(y, [...lead, out]);
  });
}
