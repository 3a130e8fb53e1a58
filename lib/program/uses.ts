import type { Storage } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import type { Step } from './record.js';

/** Stands for whoever receives a program's results. */
const CALLER = Number.POSITIVE_INFINITY;

const NOBODY: readonly number[] = [];

/** Which steps make, read and write storages, by their places, and what it means for memory to do one later. */
export class Uses {
  readonly #steps: readonly Step[];
  readonly #producers = new Map<Storage, number>();
  readonly #readers = new Map<Storage, number[]>();
  readonly #writers = new Map<Storage, number[]>();
  readonly #lastUse = new Map<Storage, number>();
  /** Steps that are done at a later place. */
  readonly #moved = new Set<number>();

  constructor(steps: readonly Step[], outputs: readonly Storage[]) {
    this.#steps = steps;
    steps.forEach((step, at) => {
      for (const { storage } of step.inputs) {
        append(this.#readers, storage, at);
        this.#lastUse.set(storage, at);
      }
      for (const { storage } of writtenBy(step)) append(this.#writers, storage, at);
      for (const { storage } of step.outputs) this.#producers.set(storage, at);
    });
    for (const storage of outputs) {
      append(this.#readers, storage, CALLER);
      this.#lastUse.set(storage, CALLER);
    }
  }

  producerOf(storage: Storage): number | undefined {
    return this.#producers.get(storage);
  }

  readersOf(storage: Storage): readonly number[] {
    return this.#readers.get(storage) ?? NOBODY;
  }

  /** The number that all elements of a storage are; undefined where that is not known. */
  constantOf(storage: Storage): number | undefined {
    const at = this.#producers.get(storage);
    const step = at === undefined ? undefined : this.#steps[at]!;
    return step?.op.name === 'fill' ? (step.attrs as { value: number }).value : undefined;
  }

  /** Where a storage is read last. */
  lastUse(storage: Storage): number {
    return this.#lastUse.get(storage) ?? -1;
  }

  moveTo(step: number, place: number): void {
    this.#moved.add(step);
    for (const { storage } of this.#steps[step]!.inputs) {
      this.#lastUse.set(storage, Math.max(place, this.lastUse(storage)));
    }
  }

  /**
   * Whether a step may be done at a later place instead, together with `others`: nothing that it reads is written before,
   * and what lives longer so that it can be read there takes no more memory than the result that need not live.
   */
  mayMove(at: number, place: number, others: ReadonlySet<number>): boolean {
    const { inputs, outputs } = this.#steps[at]!;
    const storages = new Set(inputs.map(({ storage }) => storage));
    let kept = 0;
    for (const storage of storages) {
      if ((this.#writers.get(storage) ?? NOBODY).some((writer) => writer > at && writer <= place))
        return false;
      if (this.#producers.has(storage) && this.lastUse(storage) < place) kept += storage.byteLength;
    }
    if (kept <= outputs[0]!.storage.byteLength) return true;
    for (let between = at + 1; between < place; between++) {
      const idle =
        others.has(between) || this.#moved.has(between) || this.#steps[between]!.op.name === 'fill';
      if (!idle) return false;
    }
    return true;
  }
}

function append<K>(map: Map<K, number[]>, key: K, value: number): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [value]);
  else known.push(value);
}
