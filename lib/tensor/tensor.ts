import { DrivetrainError, inspect, type TypedArray } from '../native/index.js';
import { checkDtype, checkHeldBy, DTYPES, type DType, dtypeOf, typedArrayName } from './dtype.js';
import { toFloat16, toFloat32 } from './half.js';
import { currentPool, type MemoryPool } from './memory-pool.js';
import { checkOptions } from './options.js';
import { checkShape, formatShape, isRowMajor, rowMajorStrides, type Shape, sizeOf } from './shape.js';
import { BorrowedStorage, releaseWhenForgotten, SharedStorage, type Storage } from './storage.js';

const INSPECT_ELEMENTS = 1000;

/** Keeps a borrowed view's memory alive for as long as the view is. */
const owners = new WeakMap<TypedArray, Storage>();

/**
 * A dense array of numbers: storage, dtype, shape, strides and offset (both in elements). Made by `tensor`, `wrap`,
 * `zeros` and the like, and by every operation. Views share their storage, and so does what `dispose` ends.
 */
export class Tensor {
  readonly storage: Storage;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;

  /** For the floors above, unchecked; users call `tensor` or `wrap`. @internal */
  constructor(
    storage: Storage,
    dtype: DType,
    shape: Shape,
    strides: Shape = rowMajorStrides(shape),
    offset = 0,
  ) {
    this.storage = storage;
    this.dtype = dtype;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
    // Native code trusts all of them.
    Object.freeze(this);
  }

  /** The number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  get disposed(): boolean {
    return this.storage.disposed;
  }

  /** Whether the elements lie in row-major order without gaps. */
  get contiguous(): boolean {
    this.#contiguous ??= isRowMajor(this.shape, this.strides);
    return this.#contiguous;
  }
  #contiguous: boolean | undefined;

