import { DrivetrainError, type TypedArray } from '../native/index.js';
import {
  checkShape,
  DTYPES,
  type DType,
  dtypeOf,
  formatShape,
  type Shape,
  sizeOf,
  typedArrayName,
} from '../tensor/index.js';

/**
 * A tensor as plain data, without a pool: what files hold. `data` is row-major and has one element per number;
 * f16 and bf16 stand as their bits in a `Uint16Array`, bool as 0 or 1 in a `Uint8Array`. Shape [] is a scalar.
 */
export interface TensorData {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

/** The bytes of a typed array, not copied. */
export function bytesOf(array: TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Refuses anything but the bytes of a file in a `Uint8Array` (a `Buffer` is one): `DT_INVALID_ARGUMENT`. */
export function checkBytes(bytes: Uint8Array): void {
  if (typedArrayName(bytes) === 'Uint8Array') return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a Uint8Array with the bytes of a file but received ${Object.prototype.toString.call(bytes).slice(8, -1)}.`,
  );
}

/** A new array of `length` elements, in memory of its own. */
export function newArray(dtype: DType, length: number): TypedArray {
  return new DTYPES[dtype].array(length);
}

/** The position of the first byte that is neither 0 nor 1, or -1. */
export function firstNonBoolean(bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) if (bytes[i]! > 1) return i;
  return -1;
}

/** Refuses data that does not fit its dtype and shape: DT_DTYPE_MISMATCH, DT_SHAPE_MISMATCH, DT_INVALID_ARGUMENT. */
export function checkTensorData({ dtype, shape, data }: TensorData, name: string): void {
  checkShape(shape, `the shape of ${name}`);
  dtypeOf(data, dtype);
  if (data.length !== sizeOf(shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected ${sizeOf(shape)} elements for ${name} of shape ${formatShape(shape)} but received ${data.length}.`,
    );
  }
  const wrong = dtype === 'bool' ? firstNonBoolean(bytesOf(data)) : -1;
  if (wrong >= 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected 0 or 1 in the bool tensor ${name} but received ${data[wrong]} at element ${wrong}.`,
    );
  }
}
