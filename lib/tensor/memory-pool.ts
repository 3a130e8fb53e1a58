import { totalmem } from 'node:os';
import { binding, DrivetrainError } from '../native/index.js';
import { checkOptions } from './options.js';
import { adopt, innermostPool, withScope } from './scope.js';
import { ALIGNMENT, acquireSlab, releaseSlab, type Slab } from './slab.js';
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
}

export interface Leak {
  readonly bytes: number;
  /** Where the block was allocated; absent unless the pool tracks origins. */
  readonly origin?: string;
}

/** A range of a slab, linked to its neighbours; free ones are linked in a bin as well. */
interface Block {
  readonly slab: Slab;
  offset: number;
  size: number;
  free: boolean;
  previous: Block | undefined;
  next: Block | undefined;
  previousInBin: Block | undefined;
  nextInBin: Block | undefined;
  origin: string | undefined;
}

const debug = process.env['DRIVETRAIN_DEBUG'] === '1';
const POISON = 0xff;
const { sanitized } = binding.deviceInfo();
/** Sanitized builds keep a gap behind each block that native code must not touch. */
const RED_ZONE = sanitized ? ALIGNMENT : 0;

/** Bytes of empty slabs that a pool keeps with their pages; one it keeps whatever its size. */
const MAX_EMPTY_BYTES = 64 * 2 ** 20;

/** Free blocks of its own bin that an allocation looks at. */
const MAX_LOOKS = 32;

/** Two bins for each power of two, counted in units of the alignment; the last one has no upper end. */
function binOf(size: number): number {
  const units = Math.min(size / ALIGNMENT, 2 ** 31);
  const power = 31 - Math.clz32(units);
  const upperHalf = (units >>> (power - 1)) & 1;
  return 2 * power + upperHalf;
}

/**
 * Hands out 64-byte-aligned blocks of large slabs, up to a limit. Freed blocks merge with their neighbours; a slab
 * without blocks goes back to the process. Not tied to any tensor's life: `dispose` or a scope ends a block, and a
 * FinalizationRegistry is the backstop for what was forgotten (it cannot run inside a synchronous loop).
 */
