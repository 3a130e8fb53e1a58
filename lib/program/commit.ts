import { assign, type Op, type Recorder, withRecorder } from '../ops/index.js';
import { type Storage, SymbolicStorage, Tensor } from '../tensor/index.js';
import type { Step } from './record.js';

/** A program's steps: what may be given up half-way, and what writes lasting state and is then done as a whole. */
export interface Sections {
  readonly compute: readonly Step[];
  readonly commit: readonly Step[];
}

/**
 * Moves every write to lasting state to the end. A storage that is read after it was written gets a shadow: a copy that
 * the program works on instead, and that is copied back in the commit section. A step that writes several storages
 * cannot stand in both sections, so that one shadow asks for those of its neighbours; nor can it stand in the commit
 * section and read a shadow, which may have moved on by then.
 */
export function splitSections(steps: readonly Step[]): Sections {
  const shadowed = findShadowed(steps);
  const shadows = new Map<Storage, Storage>();
  const compute: Step[] = [];
  const commit: Step[] = [];
  for (const step of steps) {
    const written = writtenBy(step);
    if (written.length > 0 && !written.some(({ storage }) => shadowed.has(storage))) {
      commit.push(step);
      continue;
    }
    for (const target of written) {
      if (shadows.has(target.storage)) continue;
      const shadow = new SymbolicStorage(target.storage.byteLength);
      shadows.set(target.storage, shadow);
      const whole = wholeOf(target);
      compute.push({ ...copyStep(whole, onStorage(whole, shadow)), line: step.line });
      commit.push({ ...copyStep(onStorage(whole, shadow), whole), line: step.line });
    }
    const redirect = (operand: Tensor): Tensor => {
      const shadow = shadows.get(operand.storage);
      return shadow === undefined ? operand : onStorage(operand, shadow);
    };
    compute.push({ ...step, inputs: step.inputs.map(redirect) });
  }
  return { compute, commit };
}

const NONE: readonly Tensor[] = [];

/** The inputs that a step writes in place. */
export function writtenBy({ op, inputs }: Step): readonly Tensor[] {
  return op.writes === undefined ? NONE : inputs.filter((_, i) => op.writes!(i));
}

function findShadowed(steps: readonly Step[]): Set<Storage> {
  const shadowed = new Set<Storage>();
  const written = new Set<Storage>();
  /** The steps that use a storage and write some. */
  const writers = new Map<Storage, Step[]>();
  for (const step of steps) {
    const targets = new Set(writtenBy(step));
    for (const input of step.inputs) {
      if (written.has(input.storage) && !targets.has(input)) shadowed.add(input.storage);
      if (targets.size === 0) continue;
      const known = writers.get(input.storage);
      if (known === undefined) writers.set(input.storage, [step]);
      else if (known.at(-1) !== step) known.push(step);
    }
    for (const { storage } of targets) written.add(storage);
  }
  const spread = new Set<Step>();
  // What is added meanwhile is visited as well.
  for (const storage of shadowed) {
    for (const step of writers.get(storage) ?? []) {
      if (spread.has(step)) continue;
      spread.add(step);
      for (const target of writtenBy(step)) shadowed.add(target.storage);
    }
  }
  return shadowed;
}

/** All of a storage, as bytes. */
function wholeOf({ storage }: Tensor): Tensor {
  return new Tensor(storage, 'u8', [storage.byteLength]);
}

function onStorage(tensor: Tensor, storage: Storage): Tensor {
  return new Tensor(storage, tensor.dtype, tensor.shape, tensor.strides, tensor.offset);
}

/** The step that `assign(target, source)` records. */
function copyStep(source: Tensor, target: Tensor): Step {
  let step: Step | undefined;
  const recorder: Recorder = {
    apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
      step = { op: op as Op<unknown>, attrs, inputs, outputs: [] };
      return [];
    },
    view() {},
  };
  withRecorder(recorder, () => assign(target, source));
  return step!;
}
