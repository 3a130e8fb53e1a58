import { hintCollector } from './collector.js';

/** How near a pool is to its limit. */
export type PressureLevel = 'high' | 'critical';

/** The shares of the limit from which on pressure has a level. */
const FROM: readonly (readonly [share: number, level: PressureLevel])[] = [
  [0.95, 'critical'],
  [0.8, 'high'],
];
/** Pressure is over when use has fallen by this share of the limit below where it began, so that it does not flicker. */
const SLACK = 0.05;

export interface MemoryPressure {
  readonly level: PressureLevel;
  /** Bytes in use. */
  readonly used: number;
  readonly limit: number;
  /** Bytes that are asked for and do not fit unless something is freed; 0 where all fits still. */
  readonly missing: number;
}

/** Frees what can be done without: caches, batches that have not begun. Called inside of an allocation. */
export type PressureListener = (pressure: MemoryPressure) => void;

/** Tells listeners, and the collector, when use comes near a limit: once for each level, until it has fallen again. */
export class PressureGauge {
  readonly #listeners = new Set<PressureListener>();
  #level: PressureLevel | undefined;
  #telling = false;

  /** Returns a function that ends it. */
  add(listener: PressureListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get level(): PressureLevel | undefined {
    return this.#level;
  }

  /** Notes what is in use; where `missing` bytes do not fit, listeners are asked whatever they were told before. */
  update(used: number, limit: number, missing = 0): void {
    // What a listener allocates or frees must not call it again, nor count without the allocation that it was told of.
    if (this.#telling) return;
    const before = this.#level;
    this.#level = levelOf(used / limit, before);
    const level = missing > 0 ? 'critical' : this.#level;
    const rises = rank(this.#level) > rank(before);
    if (level === undefined || !(missing > 0 || rises)) return;
    this.#telling = true;
    const failures: unknown[] = [];
    for (const listener of [...this.#listeners]) {
      try {
        listener({ level, used, limit, missing });
      } catch (error) {
        failures.push(error);
      }
    }
    this.#telling = false;
    // After the listeners, which may have let go of something. Not for what is missing now: it would come too late.
    if (rises) hintCollector(level);
    if (failures.length > 0) throw failures[0];
  }
}

function levelOf(share: number, before: PressureLevel | undefined): PressureLevel | undefined {
  for (const [from, level] of FROM) {
    if (share >= (rank(before) >= rank(level) ? from - SLACK : from)) return level;
  }
  return undefined;
}

const rank = (level: PressureLevel | undefined) => (level === undefined ? 0 : level === 'high' ? 1 : 2);
