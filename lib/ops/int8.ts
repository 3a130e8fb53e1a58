import { binding, DrivetrainError } from '../native/index.js';
import { checkOptions, type DType, formatShape, sizeOf, type Tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkMinRank, checkOneOf, checkPer, checkShapeIs } from './checks.js';
import { ACTIVATIONS, type Activation } from './matmul.js';
import type { Op } from './op.js';
import { reshape } from './views.js';

/** The largest sum of products that 32 bits hold. */
const MAX_SUM = 2 ** 31 - 1;

/** The most products of −128 · −128 whose sum 32 bits hold. */
const MAX_INT8_DEPTH = 131_071;

/** What a product may have beside its two matrices: in the order of native/ops/int8.cc, a bit for each. */
const PARTS = [
  'scale',
  'weightScale',
  'zeroPoint',
  'weightZeroPoint',
  'bias',
  'outputScale',
  'outputZeroPoint',
] as const;

/** The bits of the parts that quantize a result; they stand last. */
export const QUANTIZES = (1 << PARTS.indexOf('outputScale')) | (1 << PARTS.indexOf('outputZeroPoint'));

type Parts = { readonly [name in (typeof PARTS)[number]]?: Tensor | undefined };

export interface Int8Attrs {
  readonly activation: Activation;
  /** The bits of the parts that are there. */
  readonly parts: number;
  readonly output: DType;
}

const packInt8Op: Op = {
  name: 'packInt8',
  infer: ([weight]) => {
    const [n, k] = weight!.shape as [number, number];
    return [{ shape: [n, bytesPerChannel(n, k)], dtype: weight!.dtype }];
  },
  strided: () => true,
};

const matmulInt8Op: Op<Int8Attrs> = {
  name: 'matmulInt8',
  infer: ([a, packed], { output }) => [{ shape: [a!.shape[0]!, packed!.shape[0]!], dtype: output }],
  numbers: ({ activation, parts }) => [ACTIVATIONS[activation], parts],
};

/**
 * So that a packed weight's shape tells its channels and its columns: as many bytes as it takes, and up to 15 more for the
 * remainder of k by 16. Kernels fill k up to a multiple of 8 or 16, so that 16 columns more take at least 16 bytes more.
 */
function bytesPerChannel(n: number, k: number): number {
  if (n === 0) return k;
  const least = Math.ceil(binding.packedInt8Bytes(k, n) / n);
  return k + 16 * Math.ceil((least - k) / 16);
}

/** The k of a packed weight's shape; undefined where there is none. */
function columnsOf([n, bytes]: readonly [number, number]): number | undefined {
  for (let k = bytes % 16; k <= bytes; k += 16) {
    if (bytesPerChannel(n, k) === bytes) return k;
  }
  return undefined;
}

/** Refuses what `packInt8` did not make of a weight of k columns. */
function checkPacked(operation: string, packed: Tensor, k: number): void {
  const [n, bytes] = packed.shape as [number, number];
  if (packed.rank === 2 && bytes === bytesPerChannel(n, k)) return;
  const columns = packed.rank === 2 ? columnsOf([n, bytes]) : undefined;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    columns === undefined
      ? `Expected a weight from packInt8 for ${operation} but received ${formatShape(packed.shape)}.`
      : `Expected inner dimensions that agree for ${operation} but received ${k} columns and a packed weight ${formatShape([n, columns])}.`,
  );
}

/** What the integers of an operand count from; of its dtype, one for all or one for each row or channel. 0 by default. */
export interface ZeroPoints {
  /** Of a [m, in]: [], [1] or [m]. */
  readonly zeroPoint?: Tensor | undefined;
  /** Of the weight [out, in]: [], [1] or [out]. */
  readonly weightZeroPoint?: Tensor | undefined;
}

const ZERO_POINTS = ['zeroPoint', 'weightZeroPoint'];

/**
 * Weight [out, in] (i8, or u8) in the layout of the kernels in use: opaque bytes for the products below, in this process
 * only. At most 131,071 columns, so that 32-bit sums are exact.
 */
