import { DrivetrainError } from '../native/index.js';
import { broadcastShapes, checkOptions, type DType, sameShape, Tensor } from '../tensor/index.js';
import { apply, applyOne } from './apply.js';
import { checkFloat, checkOneOf, checkSameDtype } from './checks.js';
import type { Op, TensorSpec } from './op.js';
import type { Opcode } from './opcodes.js';
import type { OutOptions } from './out.js';
import { scalar } from './scalar.js';
import { broadcastTo } from './views.js';

/** An operand: a tensor, or a number that is taken in the other operand's dtype. */
export type Operand = Tensor | number;

/** The plain signatures stand last, where TypeScript looks for those of `compile(relu)`. */
interface UnaryFunction {
  (x: Tensor, options: OutOptions): Tensor;
  (x: Tensor): Tensor;
}

interface BinaryFunction {
  (a: Operand, b: Operand, options: OutOptions): Tensor;
  (a: Operand, b: Operand): Tensor;
}

const sameAsFirst = ([x]: readonly Tensor[]): TensorSpec[] => [{ shape: x!.shape, dtype: x!.dtype }];
const boolLikeFirst: Op['infer'] = ([x]) => [{ shape: x!.shape, dtype: 'bool' }];

function unaryOp(name: Opcode): UnaryFunction {
  const op: Op = { name, infer: sameAsFirst, strided: () => true, inPlace: true };
  return (x: Tensor, options?: OutOptions) => {
    checkFloat(name, x);
    return applyOne(op, [x], undefined, options?.out);
  };
}

function binaryOp(name: Opcode): BinaryFunction {
  const op: Op = { name, infer: sameAsFirst, strided: () => true, inPlace: true };
  return (a: Operand, b: Operand, options?: OutOptions) => {
    const [x, y] = asTensors(a, b);
    checkFloat(name, x, y);
    return applyOne(op, pair(name, x, y), undefined, options?.out);
  };
}

const COMPARABLE: readonly DType[] = ['f32', 'f64', 'i64', 'i32', 'i8', 'u8', 'bool'];

/** `name` is the function's, which the instruction may do with its operands exchanged. */
function comparisonOp(name: string, opcode: Opcode, exchanged = false): BinaryFunction {
  const op: Op = { name: opcode, infer: boolLikeFirst, strided: () => true };
  return (a: Operand, b: Operand, options?: OutOptions) => {
    const [x, y] = asTensors(a, b);
    checkOneOf(name, 'operands', x, COMPARABLE);
    const [first, second] = pair(name, x, y);
    return applyOne(op, exchanged ? [second, first] : [first, second], undefined, options?.out);
  };
}

/** Both operands in their common shape. */
function pair(name: string, a: Tensor, b: Tensor): [Tensor, Tensor] {
  checkSameDtype(name, a, b);
  if (sameShape(a.shape, b.shape)) return [a, b];
  const shape = broadcastShapes(a.shape, b.shape, name);
  return [broadcastTo(a, shape), broadcastTo(b, shape)];
}

function asTensors(a: Operand, b: Operand): [Tensor, Tensor] {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : 'f32';
  return [asTensor(a, dtype), asTensor(b, dtype)];
}

function asTensor(operand: Operand, dtype: DType): Tensor {
  return typeof operand === 'number' ? scalar(operand, dtype) : operand;
}

/**
 * −x. Any shape, f32 or f64; so are all functions of this file unless they say otherwise. Those of one and of two
 * operands take `{ out }`, which may be an operand itself.
 */
