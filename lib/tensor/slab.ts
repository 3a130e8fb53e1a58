import { binding } from '../native/index.js';

/** Blocks are aligned to a cache line, which is also the widest vector. */
export const ALIGNMENT = 64;

const SLAB_BYTES = 16 * 2 ** 20;
const MAX_IDLE_BYTES = 256 * 2 ** 20;

/** One SharedArrayBuffer from which pools cut blocks. It can never be detached under a native pointer. */
export interface Slab {
  readonly bytes: Uint8Array;
  /** Where in memory the buffer begins. */
  readonly address: number;
  /** Where the first aligned byte is. */
  readonly base: number;
  /** Usable bytes from `base` on. */
  readonly size: number;
}

/**
 * Slabs that no pool uses, kept by size for the next one: V8 neither counts nor frees SharedArrayBuffers promptly, so
 * they are recycled, with their pages given back to the system. One list for the whole environment.
 */
const idle: Slab[] = [];
let idleBytes = 0;

/** A slab with room for `bytes`, recycled where one fits. */
export function acquireSlab(bytes: number): Slab {
  const wanted = bytes <= SLAB_BYTES ? SLAB_BYTES : Math.ceil(bytes / SLAB_BYTES) * SLAB_BYTES;
  const found = idle.findIndex((slab) => slab.size >= wanted && slab.size <= 2 * wanted);
  if (found >= 0) {
    const [slab] = idle.splice(found, 1);
    idleBytes -= slab!.size;
    return slab!;
  }
  const view = new Uint8Array(new SharedArrayBuffer(wanted + ALIGNMENT));
  binding.adjustExternalMemory(view.byteLength);
  const address = binding.address(view);
  const base = (ALIGNMENT - (address % ALIGNMENT)) % ALIGNMENT;
  return { bytes: view, address, base, size: wanted };
}

/** Gives a slab's pages back and keeps its address range for later; beyond the bound, lets go of it. */
export function releaseSlab(slab: Slab): void {
  binding.discardPages(slab.bytes, slab.base, slab.size);
  if (idleBytes + slab.size > MAX_IDLE_BYTES) {
    binding.adjustExternalMemory(-slab.bytes.byteLength);
    return;
  }
  idle.push(slab);
  idleBytes += slab.size;
}