  /** An owned, row-major copy of the elements. Throws `DT_DISPOSED`, `DT_TENSOR_BUSY`, `DT_SYMBOLIC_VALUE`. */
  toArray(): TypedArray {
    return this.#readable((all) => {
      const { size } = this;
      if (this.contiguous) return all.slice(this.offset, this.offset + size);
      const out = new DTYPES[this.dtype].array(size);
      const index = new Array<number>(this.rank).fill(0);
      let from = this.offset;
      for (let to = 0; to < size; to++) {
        out[to] = all[from]!;
        for (let axis = this.rank - 1; axis >= 0; axis--) {
          from += this.strides[axis]!;
          if (++index[axis]! < this.shape[axis]!) break;
          from -= this.strides[axis]! * this.shape[axis]!;
          index[axis] = 0;
        }
      }
      return out;
    });
  }

  /** The same as `toArray`, but waits for awaited runs that write the tensor. */
  async read(): Promise<TypedArray> {
    for (;;) {
      try {
        return this.toArray();
      } catch (error) {
        if ((error as DrivetrainError).code !== 'DT_TENSOR_BUSY') throw error;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  /** The value of a tensor of one element, bool as 0 or 1. Throws for an i64 that no number holds exactly; see `toArray`. */
  item(): number {
    if (this.size !== 1) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected a tensor of one element for item() but received shape ${formatShape(this.shape)}; use toArray().`,
      );
    }
    const value = this.#readable((all) => all[this.offset]!);
    const number = Number(this.#decode(value));
    if (typeof value === 'bigint' && !Number.isSafeInteger(number)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected an i64 from -(2^53 - 1) to 2^53 - 1 for item() but the value is ${value}; use toArray()[0].`,
      );
    }
    return number;
  }

  /**
   * A view of the elements themselves, without a copy. It stays valid until the tensor is disposed or its scope ends,
   * keeps the memory from the garbage collector, and is not protected from awaited runs. Do not hand out its `buffer`:
   * it shows the pool's other tensors.
   */
  borrow(): TypedArray {
    this.checkUsable();
    if (this.storage.kind === 'symbolic') this.storage.view(this.dtype, 0, 0);
    if (!this.contiguous) {
      throw new DrivetrainError(
        'DT_NOT_CONTIGUOUS',
        `Expected a contiguous tensor for borrow() but received strides ${formatShape(this.strides)} for shape ${formatShape(this.shape)}; use contiguous(t).borrow() or toArray().`,
      );
    }
    const view = this.storage.view(this.dtype, this.offset, this.size);
    owners.set(view, this.storage);
    return view;
  }

  /**
   * Refuses writes to this tensor, and to every view of it, from now on (`DT_FROZEN`): programs that are recorded then
   * keep a copy of it in the layout of their kernels. Writes through `borrow()` are not noticed.
   */
  freeze(): this {
    this.checkUsable();
    this.storage.frozen = true;
    return this;
  }

  /**
   * Takes writes again, to this tensor and every view of it. Copies in the layout of kernels are let go: compiled functions
   * read the tensor itself until it is frozen again, and then a new copy. Runs in flight keep what they read. Throws
   * `DT_FROZEN` for the weight of a quantized layer, which is written by `loadStateDict` only.
   */
  unfreeze(): this {
    this.checkUsable();
    if (this.storage.sealed) {
      throw new DrivetrainError(
        'DT_FROZEN',
        `Expected a tensor that freeze() froze but received the weight of a quantized layer (shape ${formatShape(this.shape)}); put new values into it by loadStateDict.`,
      );
    }
    this.storage.unfreeze();
    return this;
  }

  /** Frees the memory of this tensor and of every view of it. Calling it again does nothing. */
  dispose(): void {
    this.storage.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Throws `DT_DISPOSED` or `DT_DETACHED_BUFFER` where the memory is gone. */
  checkUsable(): void {
    if (this.storage.disposed) {
      throw new DrivetrainError(
        'DT_DISPOSED',
        `Expected a tensor in use but received one of shape ${formatShape(this.shape)} that was disposed, by dispose() or by the end of its scope; return it from the scope to keep it.`,
      );
    }
    if (this.storage.kind === 'borrowed') (this.storage as BorrowedStorage).checkAttached();
  }

  /** Throws what writing to it (or reading it) now would throw; for what must happen to several tensors or to none. */
  checkReady(write: boolean): void {
    this.checkUsable();
    if (write && this.storage.frozen) {
      throw new DrivetrainError(
        'DT_FROZEN',
        `Expected a tensor that may be written but received a frozen one of shape ${formatShape(this.shape)}.`,
      );
    }
    if (this.storage instanceof SharedStorage) this.storage.locked(write, () => {});
  }

  /** Another tensor on the same storage; strides and offset in elements, unchecked. @internal */
  viewAs(shape: Shape, strides: Shape = rowMajorStrides(shape), offset: number = this.offset): Tensor {
    return new Tensor(this.storage, this.dtype, shape, strides, offset);
  }

  toJSON(): { dtype: DType; shape: readonly number[]; data: (number | string | boolean)[] } {
    const data = Array.from(this.toArray() as ArrayLike<number | bigint>, (value) => {
      const decoded = this.#decode(value);
      return typeof decoded === 'bigint' ? decoded.toString() : decoded;
    });
    return { dtype: this.dtype, shape: this.shape, data };
  }

  /** As text what `console.log` shows. There is no one number for JavaScript's operators, such as `+` and `<`. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return inspect(this);
    if (this.storage.kind === 'symbolic') this.storage.view(this.dtype, 0, 0);
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected numbers or text for an operator of JavaScript but received a tensor of shape ${formatShape(this.shape)}; tensors have add, mul, less and the like, and a tensor of one element has item().`,
    );
  }

  [inspect.custom](_depth: number, options: object): string {
    const head = `Tensor ${this.dtype} ${formatShape(this.shape)}`;
    if (this.storage.kind === 'symbolic') return `${head} (recorded)`;
    if (this.disposed) return `${head} (disposed)`;
    if (this.size > INSPECT_ELEMENTS) return `${head} { ${this.size} elements }`;
    try {
      const values = Array.from(this.toArray() as ArrayLike<number | bigint>, (value) => this.#decode(value));
      return `${head} ${inspect(nest(values, this.shape), options)}`;
    } catch (error) {
      // Looking at a tensor must not fail where it is in use, or its buffer was transferred.
      if (error instanceof DrivetrainError) return `${head} (${error.code})`;
      throw error;
    }
  }

  #decode(value: number | bigint): number | bigint | boolean {
    if (this.dtype === 'bool') return value !== 0;
    if (this.dtype === 'f16' || this.dtype === 'bf16') return toFloat32(value as number, this.dtype);
    return value;
  }

  /** Calls `access` with all elements of the storage while no run writes them. */
  #readable<T>(access: (all: TypedArray) => T): T {
    this.checkUsable();
    const { storage } = this;
    const all = storage.view(this.dtype, 0, Math.floor(storage.byteLength / DTYPES[this.dtype].bytes));
    return storage instanceof SharedStorage ? storage.locked(false, () => access(all)) : access(all);
  }
}

function nest(values: unknown[], shape: Shape): unknown {
  if (shape.length === 0) return values[0];
  if (shape.length === 1) return values;
  const [rows, ...rest] = shape;
  const width = sizeOf(rest);
  return Array.from({ length: rows! }, (_, i) => nest(values.slice(i * width, (i + 1) * width), rest));
}

/** A tensor of undefined content in pool memory: what every operation writes its result to. */
export function empty(shape: Shape, dtype: DType = 'f32', pool: MemoryPool = currentPool()): Tensor {
  checkShape(shape);
  return new Tensor(pool.allocate(sizeOf(shape) * DTYPES[dtype].bytes), dtype, shape);
}

export interface WrapOptions {
  /** Needed for a `Uint16Array` ('f16' or 'bf16'), and to read a `Uint8Array` as 'bool'. */
  dtype?: DType;
}

/**
 * A tensor over a caller's typed array, without a copy: what is written to one shows in the other. `shape` is
 * [array.length] unless given. Nothing needs to be disposed. Wraps of one array share a storage; programs refuse to write
 * memory that they know by two storages, so that another view of an array (`subarray`) is better sliced from its tensor.
 */
