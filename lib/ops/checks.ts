import { DrivetrainError } from '../native/index.js';
import { type DType, formatShape, type Shape, sameShape, Tensor } from '../tensor/index.js';

/** Refuses what is not a tensor, with a hint for the usual slips. */
export function checkTensor(operation: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  const received = ArrayBuffer.isView(value)
    ? 'a typed array (wrap(array) makes a tensor of it)'
    : typeof value;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a Tensor for ${operation} but received ${received}.`,
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
      `Expected ${dtypes.join(' or ')} for ${name} of ${operation} but received ${x.dtype}.`,
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
