import { binding, DrivetrainError, type TypedArray } from '../native/index.js';
import { DTYPES, type DType } from './dtype.js';

/** Gives a block of pool memory back; what a storage keeps of its pool. */
export type Release = () => void;

/** How often a storage that is `watched` was disposed, frozen or thawed. */
let changes = 0;
export function changesOfWatched(): number {
  return changes;
}

/**
 * The bytes behind one or more tensors.
 *
 * - `shared`: a block of a pool's slab (or a caller's array on a SharedArrayBuffer): native code may hold on to it.
 * - `borrowed`: a caller's typed array on an ArrayBuffer: checked for being attached at each call, copied for awaited runs.
 * - `symbolic`: a value in a program that is being recorded; it has no bytes yet.
 * - `packed`: in a program, the copy of a frozen storage in the layout of kernels.
 */
export abstract class Storage {
  abstract readonly kind: 'shared' | 'borrowed' | 'symbolic' | 'packed';
  readonly byteLength: number;
  /** Where its first byte lies: in the process's memory, or, where `buffer` is set, in that ArrayBuffer. */
  readonly address: number;
  readonly buffer: ArrayBufferLike | undefined;
  /** Whether it is an array of the caller's, which may change without our knowing and be wrapped more than once. */
  readonly callerOwned: boolean;
  /** Counted in `changesOfWatched`, for those who would have to ask thousands of storages whether they are as they were. */
  watched = false;
  #frozen = false;
  /** Frozen for good: something outside of it holds a copy in another layout. */
  sealed = false;

  constructor(byteLength: number, callerOwned: boolean, address = 0, buffer?: ArrayBufferLike) {
    this.byteLength = byteLength;
    this.callerOwned = callerOwned;
    this.address = address;
    this.buffer = buffer;
  }

  get disposed(): boolean {
    return false;
  }

  /** Writes are refused, so that copies in another layout never go stale. */
  get frozen(): boolean {
    return this.#frozen;
  }

  set frozen(frozen: boolean) {
    if (frozen === this.#frozen) return;
    this.#frozen = frozen;
    this.noteChange();
  }

  protected noteChange(): void {
    if (this.watched) changes++;
  }

  /** Whether its memory is there. */
  get usable(): boolean {
    return !this.disposed;
  }

  dispose(): void {}

  /** Takes writes again. */
  unfreeze(): void {
    this.frozen = false;
  }

  /** A view of `length` elements from element `offset` on. */
  abstract view(dtype: DType, offset: number, length: number): TypedArray;
}

export class SharedStorage extends Storage {
  readonly kind = 'shared';
  /** The native handle. */
  readonly handle: number;
  readonly #bytes: Uint8Array;
  readonly #byteOffset: number;
  /** Frees the memory, once, without referring to this object: also for a FinalizationRegistry. */
  readonly finalize: Release;
  #disposed = false;
  #runs = 0;
  /** Copies of a frozen storage's content in other layouts. */
  #layouts: Map<string, SharedStorage> | undefined;

  /**
   * `bytes` is the whole slab, at `address` in memory; `release` gives the block back, and is absent where the memory is
   * a caller's.
   */
  constructor(
    bytes: Uint8Array,
    byteOffset: number,
    byteLength: number,
    release?: Release,
    address = binding.address(bytes),
  ) {
    super(byteLength, release === undefined, address + byteOffset);
    this.#bytes = bytes;
    this.#byteOffset = byteOffset;
    this.handle = binding.createStorage(this.address, byteLength);
    this.finalize = onceReleased(this.handle, release);
  }

  /** Whether the registry of what is forgotten knows it. */
  isRegistered = false;

  override get disposed(): boolean {
    return this.#disposed;
  }

  /** A run that uses this storage was submitted: the block is kept until `leaveRun`, even past `dispose`. */
  enterRun(): void {
    this.#runs++;
  }

