import { type MemoryPool, SharedStorage, type Storage, type Tensor } from '../tensor/index.js';

/** What a run allocates, and frees at its end unless it is handed out. */
export class RunMemory {
  readonly temporaries: Storage[] = [];
  readonly outputs: Tensor[] = [];
  /** Packed copies, kept until it ends. */
  readonly pinned: SharedStorage[] = [];
  handedOut = false;

  dispose(): void {
    for (const storage of this.pinned) storage.leaveRun();
    for (const storage of this.temporaries) storage.dispose();
    if (!this.handedOut) for (const output of this.outputs) output.dispose();
  }
}

/** A copy of a storage as it is now. */
export function snapshot(source: Storage, pool: MemoryPool): SharedStorage {
  const bytes = (storage: Storage) => storage.view('u8', 0, source.byteLength) as Uint8Array;
  const original = bytes(source);
  const copy = pool.allocate(source.byteLength);
  const fill = () => bytes(copy).set(original);
  try {
    if (source instanceof SharedStorage) source.locked(false, fill);
    else fill();
    return copy;
  } catch (error) {
    copy.dispose();
    throw error;
  }
}
