import type { TypedArray } from '../native/index.js';
import type { BorrowedStorage, SharedStorage, Storage } from '../tensor/index.js';

const BINDING_WORDS = 3;

/** How many words the bindings of `slots` slots take: their number, then each of them. */
export function bindingWords(slots: number): number {
  return 1 + BINDING_WORDS * slots;
}

/**
 * Binds a slot to memory, `byteOffset` into the storage, in the layout of native/napi/run.h; returns where the next word
 * goes. A caller's array is named by its index in `borrowed`, to which it is added.
 */
export function writeBinding(
  page: Float64Array,
  at: number,
  storage: Storage,
  byteOffset: number,
  written: boolean,
  borrowed: TypedArray[],
): number {
  page[at] =
    storage.kind === 'shared'
      ? (storage as SharedStorage).handle
      : -borrowed.push((storage as BorrowedStorage).array);
  page[at + 1] = byteOffset;
  page[at + 2] = written ? 1 : 0;
  return at + BINDING_WORDS;
}