  leaveRun(): void {
    this.#runs--;
    if (this.#disposed && this.#runs === 0) this.finalize();
  }

  override dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.noteChange();
    // What is registered counts as used in the collector's young generation, and would all grow old.
    if (this.isRegistered) forgotten.unregister(this);
    if (this.#runs === 0) this.finalize();
    this.#dropLayouts();
  }

  /** Copies in other layouts would go stale: they are disposed. A run that reads one keeps it until it ends. */
  override unfreeze(): void {
    super.unfreeze();
    this.#dropLayouts();
  }

  /** The copy of this frozen storage's content that is known by `key`, made by `make` where there is none; disposed with it. */
  layout(key: string, make: () => SharedStorage): SharedStorage {
    this.#layouts ??= new Map();
    let made = this.#layouts.get(key);
    if (made === undefined) {
      made = make();
      this.#layouts.set(key, made);
    }
    return made;
  }

  /** Disposes the copies in other layouts that no run reads. */
  dropIdleLayouts(): void {
    for (const [key, layout] of this.#layouts ?? []) {
      if (layout.#runs > 0) continue;
      layout.dispose();
      this.#layouts!.delete(key);
    }
  }

  #dropLayouts(): void {
    for (const layout of this.#layouts?.values() ?? []) layout.dispose();
    this.#layouts = undefined;
  }

  view(dtype: DType, offset: number, length: number): TypedArray {
    const { array, bytes } = DTYPES[dtype];
    return new array(this.#bytes.buffer, this.#bytes.byteOffset + this.#byteOffset + offset * bytes, length);
  }

  /** Runs `access` while no awaited run may write to (or, for a write, use) these bytes. */
  locked<T>(write: boolean, access: () => T): T {
    if (!binding.lock(this.handle, write)) throw busy();
    try {
      return access();
    } finally {
      binding.unlock(this.handle, write);
    }
  }
}

const forgotten = new FinalizationRegistry<Release>((finalize) => finalize());

/** Storages too young to be registered: most are disposed first, and a registration costs more than all else of one. */
let young: SharedStorage[] = [];
const MAX_YOUNG = 64;

/** Frees the storage when nothing refers to it any more: the backstop, which no synchronous loop gives a chance. */
export function releaseWhenForgotten(storage: SharedStorage): void {
  if (young.length === 0) queueMicrotask(registerYoung);
  else if (young.length === MAX_YOUNG) registerYoung();
  young.push(storage);
}

function registerYoung(): void {
  const grown = young;
  young = [];
  for (const storage of grown) {
    if (storage.disposed) continue;
    forgotten.register(storage, storage.finalize, storage);
    storage.isRegistered = true;
  }
}

/** It forgets `release` when it has called it, and with that the block. */
function onceReleased(handle: number, release: Release | undefined): Release {
  let pending = true;
  let then = release;
  return () => {
    if (!pending) return;
    pending = false;
    binding.releaseStorage(handle);
    then?.();
    then = undefined;
  };
}

export class BorrowedStorage extends Storage {
  readonly kind = 'borrowed';
  readonly array: TypedArray;
  readonly #length: number;
  #place: number | undefined;

  constructor(array: TypedArray) {
    super(array.byteLength, true, array.byteOffset, array.buffer);
    this.array = array;
    this.#length = array.length;
  }

  view(dtype: DType, offset: number, length: number): TypedArray {
    this.checkAttached();
    const { array, bytes } = DTYPES[dtype];
    return new array(this.array.buffer, this.array.byteOffset + offset * bytes, length);
  }

  /**
   * Where in the process's memory the array is. That holds for as long as the buffer is attached: a typed array whose
   * `buffer` was asked for, as it was here, has its elements outside of the heap that is moved.
   */
  locate(): number {
    this.checkAttached();
    this.#place ??= binding.address(this.array);
    return this.#place;
  }

  /** A transferred buffer leaves its views with no length. (V8 compiles `length` to a load, `byteLength` to a call.) */
  override get usable(): boolean {
    return this.array.length === this.#length;
  }

  checkAttached(): void {
    if (!this.usable) {
      throw new DrivetrainError(
        'DT_DETACHED_BUFFER',
        `Expected the typed array of ${this.byteLength} bytes that this tensor wraps but its buffer was transferred or resized; wrap a copy, or make a pool tensor with tensor(array).`,
      );
    }
  }
}

export class SymbolicStorage extends Storage {
  readonly kind = 'symbolic';

  constructor(byteLength: number) {
    super(byteLength, false);
  }

  view(): TypedArray {
    throw new DrivetrainError(
      'DT_SYMBOLIC_VALUE',
      'Expected a tensor with a value but received one that is being recorded: inside compile(fn) values are not known yet. Return the tensor and read it after the run.',
    );
  }
}

export function busy(): DrivetrainError {
  return new DrivetrainError(
    'DT_TENSOR_BUSY',
    'Expected a tensor that no awaited run is using, but one is writing to it (or reading what this call would write); await the run first.',
  );
}