export function packInt8(weight: Tensor): Tensor {
  checkOneOf('packInt8', 'weight', weight, ['i8', 'u8']);
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
 * (a − zeroPoint) · (weight − weightZeroPoint)ᵀ for a [m, in] (i8 or u8) and a weight from `packInt8`: exact 32-bit sums,
 * i32 [m, out], the same on every instruction set. ONNX's MatMulInteger.
 */
export function matmulInteger(a: Tensor, packed: Tensor, options: ZeroPoints = {}): Tensor {
  checkOptions('matmulInteger', options, ZERO_POINTS);
  const { zeroPoint, weightZeroPoint } = options;
  return product('matmulInteger', a, packed, { zeroPoint, weightZeroPoint }, 'i32');
}

/**
 * scale · weightScale · (a − zeroPoint) · (weight − weightZeroPoint)ᵀ + bias, with exact 32-bit sums: for a [m, in] (i8 or
 * u8) with a scale for all ([] or [1]) or for each row [m], a weight from `packInt8` with a scale for all or for each
 * channel [out], and bias [out] (f32): f32 [m, out]. The same bits on every instruction set.
 */
export function matmulInt8(
  a: Tensor,
  scale: Tensor,
  packed: Tensor,
  weightScale: Tensor,
  bias?: Tensor,
  options: ZeroPoints = {},
): Tensor {
  checkOptions('matmulInt8', options, ZERO_POINTS);
  const { zeroPoint, weightZeroPoint } = options;
  const parts = { scale, weightScale, zeroPoint, weightZeroPoint, bias };
  return product('matmulInt8', a, packed, parts, 'f32');
}

/**
 * x · weightᵀ + bias for x [..., in] (f32), quantized as by `quantizeRows` on the way, and a weight from `packInt8` with a
 * scale for all or for each channel: f32 [..., out], the bits of `matmulInt8(...quantizeRows(x), …)`.
 */
export function linearInt8(x: Tensor, packed: Tensor, weightScale: Tensor, bias?: Tensor): Tensor {
  checkOneOf('linearInt8', 'x', x, ['f32']);
  checkMinRank('linearInt8', x, 1);
  const lead = x.shape.slice(0, -1);
  return transient(() => {
    const rows = reshape(x, [sizeOf(lead), x.shape.at(-1)!]);
    const y = product('linearInt8', rows, packed, { weightScale, bias }, 'f32');
    return reshape(y, [...lead, packed.shape[0]!]);
  });
}

export interface QlinearMatmulOptions extends ZeroPoints {
  /** f32 [out] */
  readonly bias?: Tensor | undefined;
  /** Applied before the result is quantized. */
  readonly activation?: Activation | undefined;
}

/**
 * What `matmulInt8` gives, quantized as by `quantizeLinear`: i8 or u8 [m, out], whichever the output's zero point is. With
 * an activation it is applied in between. ONNX's QLinearMatMul, with its scales and zero points by row and by channel.
 */
export function qlinearMatmul(
  a: Tensor,
  scale: Tensor,
  packed: Tensor,
  weightScale: Tensor,
  outputScale: Tensor,
  outputZeroPoint: Tensor,
  options: QlinearMatmulOptions = {},
): Tensor {
  const operation = 'qlinearMatmul';
  checkOptions(operation, options, [...ZERO_POINTS, 'bias', 'activation']);
  const { zeroPoint, weightZeroPoint, bias, activation = 'none' } = options;
  checkOneOf(operation, 'output scale', outputScale, ['f32']);
  checkOneOf(operation, 'output zero point', outputZeroPoint, ['i8', 'u8']);
  checkPer(operation, 'output scale', outputScale);
  checkPer(operation, 'output zero point', outputZeroPoint);
  if (!Object.hasOwn(ACTIVATIONS, activation)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected activation ${Object.keys(ACTIVATIONS).join(' or ')} for ${operation} but received ${String(activation)}.`,
    );
  }
  const parts = { scale, weightScale, zeroPoint, weightZeroPoint, bias, outputScale, outputZeroPoint };
  return product(operation, a, packed, parts, outputZeroPoint.dtype, activation);
}

/** Checks all that the products share, and multiplies. What is undefined in `parts` is not there. */
function product(
  operation: string,
  a: Tensor,
  packed: Tensor,
  parts: Parts,
  output: DType,
  activation: Activation = 'none',
): Tensor {
  const quantizes = operation === 'linearInt8';
  if (!quantizes) checkOneOf(operation, 'a', a, ['i8', 'u8']);
  checkOneOf(operation, 'packed weight', packed, ['i8', 'u8']);
  if (a.rank !== 2) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a [m, in] for ${operation} but received ${formatShape(a.shape)}.`,
    );
  }
  const [m, k] = a.shape as [number, number];
  checkPacked(operation, packed, k);
  const n = packed.shape[0]!;
  if (!quantizes && output !== 'i32') {
    checkOneOf(operation, 'scale', parts.scale!, ['f32']);
    checkPer(operation, 'scale', parts.scale!, m);
  }
  if (output !== 'i32') {
    checkOneOf(operation, 'weight scale', parts.weightScale!, ['f32']);
    checkPer(operation, 'weight scale', parts.weightScale!, n);
  }
  const { zeroPoint, weightZeroPoint, bias } = parts;
  if (zeroPoint !== undefined) {
    checkOneOf(operation, 'zero point', zeroPoint, [a.dtype]);
    checkPer(operation, 'zero point', zeroPoint, m);
  }
  if (weightZeroPoint !== undefined) {
    checkOneOf(operation, 'weight zero point', weightZeroPoint, [packed.dtype]);
    checkPer(operation, 'weight zero point', weightZeroPoint, n);
  }
  if (bias !== undefined) {
    checkOneOf(operation, 'bias', bias, ['f32']);
    checkShapeIs(operation, 'bias', bias, [n]);
  }
  const depth = Math.floor(MAX_SUM / (largest(a.dtype, zeroPoint) * largest(packed.dtype, weightZeroPoint)));
  if (k > depth) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at most ${depth} columns for ${operation} of these dtypes and zero points, so that 32-bit sums are exact, but received ${formatShape(a.shape)}.`,
    );
  }
  const there = PARTS.filter((name) => parts[name] !== undefined);
  const bits = there.reduce((sum, name) => sum | (1 << PARTS.indexOf(name)), 0);
  const operands = [a, packed, ...there.map((name) => parts[name]!)];
  return apply(matmulInt8Op, operands, { activation, parts: bits, output })[0]!;
}

/** The largest magnitude of an integer less its zero point. */
function largest(dtype: DType, zeroPoint: Tensor | undefined): number {
  return dtype === 'u8' || zeroPoint !== undefined ? 255 : 128;
}
