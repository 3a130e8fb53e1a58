import type { TypedArray } from '../native/index.js';
import { type BorrowedStorage, SharedStorage, type Storage } from '../tensor/index.js';

const BINDING_WORDS = 3;

/** The memory that a call binds to its slots, in the layout of native/napi/run.h. */
export class Bindings {
  readonly storages: Storage[] = [];
  /** Callers' arrays among the storages, by the index that the command page uses. */
  readonly borrowed: TypedArray[] = [];
  readonly #slots = new Map<Storage, number>();
  readonly #byteOffsets: number[] = [];
  readonly #written: boolean[] = [];

  /** Binds the next slot, `byteOffset` into the storage; returns its number. */
  add(storage: Storage, written: boolean, byteOffset = 0): number {
    this.#byteOffsets.push(byteOffset);
    this.#written.push(written);
    return this.storages.push(storage) - 1;
  }

  /** The slot of a storage, bound now if it was not yet. */
  slotOf(storage: Storage, written: boolean): number {
    const known = this.#slots.get(storage);
    if (known !== undefined) {
      this.#written[known] ||= written;
      return known;
    }
    const slot = this.add(storage, written);
    this.#slots.set(storage, slot);
    return slot;
  }

  get words(): number {
    return 1 + BINDING_WORDS * this.storages.length;
  }

  write(page: Float64Array): number {
    let i = 0;
    page[i++] = this.storages.length;
    for (let slot = 0; slot < this.storages.length; slot++) {
      page[i++] = this.#handle(this.storages[slot]!);
      page[i++] = this.#byteOffsets[slot]!;
      page[i++] = this.#written[slot] ? 1 : 0;
    }
    return i;
  }

  #handle(storage: Storage): number {
    if (storage instanceof SharedStorage) return storage.handle;
    return -this.borrowed.push((storage as BorrowedStorage).array);
  }
}