export function wrap(array: TypedArray, shape?: Shape, options: WrapOptions = {}): Tensor {
  checkOptions('wrap', options, ['dtype']);
  const dtype = dtypeOf(array, options.dtype);
  const fullShape = shape ?? [array.length];
  checkLength(array.length, fullShape);
  return new Tensor(storageOf(array), dtype, [...fullShape]);
}

/** The last tensor that `wrapLike` made of an array. */
const wrappedLike = new WeakMap<TypedArray, Tensor>();

/**
 * A tensor over a caller's array in the shape and dtype of another, contiguous one; undefined where the array has another
 * type or length. It is what `wrap` does, but an array that comes again costs one look-up. @internal
 */
export function wrapLike(array: TypedArray, like: Pick<Tensor, 'dtype' | 'shape'>): Tensor | undefined {
  const known = wrappedLike.get(array);
  if (known?.shape === like.shape && known.dtype === like.dtype && !known.disposed) return known;
  if (typedArrayName(array) !== DTYPES[like.dtype].array.name || array.length !== sizeOf(like.shape))
    return undefined;
  const made = new Tensor(storageOf(array), like.dtype, like.shape);
  wrappedLike.set(array, made);
  return made;
}

/** One storage for each array, however often it is wrapped, so that programs know it for the same. */
const wrapped = new WeakMap<TypedArray, Storage>();

function storageOf(array: TypedArray): Storage {
  let storage = wrapped.get(array);
  if (storage === undefined || storage.disposed) {
    storage = isShared(array) ? sharedStorageOf(array) : new BorrowedStorage(array);
    wrapped.set(array, storage);
  }
  return storage;
}

/** A caller's array on shared memory: a view of another thread's tensor, for example, whose locks it then shares. */
function sharedStorageOf(array: TypedArray): SharedStorage {
  const storage = new SharedStorage(new Uint8Array(array.buffer), array.byteOffset, array.byteLength);
  releaseWhenForgotten(storage);
  return storage;
}

function isShared(array: TypedArray): boolean {
  return Object.prototype.toString.call(array.buffer) === '[object SharedArrayBuffer]';
}

function checkLength(length: number, shape: Shape): void {
  checkShape(shape);
  if (sizeOf(shape) !== length) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected ${sizeOf(shape)} elements for shape ${formatShape(shape)} but received ${length}.`,
    );
  }
}

export interface TensorOptions {
  /** The shape; by default that of the nested arrays, or [length] for a typed array. */
  shape?: Shape;
  /** 'f32' for numbers unless given, the natural dtype for a typed array. */
  dtype?: DType;
}

/** A number, or equally long arrays of numbers, nested as deep as the shape. */
export type NestedNumbers = number | readonly NestedNumbers[];

/** A new tensor in pool memory with a copy of `data`: nested arrays of numbers, or a typed array in row-major order. */
export function tensor(data: NestedNumbers | TypedArray, options: TensorOptions = {}): Tensor {
  checkOptions('tensor', options, ['shape', 'dtype']);
  if (ArrayBuffer.isView(data)) {
    const dtype = dtypeOf(data as TypedArray, options.dtype);
    const shape = options.shape ?? [(data as TypedArray).length];
    checkLength((data as TypedArray).length, shape);
    return filled(shape, dtype, data as ArrayLike<number>);
  }
  const dtype = options.dtype ?? 'f32';
  checkDtype('tensor', dtype);
  const values: number[] = [];
  const nestedShape = flatten(data as NestedNumbers, values, 0);
  const shape = options.shape ?? nestedShape;
  checkLength(values.length, shape);
  return filled(shape, dtype, encode(values, dtype));
}

/** Copies values into a new tensor; they are in the dtype's own representation. */
function filled(shape: Shape, dtype: DType, values: ArrayLike<number> | ArrayLike<bigint>): Tensor {
  const made = empty([...shape], dtype);
  (made.storage.view(dtype, 0, values.length) as Float32Array).set(values as ArrayLike<number>);
  return made;
}

function flatten(data: NestedNumbers, into: number[], depth: number): number[] {
  if (typeof data === 'number') {
    into.push(data);
    return [];
  }
  if (!Array.isArray(data)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a number, nested arrays of numbers or a typed array but received ${typeof data}.`,
    );
  }
  let inner: number[] | undefined;
  for (const item of data as readonly NestedNumbers[]) {
    const shape = flatten(item, into, depth + 1);
    if (inner !== undefined && formatShape(inner) !== formatShape(shape)) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected nested arrays of equal length but received ${formatShape(inner)} beside ${formatShape(shape)} at depth ${depth + 1}.`,
      );
    }
    inner = shape;
  }
  return [data.length, ...(inner ?? [])];
}

function encode(values: number[], dtype: DType): ArrayLike<number> | ArrayLike<bigint> {
  for (const value of values) checkHeldBy(dtype, value);
  if (dtype === 'i64') return values.map((value) => BigInt(value));
  if (dtype === 'f16' || dtype === 'bf16') return values.map((value) => toFloat16(value, dtype));
  if (dtype === 'bool') return values.map((value) => (value ? 1 : 0));
  return values;
}
