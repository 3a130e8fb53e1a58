import { DrivetrainError } from '../native/index.js';
import { Dropout, GELU, Linear, type Module, ReLU } from '../nn/index.js';
import { checkOptions } from '../tensor/index.js';
import { layersOf } from './layers-of.js';
import { prunePairs } from './prune-pairs.js';
import { type Followers, givenPairs, pairsIn } from './sequences.js';
import { checkAmount, narrowedLinear } from './slices.js';
import { isExactly } from './submodules.js';

export interface PruneUnitsOptions {
  /** The share of units that a layer loses, in [0, 1); at least one is kept. */
  amount: number;
  /**
   * Which layers lose units, and which take their outputs: `{ hidden: 'out' }`, or `{ hidden: ['mean', 'variance'] }`. Unless
   * given, these are found in `Sequential`s: a `Linear` and the next one, with nothing but ReLU, GELU and Dropout between.
   */
  layers?: Followers;
}

/** Layers that treat every unit by itself. */
const ELEMENTWISE = [ReLU, GELU, Dropout];

/**
 * A smaller copy of a model: its `Linear` layers without the units (rows of the weight) of the least L2 norm, as PyTorch's
 * `ln_structured` ranks them, and the layers after them without the inputs that came from there. All else is shared with
 * the original. Li and others, arXiv:1608.08710.
 */
export function pruneUnits(model: Module, options: PruneUnitsOptions): Module {
  checkOptions('pruneUnits', options, ['amount', 'layers']);
  const { amount } = options;
  checkAmount('pruneUnits', amount);
  const isLinear = (module: Module): module is Linear => isExactly(module, Linear);
  const linears = layersOf('pruneUnits', model, [], isLinear);
  const pairs = options.layers === undefined ? pairsIn(model, pairsOf) : givenPairs(options.layers);
  if (pairs.length === 0) {
    throw invalid('a Linear before another in a Sequential, or layers: { layer: next },', 'none');
  }
  return prunePairs(model, pairs, amount, {
    operation: 'pruneUnits',
    rows: 'outputs',
    layers: linears,
    kinds: 'Linear layers',
    check: () => {},
    inputs: ({ weight }) => ({ count: weight.shape[1]!, several: false }),
    cut: narrowedLinear,
  });
}

/** Each `Linear` of a sequence with the one that takes its outputs, by their places. */
function pairsOf(layers: readonly Module[]): number[][] {
  const pairs: number[][] = [];
  let last: number | undefined;
  for (const [i, layer] of layers.entries()) {
    if (isExactly(layer, Linear)) {
      if (last !== undefined) pairs.push([last, i]);
      last = i;
    } else if (!ELEMENTWISE.some((type) => isExactly<Module>(layer, type))) last = undefined;
  }
  return pairs;
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for pruneUnits but received ${received}.`,
  );
}
