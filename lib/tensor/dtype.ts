import { DrivetrainError, type TypedArray } from '../native/index.js';

/** f16 and bf16 are kept as their 16 bits in a `Uint16Array`; bool as 0 or 1 in a `Uint8Array`. */
export type DType = 'f32' | 'f64' | 'i64' | 'i32' | 'i8' | 'u8' | 'bool' | 'f16' | 'bf16';

type TypedArrayConstructor = {
  new (length: number): TypedArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): TypedArray;
};

interface DTypeInfo {
  /** The number that native code knows it by (native/ops/dtype.h). */
  readonly id: number;
  readonly bytes: number;
  readonly array: TypedArrayConstructor;
  readonly float: boolean;
}

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = {
  f32: { id: 0, bytes: 4, array: Float32Array, float: true },
  f64: { id: 1, bytes: 8, array: Float64Array, float: true },
  i64: { id: 2, bytes: 8, array: BigInt64Array, float: false },
  i32: { id: 3, bytes: 4, array: Int32Array, float: false },
  i8: { id: 4, bytes: 1, array: Int8Array, float: false },
  u8: { id: 5, bytes: 1, array: Uint8Array, float: false },
  bool: { id: 6, bytes: 1, array: Uint8Array, float: false },
  f16: { id: 7, bytes: 2, array: Uint16Array, float: true },
  bf16: { id: 8, bytes: 2, array: Uint16Array, float: true },
};

/** Whether it is kept in 16 bits: computed with in f32, where it is computed with at all. */
export function isHalf(dtype: DType): dtype is 'f16' | 'bf16' {
  return dtype === 'f16' || dtype === 'bf16';
}

export function checkDtype(operation: string, dtype: DType): void {
  if (DTYPES[dtype] === undefined) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected one of ${Object.keys(DTYPES).join(', ')} for ${operation} but received ${String(dtype)}.`,
    );
  }
}

/** The least and the greatest number of an integer dtype that is also a number of JavaScript. */
const INTEGER_RANGES: Partial<Readonly<Record<DType, readonly [number, number]>>> = {
  i64: [-(2 ** 63), 2 ** 63 - 1024],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  i8: [-128, 127],
  u8: [0, 255],
};

/** Refuses a number that an integer dtype cannot hold. Floats round, and anything but zero is true. */
export function checkHeldBy(dtype: DType, value: number): void {
  const range = INTEGER_RANGES[dtype];
  if (range === undefined || (Number.isInteger(value) && value >= range[0] && value <= range[1])) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a whole number from ${range[0]} to ${range[1]} for ${dtype} but received ${value}.`,
  );
}

const BY_TAG: Readonly<Record<string, DType>> = {
  Float32Array: 'f32',
  Float64Array: 'f64',
  BigInt64Array: 'i64',
  Int32Array: 'i32',
  Int8Array: 'i8',
  Uint8Array: 'u8',
};

const tagOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get as (this: unknown) => string | undefined;

/** The class name of a typed array, whatever realm it comes from; undefined for anything else. */
export function typedArrayName(value: unknown): string | undefined {
  return ArrayBuffer.isView(value) ? tagOf.call(value) : undefined;
}

/** The dtype that a typed array holds. A `Uint16Array` needs `dtype` 'f16' or 'bf16' to say which. */
export function dtypeOf(array: TypedArray, dtype?: DType): DType {
  const name = typedArrayName(array);
  const natural = name === undefined ? undefined : BY_TAG[name];
  const chosen = dtype ?? natural;
  if (name === undefined || chosen === undefined || DTYPES[chosen]?.array.name !== name) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      dtype === undefined
        ? `Expected a typed array that holds a dtype by itself (${Object.keys(BY_TAG).join(', ')}) but received ${name ?? typeof array}; for a Uint16Array pass { dtype: 'f16' } or { dtype: 'bf16' }.`
        : `Expected ${DTYPES[dtype]?.array.name ?? 'a known dtype'} for dtype ${dtype} but received ${name ?? typeof array}.`,
    );
  }
  return chosen;
}
