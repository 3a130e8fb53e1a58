import { DrivetrainError } from '../native/index.js';
import type { Module } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';
import type { Pair } from './sequences.js';
import { inBlocks, largest, squaredNorms } from './slices.js';
import { replaceModules } from './submodules.js';

type Weighted = Module & { readonly weight: Tensor };

/** What is special about the layers of one kind of pruning by rows of weights. */
export interface PairRules<L extends Weighted> {
  readonly operation: string;
  /** What the rows are called: `outputs`. */
  readonly rows: string;
  /** All that can lose rows, or take them, by name, and what these are called. */
  readonly layers: ReadonlyMap<string, L>;
  readonly kinds: string;
  /** Throws where a layer cannot lose rows to those that take them. */
  readonly check: (name: string, layer: L, takers: readonly (readonly [name: string, layer: L])[]) => void;
  /** How many inputs a layer has, and whether each row may be several of them, as behind a flattening. */
  readonly inputs: (taker: L) => { readonly count: number; readonly several: boolean };
  readonly cut: (
    layer: L,
    outputs: readonly number[] | undefined,
    inputs: readonly number[] | undefined,
  ) => Module;
}

/**
 * A copy of a model whose layers have lost the share `amount` of their rows, those of the least L2 norm, and the layers
 * after them the inputs that came from there.
 */
export function prunePairs<L extends Weighted>(
  model: Module,
  pairs: readonly Pair[],
  amount: number,
  { operation, rows, layers, kinds, check, inputs, cut }: PairRules<L>,
): Module {
  const invalid = (expected: string, received: string) =>
    new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${expected} for ${operation} but received ${received}.`,
    );
  const find = (name: string): L => {
    const layer = layers.get(name);
    if (layer === undefined)
      throw invalid(`names of ${kinds} (${[...layers.keys()].join(', ')})`, String(name));
    return layer;
  };
  const lost = new Map<string, readonly number[]>();
  const taken = new Map<string, readonly number[]>();
  for (const [name, nexts] of pairs) {
    const layer = find(name);
    const takers = nexts.map((next) => [next, find(next)] as const);
    check(name, layer, takers);
    const width = layer.weight.shape[0]!;
    const kept = largest(operation, squaredNorms(layer.weight, 0), amount);
    lost.set(name, kept);
    for (const [next, taker] of takers) {
      const { count, several } = inputs(taker);
      if (count % width !== 0 || (count !== width && !several)) {
        throw new DrivetrainError(
          'DT_SHAPE_MISMATCH',
          `Expected ${next} to take the ${width} ${rows} of ${name} for ${operation} but it takes ${count}.`,
        );
      }
      if (taken.has(next)) throw invalid(`${next} after one layer`, 'two');
      taken.set(next, inBlocks(kept, count / width));
    }
  }
  const names = new Set([...lost.keys(), ...taken.keys()]);
  return replaceModules(
    model,
    new Map([...names].map((name) => [name, cut(layers.get(name)!, lost.get(name), taken.get(name))])),
  );
}
