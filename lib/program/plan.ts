import { DTYPES, type Storage, type Tensor } from '../tensor/index.js';
import type { Step } from './record.js';

const ALIGNMENT = 64;

/** Where each temporary of a program lies in its arena. */
export interface MemoryPlan {
  readonly offsets: ReadonlyMap<Storage, number>;
  readonly report: MemoryReport;
}

export interface MemoryReport {
  /** Bytes of the arena that one run needs. */
  readonly planned: number;
  /** Bytes that the temporaries would take with memory of their own each. */
  readonly naive: number;
  /** planned / naive; 1 where there are no temporaries. */
  readonly reuse: number;
}

/** A temporary, or several that take the same memory in turn. */
interface Interval {
  readonly storages: Storage[];
  bytes: number;
  first: number;
  last: number;
  offset: number;
}

/**
 * Lays temporaries (all symbolic storages but those `elsewhere`: inputs and outputs) out so that those alive at the same
 * time do not overlap: largest first, each at the lowest gap.
 */
export function planMemory(steps: readonly Step[], elsewhere: ReadonlySet<Storage>): MemoryPlan {
  const intervals = mergeInPlace(steps, lifetimes(steps, elsewhere));
  const ordered = [...new Set(intervals.values())].sort((a, b) => b.bytes - a.bytes);
  const placed = new Placed(ordered.length);
  const offsets = new Map<Storage, number>();
  let [planned, naive] = [0, 0];
  for (const interval of ordered) {
    interval.offset = placed.lowestGap(interval);
    placed.add(interval);
    planned = Math.max(planned, interval.offset + interval.bytes);
    for (const storage of interval.storages) {
      offsets.set(storage, interval.offset);
      naive += align(storage.byteLength);
    }
  }
  return { offsets, report: { planned, naive, reuse: naive === 0 ? 1 : planned / naive } };
}

/** What a block of so many bytes takes of an arena, or of a pool. */
export function align(bytes: number): number {
  return Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
}

/** From the step that makes each temporary to the last that reads it. */
function lifetimes(steps: readonly Step[], elsewhere: ReadonlySet<Storage>): Map<Storage, Interval> {
  const intervals = new Map<Storage, Interval>();
  steps.forEach(({ inputs, outputs }, at) => {
    for (const { storage } of [...inputs, ...outputs]) {
      if (storage.kind !== 'symbolic' || elsewhere.has(storage)) continue;
      const known = intervals.get(storage);
      if (known !== undefined) known.last = at;
      else {
        intervals.set(storage, {
          storages: [storage],
          bytes: align(storage.byteLength),
          first: at,
          last: at,
          offset: 0,
        });
      }
    }
  });
  return intervals;
}

/** Lets the output of an elementwise step take the memory of its first input, where that one ends there. */
function mergeInPlace(steps: readonly Step[], intervals: Map<Storage, Interval>): Map<Storage, Interval> {
  steps.forEach(({ op, inputs, outputs }, at) => {
    const [input] = inputs;
    const [output] = outputs;
    if (!op.inPlace || input === undefined || output === undefined) return;
    const from = intervals.get(input.storage);
    const to = intervals.get(output.storage);
    if (from === undefined || to === undefined || from === to || from.last !== at || to.first !== at) return;
    if (
      !coversStorage(input) ||
      !coversStorage(output) ||
      input.storage.byteLength !== output.storage.byteLength
    ) {
      return;
    }
    const readOtherwise = inputs.some(
      (other) => other.storage === input.storage && !sameLayout(other, input),
    );
    if (readOtherwise) return;
    from.last = to.last;
    from.storages.push(...to.storages);
    for (const storage of to.storages) intervals.set(storage, from);
  });
  return intervals;
}

/** Whether the tensor is all of its storage, in order. */
export function coversStorage({ contiguous, size, dtype, storage }: Tensor): boolean {
  return contiguous && size * DTYPES[dtype].bytes === storage.byteLength;
}

function sameLayout(a: Tensor, b: Tensor): boolean {
  return a.contiguous && b.contiguous && a.offset === b.offset && a.size === b.size;
}

/** Intervals that have their place, in the order of their offsets: in columns, which many intervals run through. */
class Placed {
  #count = 0;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #begin: Float64Array;
  readonly #end: Float64Array;

  constructor(capacity: number) {
    this.#first = new Int32Array(capacity);
    this.#last = new Int32Array(capacity);
    this.#begin = new Float64Array(capacity);
    this.#end = new Float64Array(capacity);
  }

  /** The lowest offset at which the interval overlaps none that is alive at the same time. */
  lowestGap({ bytes, first, last }: Interval): number {
    let offset = 0;
    for (let i = 0; i < this.#count; i++) {
      if (this.#first[i]! > last || this.#last[i]! < first) continue;
      if (offset + bytes <= this.#begin[i]!) break;
      if (this.#end[i]! > offset) offset = this.#end[i]!;
    }
    return offset;
  }

  add({ bytes, first, last, offset }: Interval): void {
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#begin[middle]! <= offset) low = middle + 1;
      else high = middle;
    }
    for (const column of [this.#first, this.#last, this.#begin, this.#end]) {
      column.copyWithin(low + 1, low, this.#count);
    }
    this.#first[low] = first;
    this.#last[low] = last;
    this.#begin[low] = offset;
    this.#end[low] = offset + bytes;
    this.#count++;
  }
}
