import { DrivetrainError } from '../native/index.js';
import { Dropout, GELU, Linear, type Module, ReLU } from '../nn/index.js';
import { checkOptions } from '../tensor/index.js';
import { layersOf } from './layers-of.js';
import { type Followers, givenPairs, type Pair, sequencesOf } from './sequences.js';
import { checkAmount, largest, narrowedLinear, squaredNorms } from './slices.js';
import { isExactly, namedModules, replaceModules } from './submodules.js';

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
  const pairs = options.layers === undefined ? pairsOf(model) : givenPairs(options.layers);
  if (pairs.length === 0) {
    throw invalid('a Linear before another in a Sequential, or layers: { layer: next },', 'none');
  }
  const rows = new Map<string, readonly number[]>();
  const columns = new Map<string, readonly number[]>();
  for (const [name, nexts] of pairs) {
    const layer = find(linears, name);
    const kept = largest('pruneUnits', squaredNorms(layer.weight, 0), amount);
    rows.set(name, kept);
    for (const next of nexts) {
      const { weight } = find(linears, next);
      if (weight.shape[1] !== layer.weight.shape[0]) {
        throw new DrivetrainError(
          'DT_SHAPE_MISMATCH',
          `Expected ${next} to take the ${layer.weight.shape[0]} outputs of ${name} for pruneUnits but it takes ${weight.shape[1]}.`,
        );
      }
      if (columns.has(next)) throw invalid(`${next} after one layer`, 'two');
      columns.set(next, kept);
    }
  }
  const names = new Set([...rows.keys(), ...columns.keys()]);
  return replaceModules(
    model,
    new Map(
      [...names].map((name) => [name, narrowedLinear(linears.get(name)!, rows.get(name), columns.get(name))]),
    ),
  );
}

/** Each `Linear` of a `Sequential` with the one that takes its outputs; none that stands in two places. */
function pairsOf(model: Module): Pair[] {
  const names = new Map([...namedModules(model)].map(([name, module]) => [module, name]));
  const pairs: Pair[] = [];
  for (const steps of sequencesOf(model)) {
    const once = (layer: Module) => steps.indexOf(layer) === steps.lastIndexOf(layer);
    let last: Module | undefined;
    for (const step of steps) {
      if (isExactly(step, Linear)) {
        if (last !== undefined && once(last) && once(step))
          pairs.push([names.get(last)!, [names.get(step)!]]);
        last = step;
      } else if (!ELEMENTWISE.some((type) => isExactly<Module>(step, type))) last = undefined;
    }
  }
  return pairs;
}

function find(linears: ReadonlyMap<string, Linear>, name: string): Linear {
  const layer = linears.get(name);
  if (layer === undefined)
    throw invalid(`names of Linear layers (${[...linears.keys()].join(', ')})`, String(name));
  return layer;
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for pruneUnits but received ${received}.`,
  );
}
