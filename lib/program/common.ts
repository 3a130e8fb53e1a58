import { DTYPES, type Storage, sameShape, sizeOf, Tensor } from '../tensor/index.js';
import type { Step } from './record.js';

/** A constant up to this size is kept from its first use to its last; making a larger one again costs less than its memory. */
const MAX_CONSTANT_BYTES = 64;

/**
 * Computes the same op on the same inputs once, where nothing writes what it reads in between. Random ops, results of the
 * program (which are tensors of their own) and what `checkpoint` computes again stay as they are.
 */
export function shareCommon(steps: readonly Step[], outputs: readonly Storage[]): Step[] {
  const results = new Set(outputs);
  const shared = new Map<Storage, Storage>();
  const known = new Map<string, Step[]>();
  const contents = new Contents();
  const kept: Step[] = [];
  for (const original of steps) {
    const step = shared.size === 0 ? original : withInputs(original, shared);
    const { op, inputs } = step;
    if (op.writes !== undefined || op.random || isLarge(step)) {
      inputs.forEach(({ storage }, i) => {
        if (op.writes?.(i)) contents.change(storage);
      });
      kept.push(step);
      continue;
    }
    const key = keyOf(step, contents);
    const candidates = known.get(key);
    const same = candidates?.find((other) => sameLayouts(other, step));
    if (same === undefined || step.outputs.some(({ storage }) => results.has(storage))) {
      if (candidates === undefined) known.set(key, [step]);
      else candidates.push(step);
      kept.push(step);
      continue;
    }
    step.outputs.forEach(({ storage }, i) => {
      shared.set(storage, same.outputs[i]!.storage);
    });
  }
  return kept;
}

/** Numbers for what storages hold: another one after each write. */
class Contents {
  readonly #numbers = new Map<Storage, number>();
  #last = 0;

  of(storage: Storage): number {
    return this.#numbers.get(storage) ?? this.change(storage);
  }

  change(storage: Storage): number {
    this.#numbers.set(storage, ++this.#last);
    return this.#last;
  }
}

/** All that native code gets to see of a step, but the layouts of its operands. */
function keyOf({ op, attrs, inputs, region = -1 }: Step, contents: Contents): string {
  let key = `${op.name} ${region}`;
  for (const { storage } of inputs) key += ` ${contents.of(storage)}`;
  for (const number of op.numbers?.(attrs, inputs) ?? []) key += Object.is(number, -0) ? ',-0' : `,${number}`;
  return key;
}

function sameLayouts(a: Step, b: Step): boolean {
  return a.inputs.every((x, i) => sameLayout(x, b.inputs[i]!)) && sameSpecs(a.outputs, b.outputs);
}

function sameLayout(a: Tensor, b: Tensor): boolean {
  return (
    a.dtype === b.dtype &&
    a.offset === b.offset &&
    sameShape(a.shape, b.shape) &&
    sameShape(a.strides, b.strides)
  );
}

function sameSpecs(a: readonly Tensor[], b: readonly Tensor[]): boolean {
  return (
    a.length === b.length && a.every((x, i) => x.dtype === b[i]!.dtype && sameShape(x.shape, b[i]!.shape))
  );
}

function isLarge({ op, outputs }: Step): boolean {
  if (op.name !== 'fill') return false;
  return sizeOf(outputs[0]!.shape) * DTYPES[outputs[0]!.dtype].bytes > MAX_CONSTANT_BYTES;
}

function withInputs(step: Step, shared: ReadonlyMap<Storage, Storage>): Step {
  if (!step.inputs.some(({ storage }) => shared.has(storage))) return step;
  const inputs = step.inputs.map((input) => {
    const storage = shared.get(input.storage);
    return storage === undefined
      ? input
      : new Tensor(storage, input.dtype, input.shape, input.strides, input.offset);
  });
  return { ...step, inputs };
}
