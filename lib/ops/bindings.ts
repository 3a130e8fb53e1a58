import type { BorrowedStorage, SharedStorage, Storage } from '../tensor/index.js';

const BINDING_WORDS = 3;

/** How many words the bindings of `slots` slots take: their number, then each of them. */
export function bindingWords(slots: number): number {
  return 1 + BINDING_WORDS * slots;
}

/**
 * Binds a slot to memory, `byteOffset` into the storage, in the layout of native/napi/bindings.h; returns where the next
 * word goes. A caller's array is named by its address, and has to stay alive until the call is over.
 */
export function writeBinding(
  page: Float64Array,
  at: number,
  storage: Storage,
  byteOffset: number,
  written: boolean,
): number {
  if (storage.kind === 'shared') {
    page[at] = (storage as SharedStorage).handle;
    page[at + 1] = byteOffset;
  } else {
    page[at] = -1 - (storage.byteLength - byteOffset);
    page[at + 1] = (storage as BorrowedStorage).locate() + byteOffset;
  }
  page[at + 2] = written ? 1 : 0;
  return at + BINDING_WORDS;
}
