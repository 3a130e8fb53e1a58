import { DrivetrainError, inspect } from '../native/index.js';
import { describeNonTensor } from '../ops/index.js';
import { type Compiled, compile } from '../program/index.js';
import { Tensor } from '../tensor/index.js';

/** What a model's `forward` is called with: a tensor, or tensors in arrays and objects. An array holds its arguments. */
export type ModelInputs = Tensor | readonly ModelInputs[] | { readonly [name: string]: ModelInputs };

/** The model's inputs, and whatever the loss takes beside the output. */
export type FitBatch = readonly [inputs: ModelInputs, ...targets: Tensor[]] | readonly Tensor[];

/** A batch with the numbers of its tensors in their place. */
type Structure = number | readonly Structure[] | { readonly [name: string]: Structure };

/** A function of a batch, compiled for each structure that batches have. */
export class CompiledForBatches<R> {
  readonly #fn: (inputs: readonly ModelInputs[], targets: Tensor[]) => R;
  readonly #compiled = new Map<string, Compiled<Tensor[], R>>();

  /** `fn` takes the arguments of `forward`, and the targets. */
  constructor(fn: (inputs: readonly ModelInputs[], targets: Tensor[]) => R) {
    this.#fn = fn;
  }

  /** The compiled function for a batch, and what to call it with. */
  for(batch: FitBatch): { tensors: Tensor[]; compiled: Compiled<Tensor[], R> } {
    const tensors: Tensor[] = [];
    const structure = takeApart(batch, tensors);
    const key = JSON.stringify(structure);
    let compiled = this.#compiled.get(key);
    if (compiled === undefined) {
      compiled = compile((...given: Tensor[]) => {
        const [inputs, ...targets] = putTogether(structure, given) as [ModelInputs, ...Tensor[]];
        return this.#fn(Array.isArray(inputs) ? inputs : [inputs], targets);
      });
      this.#compiled.set(key, compiled);
    }
    return { tensors, compiled };
  }
}

function takeApart(batch: FitBatch, tensors: Tensor[]): Structure {
  const walk = (part: unknown): Structure => {
    if (part instanceof Tensor) return tensors.push(part) - 1;
    if (Array.isArray(part)) return part.map(walk);
    if (isPlainObject(part)) {
      return Object.fromEntries(Object.entries(part).map(([name, one]) => [name, walk(one)]));
    }
    throw notABatch(describeNonTensor(part));
  };
  const structure = walk(batch);
  if (!Array.isArray(batch) || tensors.length === 0) throw notABatch(inspect(batch, { depth: 0 }));
  return structure;
}

function isPlainObject(part: unknown): part is object {
  if (typeof part !== 'object' || part === null) return false;
  const prototype = Object.getPrototypeOf(part);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function putTogether(structure: Structure, tensors: readonly Tensor[]): unknown {
  if (typeof structure === 'number') return tensors[structure];
  if (Array.isArray(structure)) return structure.map((one) => putTogether(one, tensors));
  return Object.fromEntries(
    Object.entries(structure).map(([name, one]) => [name, putTogether(one, tensors)]),
  );
}

function notABatch(received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected batches [inputs, …targets] of tensors for fit, where inputs may be arrays and objects of them, but received ${received}; give the DataLoader a collate that makes such.`,
  );
}
