import { binding } from '../native/index.js';
import { type MemoryPool, outsideScopes, type SharedStorage } from '../tensor/index.js';

interface Arena {
  readonly pool: MemoryPool;
  readonly storage: SharedStorage;
  /** Runs that were given it and have not ended. */
  users: number;
}

/**
 * The memory for the temporaries of one program's awaited runs: a block each, but no more of them than there are threads
 * to work in them. Runs beyond that queue for a block, by its lock, as they do for whatever else a run writes: they keep
 * their place in the order of all runs, and hold no thread.
 */
export class Arenas {
  readonly #bytes: number;
  readonly #limit = binding.deviceInfo().threads;
  readonly #arenas = new Set<Arena>();

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(pool: MemoryPool): Arena {
    const own = [...this.#arenas].filter((arena) => arena.pool === pool);
    let arena: Arena;
    if (own.length < this.#limit) {
      // The end of a scope round one run must not take it from the others.
      arena = { pool, storage: outsideScopes(() => pool.allocate(this.#bytes)), users: 0 };
      this.#arenas.add(arena);
    } else {
      arena = own.reduce((least, other) => (other.users < least.users ? other : least));
    }
    arena.users++;
    return arena;
  }

  giveBack(arena: Arena): void {
    if (--arena.users > 0) return;
    this.#arenas.delete(arena);
    arena.storage.dispose();
  }
}
