import { binding, DrivetrainError, inspect } from '../native/index.js';
import {
  broadcastShapes,
  checkOptions,
  DTYPES,
  type DType,
  formatShape,
  isHalf,
  sizeOf,
  type Tensor,
} from '../tensor/index.js';
import { apply, applyOne, transient } from './apply.js';
import { checkMinRank, checkOneOf, checkSameDtype, checkShapeIs, checkTensor } from './checks.js';
import type { Op } from './op.js';
import { checkOutIs, type OutOptions } from './out.js';
import { broadcastTo, reshape, transpose } from './views.js';

/** What is applied to each element of a product before it is stored; the numbers of native/kernels/kernels.h. */
export const ACTIVATIONS = { none: 0, relu: 1, gelu: 2 } as const;

export type Activation = keyof typeof ACTIVATIONS;

/** What happens to a product before it is stored: activation(alpha · a · b + beta · out + bias) + residual. */
export interface MatmulAttrs {
  readonly activation: Activation;
  /** 1 unless given. */
  readonly alpha?: number;
  /** 0 unless given: then what is in the output is not read. */
  readonly beta?: number;
  readonly hasBias?: boolean;
  readonly hasResidual?: boolean;
  /** Whether b comes from `packMatmul`. */
  readonly packed?: boolean;
  /** Of the result: a's unless given. */
  readonly dtype?: DType;
}

/** Inputs a [..., m, k], b [..., k, n] (or packed), then a bias [n] and a residual [..., m, n] where there are such. */
const matmulOp: Op<MatmulAttrs> = {
  name: 'matmul',
  infer: ([a, b], { dtype }) => [
    { shape: [...a!.shape.slice(0, -1), b!.shape.at(-1)!], dtype: dtype ?? a!.dtype },
  ],
  numbers: ({ activation, alpha = 1, beta = 0, hasBias, hasResidual, packed }) => [
    ACTIVATIONS[activation],
    alpha,
    Number(hasBias ?? false),
    Number(hasResidual ?? false),
    Number(packed ?? false),
    beta,
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

const DTYPES_OF_PRODUCTS: readonly DType[] = ['f32', 'f64', 'f16', 'bf16'];

export interface MatmulOptions extends OutOptions {
  /** What the product is multiplied by; 1 unless given. */
  readonly alpha?: number;
  /** What was in `out` is multiplied by this and added; 0 unless given: then it is not read. Only with `out`. */
  readonly beta?: number;
}

/**
 * alpha · a · b + beta · out for a [..., m, k] and b [..., k, n]: [..., m, n], leading dimensions broadcast. Any strides (a
 * transposed view costs no copy). f32, f64, f16 or bf16; all of it for f16 and bf16 is added up in f32 and rounded once, to
 * nearest even. `out` may not be an operand. Inside `compile(fn)`, where there is no `out`, a sum with a product is one
 * instruction as well.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions): Tensor;
export function matmul(a: Tensor, b: Tensor): Tensor;
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  checkOneOf('matmul', 'a', a, DTYPES_OF_PRODUCTS);
  checkOneOf('matmul', 'b', b, DTYPES_OF_PRODUCTS);
  checkSameDtype('matmul', a, b);
  checkMinRank('matmul', a, 2);
  checkMinRank('matmul', b, 2);
  if (a.shape.at(-1) !== b.shape.at(-2)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a [..., m, k] and b [..., k, n] for matmul but received ${formatShape(a.shape)} and ${formatShape(b.shape)}, of which k is ${a.shape.at(-1)} and ${b.shape.at(-2)}; transpose(t) swaps two dimensions.`,
    );
  }
  checkOptions('matmul', options, ['alpha', 'beta', 'out']);
  const { alpha = 1, beta = 0, out } = options;
  if (
    !Number.isFinite(alpha) ||
    !Number.isFinite(beta) ||
    (options.beta !== undefined && out === undefined)
  ) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected finite numbers as alpha and beta of matmul, and an out that beta multiplies, but received ${inspect({ alpha, beta })}${out === undefined ? ' and no out' : ''}.`,
    );
  }
  return product(a, b, { dtype: a.dtype, alpha, beta }, out);
}

/** `matmul` for operands that may be f32, f16 and bf16 at once, in the dtype that is asked for. */
export function product(
  a: Tensor,
  b: Tensor,
  attrs: Pick<MatmulAttrs, 'alpha' | 'beta' | 'dtype'>,
  out?: Tensor,
): Tensor {
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), 'matmul');
  const operands = [a, b].map((x) => broadcastTo(x, [...batch, ...x.shape.slice(-2)]));
  return applyOne(matmulOp, operands, { activation: 'none', ...attrs }, out);
}

/**
 * x · weightᵀ + bias for x [..., in], weight [out, in], bias [out]: [..., out] in the dtype of x. f32, f64, f16 or bf16,
 * all of one dtype; or x in f32 with weight, bias or both in f16 or bf16: stored in half the memory, computed in f32.
 * `options.out` may not be an operand.
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | undefined, options: OutOptions): Tensor;
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor;
export function linear(x: Tensor, weight: Tensor, bias?: Tensor, options?: OutOptions): Tensor {
  checkOneOf('linear', 'x', x, DTYPES_OF_PRODUCTS);
  checkFits('linear', 'weight', weight, x);
  checkMinRank('linear', x, 1);
  const [out, width] = weight.shape as [number, number];
  if (weight.rank !== 2 || x.shape.at(-1) !== width) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected x [..., in] and weight [out, in] for linear but received ${formatShape(x.shape)} and ${formatShape(weight.shape)}${weight.rank === 2 ? `: the last dimension of x has to be ${width}` : ''}.`,
    );
  }
  if (bias !== undefined) {
    checkFits('linear', 'bias', bias, x);
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

/** Refuses a parameter that has neither x's dtype nor, where x is f32, 16 bits. */
function checkFits(operation: string, name: string, parameter: Tensor, x: Tensor): void {
  checkTensor(operation, parameter);
  if (parameter.dtype === x.dtype || (x.dtype === 'f32' && isHalf(parameter.dtype))) return;
  throw new DrivetrainError(
    'DT_DTYPE_MISMATCH',
    `Expected ${name} of ${operation} in the dtype of x, or f16 or bf16 for an x in f32, but received ${parameter.dtype} for ${x.dtype}; convert with cast(t, '${x.dtype}').`,
  );
}
