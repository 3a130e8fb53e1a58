import { totalmem } from 'node:os';
import { DrivetrainError, stackHere } from '../native/index.js';
import { type Block, BlockHeap, blockSize } from './block-heap.js';
import { describeHolders } from './holders.js';
import { PressureGauge, type PressureLevel, type PressureListener } from './memory-pressure.js';
import { checkOptions } from './options.js';
import { adopt, innermostPool, withScope } from './scope.js';
import { SharedStorage } from './storage.js';

export interface MemoryPoolOptions {
  /** Bytes that may be allocated at once; the default is half of the machine's memory. */
  limit?: number;
  /** Keeps a stack trace for every allocation (some microseconds each), for `leaks()`. */
  trackOrigins?: boolean;
}

export interface MemoryPoolStatistics {
  /** Bytes in blocks that are in use. */
  readonly current: number;
  readonly peak: number;
  /** Bytes ever allocated. */
  readonly total: number;
  /** Blocks in use. */
  readonly blocks: number;
  /** Bytes of the slabs that the pool holds. */
  readonly reserved: number;
  readonly largestFree: number;
  /** Allocations refused at the limit. */
  readonly failures: number;
  /** The share of the free bytes that lies outside the largest free block, from 0 to 1. */
  readonly fragmentation: number;
  /** How near to the limit `current` is. */
  readonly pressure: PressureLevel | undefined;
}

export interface Leak {
  readonly bytes: number;
  /** Where the block was allocated; absent unless the pool tracks origins. */
  readonly origin?: string;
}

/**
 * Hands out 64-byte-aligned blocks of large slabs, up to a limit near which listeners may free something. Not tied to any tensor's
 * life: `dispose` or a scope ends a block, and a FinalizationRegistry is the backstop for what was forgotten, which V8 is
 * asked to look for near the limit (it cannot run inside a synchronous loop).
 */
export class MemoryPool {
  readonly #heap = new BlockHeap();
  readonly #pressure = new PressureGauge();
  readonly #trackOrigins: boolean;
  #limit: number;
  /** Blocks in use. */
  #blocks = 0;
  #current = 0;
  #peak = 0;
  #total = 0;
  #failures = 0;
  #disposed = false;

  constructor(options: MemoryPoolOptions = {}) {
    checkOptions('MemoryPool', options, ['limit', 'trackOrigins']);
    this.#limit = checkLimit(options.limit ?? Math.floor(totalmem() / 2));
    this.#trackOrigins = options.trackOrigins ?? false;
  }

  get limit(): number {
    return this.#limit;
  }

  set limit(bytes: number) {
    this.#limit = checkLimit(bytes);
    this.#pressure.update(this.#current, this.#limit);
  }

  /** A block of at least `bytes`, its content undefined. Throws `DT_POOL_LIMIT` at the limit, `DT_DISPOSED` after `dispose`. */
  allocate(bytes: number): SharedStorage {
    if (!(Number.isSafeInteger(bytes) && bytes >= 0)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a whole number of bytes from 0 on for allocate but received ${bytes}.`,
      );
    }
    if (this.#disposed) {
      throw new DrivetrainError('DT_DISPOSED', 'Expected a pool in use but this one was disposed.');
    }
    const size = blockSize(bytes);
    const before = this.#current;
    if (before + size <= this.#limit) this.#pressure.update(before + size, this.#limit);
    // Listeners may have allocated.
    if (this.#current + size > this.#limit) this.#makeRoom(size, bytes);
    if (this.#current !== before) this.#pressure.update(this.#current + size, this.#limit);
    const block = this.#heap.take(size);
    if (this.#trackOrigins) block.origin = stackHere();
    this.#blocks++;
    this.#current += size;
    this.#total += size;
    this.#peak = Math.max(this.#peak, this.#current);
    const { slab, offset } = block;
    const storage = new SharedStorage(slab.bytes, offset, bytes, () => this.#free(block), slab.address);
    adopt(storage);
    return storage;
  }

  /**
   * Calls `listener` when 80 % of the limit are in use (`high`), when 95 % are (`critical`), each once until use has fallen
   * again, and whenever an allocation does not fit: what it frees then is there for that allocation. It runs inside of the
   * allocation, so that it must be short. Returns a function that ends it.
   */
  onPressure(listener: PressureListener): () => void {
    if (typeof listener !== 'function') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a function for onPressure but received ${typeof listener}.`,
      );
    }
    return this.#pressure.add(listener);
  }

  /**
   * Calls `fn` and frees every tensor that it made, from this pool, save those it returns (a tensor, or arrays and
   * objects of them). `fn` must be synchronous.
   */
  scope<T>(fn: () => T): T {
    return withScope(this, fn);
  }

  /** How near to the limit the bytes in use are; undefined below 80 %. */
  get pressure(): PressureLevel | undefined {
    return this.#pressure.level;
  }

  get statistics(): MemoryPoolStatistics {
    const { reserved, largestFree } = this.#heap;
    const free = reserved - this.#current;
    return {
      current: this.#current,
      peak: this.#peak,
      total: this.#total,
      blocks: this.#blocks,
      reserved,
      largestFree,
      failures: this.#failures,
      fragmentation: free === 0 ? 0 : 1 - largestFree / free,
      pressure: this.pressure,
    };
  }

  /** The blocks still in use, largest first. */
  leaks(): Leak[] {
    const leaks = [...this.#heap.inUse()].map(
      ({ size, origin }): Leak => (origin === undefined ? { bytes: size } : { bytes: size, origin }),
    );
    return leaks.sort((a, b) => b.bytes - a.bytes);
  }

  /** Refuses further allocations; slabs go as their last blocks do. */
  dispose(): void {
    this.#disposed = true;
    this.#heap.close();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Asks the listeners to free something, and refuses where that is not enough. */
  #makeRoom(size: number, bytes: number): void {
    this.#pressure.update(this.#current, this.#limit, this.#current + size - this.#limit);
    if (this.#current + size <= this.#limit) return;
    this.#failures++;
    throw new DrivetrainError(
      'DT_POOL_LIMIT',
      `Expected at most ${this.#limit} bytes in the pool but ${this.#current} are in use and ${bytes} more were asked for. Dispose tensors that are no longer needed, or make them inside pool.scope(() => …): the garbage collector cannot free them inside a synchronous loop. A larger limit is pool.limit = bytes. In use: ${describeHolders(this.#heap.inUse())}${this.#trackOrigins ? '' : '; a pool with trackOrigins tells where they were made'}.`,
    );
  }

  #free(block: Block): void {
    const { size } = block;
    this.#heap.give(block);
    this.#blocks--;
    this.#current -= size;
    this.#pressure.update(this.#current, this.#limit);
  }
}

function checkLimit(bytes: number): number {
  if (!(bytes > 0)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a pool limit above 0 bytes but received ${bytes}.`,
    );
  }
  return bytes;
}

/** The pool of every tensor that is made outside a scope. */
export const defaultPool = new MemoryPool();

/** Where a new tensor's memory comes from: the innermost scope's pool, or the default one. */
export function currentPool(): MemoryPool {
  return innermostPool() ?? defaultPool;
}