export class MemoryPool {
  /** The first block of each slab; the others are linked to it. */
  readonly #slabs = new Map<Slab, Block>();
  /** The first block of each bin. */
  readonly #bins: (Block | undefined)[] = [];
  readonly #trackOrigins: boolean;
  #limit: number;
  /** Blocks in use. */
  #blocks = 0;
  #current = 0;
  #peak = 0;
  #total = 0;
  #reserved = 0;
  /** Bytes of slabs without a block in use. */
  #empty = 0;
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
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT) + RED_ZONE;
    if (this.#current + size > this.#limit) this.#refuse(bytes);
    const block = this.#findFree(size) ?? this.#grow(size);
    this.#take(block, size);
    const { slab, offset } = block;
    if (sanitized) binding.poison(slab.bytes, offset, size - RED_ZONE, false);
    const storage = new SharedStorage(slab.bytes, offset, bytes, () => this.#free(block), slab.address);
    adopt(storage);
    return storage;
  }

  /**
   * Calls `fn` and frees every tensor that it made, from this pool, save those it returns (a tensor, or arrays and
   * objects of them). `fn` must be synchronous.
   */
  scope<T>(fn: () => T): T {
    return withScope(this, fn);
  }

  get statistics(): MemoryPoolStatistics {
    let largestFree = 0;
    for (const first of this.#bins) {
      for (let block = first; block !== undefined; block = block.nextInBin) {
        largestFree = Math.max(largestFree, block.size);
      }
    }
    const free = this.#reserved - this.#current;
    return {
      current: this.#current,
      peak: this.#peak,
      total: this.#total,
      blocks: this.#blocks,
      reserved: this.#reserved,
      largestFree,
      failures: this.#failures,
      fragmentation: free === 0 ? 0 : 1 - largestFree / free,
    };
  }

  /** The blocks still in use, largest first. */
  leaks(): Leak[] {
    const leaks: Leak[] = [];
    for (const first of this.#slabs.values()) {
      for (let block: Block | undefined = first; block !== undefined; block = block.next) {
        const { free, size, origin } = block;
        if (!free) leaks.push(origin === undefined ? { bytes: size } : { bytes: size, origin });
      }
    }
    return leaks.sort((a, b) => b.bytes - a.bytes);
  }

  /** Refuses further allocations; slabs go as their last blocks do. */
  dispose(): void {
    this.#disposed = true;
    this.#empty = 0;
    const free = this.#bins.splice(0);
    for (const first of free) {
      for (let block = first; block !== undefined; ) {
        const next = block.nextInBin;
        block.previousInBin = undefined;
        block.nextInBin = undefined;
        if (block.size === block.slab.size) this.#releaseSlab(block.slab, block);
        else this.#bin(block);
        block = next;
      }
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #refuse(bytes: number): never {
    this.#failures++;
    throw new DrivetrainError(
      'DT_POOL_LIMIT',
      `Expected at most ${this.#limit} bytes in the pool but ${this.#current} are in use and ${bytes} more were asked for. Dispose tensors that are no longer needed, or make them inside pool.scope(() => …): the garbage collector cannot free them inside a synchronous loop. A larger limit is pool.limit = bytes.`,
    );
  }

  /**
   * A free block that is large enough: the best of the first ones of its own bin, else any of the next bin that has one,
   * whose blocks all are. The look is short, or a pool of many fragments would take long to search.
   */
  #findFree(size: number): Block | undefined {
    const own = binOf(size);
    let best: Block | undefined;
    let block = this.#bins[own];
    for (let looks = 0; block !== undefined && looks < MAX_LOOKS; looks++) {
      if (block.size === size) return block;
      if (block.size > size && (best === undefined || block.size < best.size)) best = block;
      block = block.nextInBin;
    }
    for (let bin = own + 1; best === undefined && bin < this.#bins.length; bin++) best = this.#bins[bin];
    return best;
  }

  #grow(size: number): Block {
    const slab = acquireSlab(size);
    if (sanitized) binding.poison(slab.bytes, slab.base, slab.size, true);
    this.#reserved += slab.size;
    this.#empty += slab.size;
    const block: Block = {
      slab,
      offset: slab.base,
      size: slab.size,
      free: false,
      previous: undefined,
      next: undefined,
      previousInBin: undefined,
      nextInBin: undefined,
      origin: undefined,
    };
    this.#slabs.set(slab, block);
    this.#bin(block);
    return block;
  }

  #bin(block: Block): void {
    const index = binOf(block.size);
    while (this.#bins.length <= index) this.#bins.push(undefined);
    const first = this.#bins[index];
    block.free = true;
    block.nextInBin = first;
    if (first !== undefined) first.previousInBin = block;
    this.#bins[index] = block;
  }

  #unbin(block: Block): void {
    const { previousInBin: previous, nextInBin: next } = block;
    if (previous === undefined) this.#bins[binOf(block.size)] = next;
    else previous.nextInBin = next;
    if (next !== undefined) next.previousInBin = previous;
    block.free = false;
    block.previousInBin = undefined;
    block.nextInBin = undefined;
  }

  #take(block: Block, size: number): void {
    if (block.size === block.slab.size) this.#empty -= block.size;
    this.#unbin(block);
    if (block.size > size) {
      const rest: Block = {
        slab: block.slab,
        offset: block.offset + size,
        size: block.size - size,
        free: false,
        previous: block,
        next: block.next,
        previousInBin: undefined,
        nextInBin: undefined,
        origin: undefined,
      };
      if (rest.next !== undefined) rest.next.previous = rest;
      block.next = rest;
      block.size = size;
      this.#bin(rest);
    }
    if (this.#trackOrigins) block.origin = new Error('allocated here').stack;
    this.#blocks++;
    this.#current += size;
    this.#total += size;
    this.#peak = Math.max(this.#peak, this.#current);
  }

  #free(block: Block): void {
    const { slab, offset, size } = block;
    if (debug) slab.bytes.fill(POISON, offset, offset + size);
    if (sanitized) binding.poison(slab.bytes, offset, size, true);
    this.#blocks--;
    this.#current -= size;
    block.origin = undefined;
    let merged = block;
    if (block.previous?.free) {
      merged = block.previous;
      this.#unbin(merged);
      this.#absorbNext(merged);
    }
    if (merged.next?.free) {
      this.#unbin(merged.next);
      this.#absorbNext(merged);
    }
    if (merged.size === slab.size) this.#releaseSlab(slab, merged);
    else this.#bin(merged);
  }

  #absorbNext(block: Block): void {
    const next = block.next!;
    block.size += next.size;
    block.next = next.next;
    if (block.next !== undefined) block.next.previous = block;
  }

  /** Keeps some empty slabs, so that a loop at a slab's edge does not give pages back and fault them in each time. */
  #releaseSlab(slab: Slab, whole: Block): void {
    if (!this.#disposed && (this.#empty === 0 || this.#empty + slab.size <= MAX_EMPTY_BYTES)) {
      this.#empty += slab.size;
      this.#bin(whole);
      return;
    }
    if (sanitized) binding.poison(slab.bytes, slab.base, slab.size, false);
    this.#slabs.delete(slab);
    this.#reserved -= slab.size;
    releaseSlab(slab);
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
