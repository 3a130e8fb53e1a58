import { DrivetrainError, inspect } from '../native/index.js';
import { type DType, formatShape, type Shape, sameShape, Tensor } from '../tensor/index.js';

/** What came instead of a tensor, with a hint for the usual slips. */
export function describeNonTensor(value: unknown): string {
  if (ArrayBuffer.isView(value)) return 'a typed array (wrap(array) makes a tensor of it)';
  if (Array.isArray(value)) return 'an array (tensor(array) makes a tensor of it)';
  const isPromise = typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
  if (isPromise) return 'a promise (await it first)';
  const kind = typeof value === 'object' ? value?.constructor?.name : undefined;
  return kind === undefined || kind === 'Object' ? typeof value : `an object of the class ${kind}`;
}

/** Refuses what is not a tensor. */
export function checkTensor(operation: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a Tensor for ${operation} but received ${describeNonTensor(value)}.`,
  );
}

/** Refuses anything but f32 and f64, the dtypes that operations compute in. */
export function checkFloat(operation: string, ...tensors: readonly Tensor[]): void {
  for (const x of tensors) {
    checkTensor(operation, x);
    if (x.dtype === 'f32' || x.dtype === 'f64') continue;
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected f32 or f64 for ${operation} but received ${x.dtype}; convert with cast(t, 'f32').`,
    );
  }
}

export function checkSameDtype(operation: string, a: Tensor, b: Tensor): void {
  checkTensor(operation, a);
  checkTensor(operation, b);
  if (a.dtype !== b.dtype) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected operands of one dtype for ${operation} but received ${a.dtype} and ${b.dtype}; nothing is promoted, convert with cast(t, '${a.dtype}').`,
    );
  }
}

export function checkOneOf(operation: string, name: string, x: Tensor, dtypes: readonly DType[]): void {
  checkTensor(operation, x);
  if (!dtypes.includes(x.dtype)) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected ${dtypes.join(' or ')} for ${name} of ${operation} but received ${x.dtype}; convert with cast(t, '${dtypes[0]}').`,
    );
  }
}

export function checkShapeIs(operation: string, name: string, x: Tensor, shape: Shape): void {
  if (!sameShape(x.shape, shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected shape ${formatShape(shape)} for ${name} of ${operation} but received ${formatShape(x.shape)}.`,
    );
  }
}

export function checkMinRank(operation: string, x: Tensor, rank: number): void {
  if (x.rank < rank) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected at least ${rank} dimensions for ${operation} but received shape ${formatShape(x.shape)}.`,
    );
  }
}

/** Refuses what is neither one value ([] or [1]) nor, where `count` is given, one for each. */
export function checkPer(operation: string, name: string, x: Tensor, count = 1): void {
  if (x.rank === 0 || (x.rank === 1 && (x.size === 1 || x.size === count))) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected shape [] or [1]${count === 1 ? '' : ` or [${count}]`} for ${name} of ${operation} but received ${formatShape(x.shape)}.`,
  );
}

/** Refuses anything but a finite number from 0 on. */
export function checkEps(operation: string, eps: number): void {
  if (typeof eps === 'number' && eps >= 0 && eps < Infinity) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected eps of ${operation} to be a finite number from 0 on but received ${inspect(eps)}.`,
  );
}
