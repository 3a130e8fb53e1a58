import { DrivetrainError, inspect } from '../native/index.js';
import { activeRecorder } from '../ops/index.js';
import { type Storage, Tensor } from '../tensor/index.js';
import type { OpEntry, Taped, TapeEntry } from './tape.js';

/**
 * `fn`, whose intermediate results a backward pass computes again instead of keeping them: less memory for more time. Chen
 * et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174. Gradients are the same, dropout drops the same
 * elements, and what `fn` writes is written once. Inside `compile(fn)`; elsewhere it calls `fn`, and nothing is saved. One
 * inside of another is part of it.
 */
export function checkpoint<A extends readonly unknown[], R>(fn: (...inputs: A) => R): (...inputs: A) => R {
  if (typeof fn !== 'function') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a function for checkpoint but received ${inspect(fn, { depth: 0 })}.`,
    );
  }
  return (...inputs) => {
    const recorder = activeRecorder() as Partial<Taped> | undefined;
    const call = () => fn(...inputs);
    return recorder?.inNewRegion === undefined ? call() : recorder.inNewRegion(call);
  };
}

/** Whether an op is computed for the second time: regions have even numbers, and odd ones where they are. */
export function isRecomputed({ region = 0 }: Pick<OpEntry, 'region'>): boolean {
  return region % 2 === 1;
}

/** What one backward pass computes again: each region as a whole, when the first gradient inside is wanted. */
export class Recomputation {
  readonly #recorder: Taped;
  /** The ops of each region, and where on the tape they stand. */
  readonly #ops = new Map<number, [entry: OpEntry, at: number][]>();
  readonly #lastWrite: ReadonlyMap<Storage, number>;
  /** The storages that stand for those of a region. */
  readonly #regions = new Map<number, ReadonlyMap<Storage, Storage>>();

  constructor(recorder: Taped, tape: readonly TapeEntry[], lastWrite: ReadonlyMap<Storage, number>) {
    this.#recorder = recorder;
    this.#lastWrite = lastWrite;
    tape.forEach((entry, at) => {
      if (entry.kind !== 'op' || entry.region === undefined) return;
      const known = this.#ops.get(entry.region);
      if (known === undefined) this.#ops.set(entry.region, [[entry, at]]);
      else known.push([entry, at]);
    });
  }

  /** An op's operands, computed again where it belongs to a region. */
  operandsOf(entry: OpEntry): Pick<OpEntry, 'inputs' | 'outputs'> {
    const { region, inputs, outputs } = entry;
    // By another backward pass, before this one.
    if (region === undefined || isRecomputed(entry)) return entry;
    const storages = this.#regions.get(region) ?? this.#compute(region);
    const now = (tensor: Tensor) => onOther(tensor, storages);
    return { inputs: inputs.map(now), outputs: outputs.map(now) };
  }

  /** Records a region again. What it writes stays as it is, and so does what was made of something written since. */
  #compute(region: number): ReadonlyMap<Storage, Storage> {
    const storages = new Map<Storage, Storage>();
    this.#regions.set(region, storages);
    this.#recorder.again!(region, () => {
      for (const [entry, at] of this.#ops.get(region)!) {
        if (entry.op.writes !== undefined) continue;
        if (entry.inputs.some(({ storage }) => (this.#lastWrite.get(storage) ?? -1) > at)) continue;
        const inputs = entry.inputs.map((input) => onOther(input, storages));
        const outputs = this.#recorder.apply(entry.op, inputs, entry.attrs);
        entry.outputs.forEach(({ storage }, i) => {
          storages.set(storage, outputs[i]!.storage);
        });
      }
    });
    return storages;
  }
}

function onOther(tensor: Tensor, storages: ReadonlyMap<Storage, Storage>): Tensor {
  const storage = storages.get(tensor.storage);
  return storage === undefined
    ? tensor
    : new Tensor(storage, tensor.dtype, tensor.shape, tensor.strides, tensor.offset);
}