export const neg = unaryOp('neg');
export const abs = unaryOp('abs');
/** −1, 0 or 1. */
export const sign = unaryOp('sign');
/** e^x, in f32 within 1.06 ulp (units in the last place; those of this file are measured); denormal results may be 0. */
export const exp = unaryOp('exp');
/** The natural logarithm, in f32 within 0.84 ulp. */
export const log = unaryOp('log');
export const sqrt = unaryOp('sqrt');
/** In f32 within 1.41 ulp. */
export const tanh = unaryOp('tanh');
/** 1 / (1 + e^−x), in f32 within 2.22 ulp; denormal results may be 0. */
export const sigmoid = unaryOp('sigmoid');
/** max(x, 0); NaN stays NaN. */
export const relu = unaryOp('relu');
/**
 * x · Φ(x) by the error function: the exact form of Hendrycks and Gimpel, arXiv:1606.08415. In f32 within 4.92 ulp, also
 * where Φ is small (7.51 with the scalar kernels); denormal results may be 0.
 */
export const gelu = unaryOp('gelu');

/** a + b, broadcast by NumPy's rule, as are all functions of two operands. */
export const add = binaryOp('add');
export const sub = binaryOp('sub');
export const mul = binaryOp('mul');
export const div = binaryOp('div');
/** The larger of a and b; NaN where either is. */
export const maximum = binaryOp('maximum');
/** The smaller of a and b; NaN where either is. */
export const minimum = binaryOp('minimum');

/** dy where y > 0, else 0. */
export const reluGrad = binaryOp('reluGrad');
/** dy times the derivative of gelu at x, in f32 within 2.02 · 2⁻²⁴ of |dy|. */
export const geluGrad = binaryOp('geluGrad');

/** Whether a = b, as bool. Any dtype but f16 and bf16. `out` may not be an operand. */
export const equal = comparisonOp('equal', 'equal');
/** Whether a > b, as bool. Any dtype but f16 and bf16. `out` may not be an operand. */
export const greater = comparisonOp('greater', 'greater');
/** Whether a < b, as bool. Any dtype but f16 and bf16. `out` may not be an operand. */
export const less = comparisonOp('less', 'greater', true);

interface Bounds {
  readonly min: number;
  readonly max: number;
}

const clampOp: Op<Bounds> = {
  name: 'clamp',
  infer: sameAsFirst,
  numbers: ({ min, max }) => [min, max],
  strided: () => true,
  inPlace: true,
};

/** Elements under `min` become it, those above `max` that; either may be left out. NaN stays NaN. */
export function clamp(x: Tensor, bounds: Partial<Bounds>): Tensor {
  checkFloat('clamp', x);
  checkOptions('clamp', bounds, ['min', 'max']);
  const { min = -Infinity, max = Infinity } = bounds;
  if (!(min <= max)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected min of clamp to be at most max but received ${min} and ${max}.`,
    );
  }
  return apply(clampOp, [x], { min, max })[0]!;
}

export interface PowAttrs {
  readonly exponent: number;
}

const powOp: Op<PowAttrs> = {
  name: 'pow',
  infer: sameAsFirst,
  numbers: ({ exponent }) => [exponent],
  strided: () => true,
  inPlace: true,
};

/** x to the power of a number; NaN for a negative x and an exponent that is not whole. By the C library, but for 2 and ½. */
export function pow(x: Tensor, exponent: number): Tensor {
  checkFloat('pow', x);
  if (typeof exponent !== 'number') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a number as exponent for pow but received ${typeof exponent}.`,
    );
  }
  return apply(powOp, [x], { exponent })[0]!;
}

const whereOp: Op = {
  name: 'where',
  infer: ([, a]) => [{ shape: a!.shape, dtype: a!.dtype }],
  strided: () => true,
};

/** a where the condition (bool) holds, else b. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  checkOneOf('where', 'condition', condition, ['bool']);
  const [x, y] = asTensors(a, b);
  checkFloat('where', x, y);
  checkSameDtype('where', x, y);
  const shape = broadcastShapes(condition.shape, broadcastShapes(x.shape, y.shape, 'where'), 'where');
  const operands = [condition, x, y].map((operand) => broadcastTo(operand, shape));
  return apply(whereOp, operands, undefined)[0]!;
}
