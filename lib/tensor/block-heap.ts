import { binding } from '../native/index.js';
import { ALIGNMENT, acquireSlab, releaseSlab, type Slab } from './slab.js';

/** A range of a slab, linked to its neighbours; free ones are linked in a bin as well. */
export interface Block {
  readonly slab: Slab;
  offset: number;
  size: number;
  free: boolean;
  previous: Block | undefined;
  next: Block | undefined;
  previousInBin: Block | undefined;
  nextInBin: Block | undefined;
  /** Where it was allocated, if its pool keeps that. */
  origin: string | undefined;
}

const debug = process.env['DRIVETRAIN_DEBUG'] === '1';
const POISON = 0xff;
const { sanitized } = binding.deviceInfo();
/** Sanitized builds keep a gap behind each block that native code must not touch. */
const RED_ZONE = sanitized ? ALIGNMENT : 0;

/** Bytes of empty slabs that are kept with their pages; one is kept whatever its size. */
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

/** What a block of so many usable bytes takes. */
export function blockSize(bytes: number): number {
  return Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT) + RED_ZONE;
}

/**
 * Cuts 64-byte-aligned blocks from slabs, by size classes; freed blocks merge with their neighbours, and a slab without
 * blocks goes back to the process. It neither counts nor limits what it hands out: that is a pool's.
 */
export class BlockHeap {
  /** The first block of each slab; the others are linked to it. */
  readonly #slabs = new Map<Slab, Block>();
  /** The first block of each bin. */
  readonly #bins: (Block | undefined)[] = [];
  #reserved = 0;
  /** Bytes of slabs without a block in use. */
  #empty = 0;
  #closed = false;

  /** Bytes of the slabs that it holds. */
  get reserved(): number {
    return this.#reserved;
  }

  get largestFree(): number {
    let largest = 0;
    for (const first of this.#bins) {
      for (let block = first; block !== undefined; block = block.nextInBin)
        largest = Math.max(largest, block.size);
    }
    return largest;
  }

  /** A block of `size` bytes, which is one of `blockSize`. */
  take(size: number): Block {
    const block = this.#findFree(size) ?? this.#grow(size);
    if (block.size === block.slab.size) this.#empty -= block.size;
    this.#unbin(block);
    if (block.size > size) this.#cut(block, size);
    if (sanitized) binding.poison(block.slab.bytes, block.offset, size - RED_ZONE, false);
    return block;
  }

  give(block: Block): void {
    const { slab, offset, size } = block;
    if (debug) slab.bytes.fill(POISON, offset, offset + size);
    if (sanitized) binding.poison(slab.bytes, offset, size, true);
    block.origin = undefined;
    let merged = block;
    if (block.previous?.free) {
      merged = block.previous;
      this.#unbin(merged);
      absorbNext(merged);
    }
    if (merged.next?.free) {
      this.#unbin(merged.next);
      absorbNext(merged);
    }
    if (merged.size === slab.size) this.#releaseSlab(slab, merged);
    else this.#bin(merged);
  }

  /** The blocks in use. */
  *inUse(): Generator<Block> {
    for (const first of this.#slabs.values()) {
      for (let block: Block | undefined = first; block !== undefined; block = block.next) {
        if (!block.free) yield block;
      }
    }
  }

  /** Gives empty slabs back, and from now on each one whose last block has gone. */
  close(): void {
    this.#closed = true;
    this.#empty = 0;
    const free = this.#bins.splice(0);
    for (const first of free) {
      for (let block = first; block !== undefined; ) {
        const next = block.nextInBin;
        block.previousInBin = undefined;
        block.nextInBin = undefined;
        if (block.size === block.slab.size) this.#letGo(block.slab);
        else this.#bin(block);
        block = next;
      }
    }
  }

  /**
   * A free block that is large enough: the best of the first ones of its own bin, else any of the next bin that has one,
   * whose blocks all are. The look is short, or a heap of many fragments would take long to search.
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
    const block = newBlock(slab, slab.base, slab.size);
    this.#slabs.set(slab, block);
    this.#bin(block);
    return block;
  }

  /** Leaves the first `size` bytes to the block, and makes a free one of the rest. */
  #cut(block: Block, size: number): void {
    const rest = newBlock(block.slab, block.offset + size, block.size - size);
    rest.previous = block;
    rest.next = block.next;
    if (rest.next !== undefined) rest.next.previous = rest;
    block.next = rest;
    block.size = size;
    this.#bin(rest);
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

  /** Keeps some empty slabs, so that a loop at a slab's edge does not give pages back and fault them in each time. */
  #releaseSlab(slab: Slab, whole: Block): void {
    if (!this.#closed && (this.#empty === 0 || this.#empty + slab.size <= MAX_EMPTY_BYTES)) {
      this.#empty += slab.size;
      this.#bin(whole);
      return;
    }
    this.#letGo(slab);
  }

  #letGo(slab: Slab): void {
    if (sanitized) binding.poison(slab.bytes, slab.base, slab.size, false);
    this.#slabs.delete(slab);
    this.#reserved -= slab.size;
    releaseSlab(slab);
  }
}

function newBlock(slab: Slab, offset: number, size: number): Block {
  return {
    slab,
    offset,
    size,
    free: false,
    previous: undefined,
    next: undefined,
    previousInBin: undefined,
    nextInBin: undefined,
    origin: undefined,
  };
}

function absorbNext(block: Block): void {
  const next = block.next!;
  block.size += next.size;
  block.next = next.next;
  if (block.next !== undefined) block.next.previous = block;
  // A dead block in the collector's old generation must not keep those alive that it was linked to.
  next.previous = undefined;
  next.next = undefined;
}
