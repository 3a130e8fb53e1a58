import { binding, DrivetrainError } from '../native/index.js';
import { broadcastShapes, DTYPES, formatShape, sizeOf, type Tensor } from '../tensor/index.js';
import { apply, applyOne, transient } from './apply.js';
import { checkFloat, checkMinRank, checkSameDtype, checkShapeIs } from './checks.js';
import type { Op } from './op.js';
import { checkOutIs, type OutOptions } from './out.js';
import { broadcastTo, reshape, transpose } from './views.js';

/** What is applied to each element of a product before it is stored; the numbers of native/kernels/kernels.h. */
export const ACTIVATIONS = { none: 0, relu: 1, gelu: 2 } as const;

export type Activation = keyof typeof ACTIVATIONS;

/** What happens to a product before it is stored: activation(alpha · a · b + bias) + residual. */
export interface MatmulAttrs {
  readonly activation: Activation;
  /** 1 unless given. */
  readonly alpha?: number;
  readonly hasBias?: boolean;
  readonly hasResidual?: boolean;
  /** Whether b comes from `packMatmul`. */
  readonly packed?: boolean;
}

/** Inputs a [..., m, k], b [..., k, n] (or packed), then a bias [n] and a residual [..., m, n] where there are such. */
export const matmulOp: Op<MatmulAttrs> = {
  name: 'matmul',
  infer: ([a, b]) => [{ shape: [...a!.shape.slice(0, -1), b!.shape.at(-1)!], dtype: a!.dtype }],
  numbers: ({ activation, alpha = 1, hasBias, hasResidual, packed }) => [
    ACTIVATIONS[activation],
    alpha,
    Number(hasBias ?? false),
    Number(hasResidual ?? false),
    Number(packed ?? false),
  ],
  strided: (input) => input < 2,
};

const packMatmulOp: Op = {
  name: 'packMatmul',
  infer: ([b]) => {
    const [k, n] = b!.shape as [number, number];
    const bytes = binding.packedMatmulBytes(k, n, b!.dtype === 'f64');
    return [{ shape: [bytes / DTYPES[b!.dtype].bytes], dtype: b!.dtype }];
  },
  strided: () => true,
};

/** b [k, n] in the layout of the kernels in use: opaque, for the second operand of a product, in this process only. */
export function packMatmul(b: Tensor): Tensor {
  return apply(packMatmulOp, [b], undefined)[0]!;
}

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
    const attrs = { activation: 'none', hasBias: bias !== undefined } as const;
    const y = applyOne(matmulOp, operands, attrs, given?.viewAs([rows, out]));
    return given ?? reshape(y, [...lead, out]);
  });
}
