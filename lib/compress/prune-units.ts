import { DrivetrainError } from '../native/index.js';
import { Dropout, GELU, Linear, type Module, ReLU, Sequential } from '../nn/index.js';
import { checkOptions, type Tensor, tensor } from '../tensor/index.js';
import { layersOf } from './layers-of.js';
import { isExactly, linearOf, namedModules, replaceModules } from './submodules.js';

export interface PruneUnitsOptions {
  /** The share of units that a layer loses, in [0, 1); at least one is kept. */
  amount: number;
  /**
   * Which layers lose units, and which take their outputs: `{ hidden: 'out' }`, or `{ hidden: ['mean', 'variance'] }`. Unless
   * given, these are found in `Sequential`s: a `Linear` and the next one, with nothing but ReLU, GELU and Dropout between.
   */
  layers?: Readonly<Record<string, string | readonly string[]>>;
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
  if (!(typeof amount === 'number' && amount >= 0 && amount < 1)) {
    throw invalid('amount in [0, 1)', String(amount));
  }
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
    const kept = largestRows(layer.weight, amount);
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
    new Map([...names].map((name) => [name, cut(linears.get(name)!, rows.get(name), columns.get(name))])),
  );
}

type Pair = readonly [layer: string, nexts: readonly string[]];

function givenPairs(layers: NonNullable<PruneUnitsOptions['layers']>): Pair[] {
  return Object.entries(layers).map(([name, next]) => [name, [next].flat()]);
}

/** Each `Linear` of a `Sequential` with the one that takes its outputs; none that stands in two places. */
function pairsOf(model: Module): Pair[] {
  const names = new Map([...namedModules(model)].map(([name, module]) => [module, name]));
  const inner = new Set<Module>();
  const pairs: Pair[] = [];
  for (const module of names.keys()) {
    if (!isExactly(module, Sequential) || inner.has(module)) continue;
    const steps = flattened(module, inner);
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

/** The layers of a `Sequential`, with those of others inside of it in their place. */
function flattened(sequential: Sequential, inner: Set<Module>): Module[] {
  return sequential.layers.flatMap((layer) => {
    if (!isExactly(layer, Sequential)) return [layer];
    inner.add(layer);
    return flattened(layer, inner);
  });
}

function find(linears: ReadonlyMap<string, Linear>, name: string): Linear {
  const layer = linears.get(name);
  if (layer === undefined)
    throw invalid(`names of Linear layers (${[...linears.keys()].join(', ')})`, String(name));
  return layer;
}

/** The indices of the rows that stay, in their order; of equal norms the later rows stay. */
function largestRows(weight: Tensor, amount: number): number[] {
  const [out, width] = weight.shape as [number, number];
  const values = weight.toArray() as Float32Array;
  const squares = Array.from({ length: out }, (_, i) =>
    values.subarray(i * width, (i + 1) * width).reduce((sum, value) => sum + value * value, 0),
  );
  if (!squares.every((square) => square < Infinity)) throw invalid('finite weights', 'NaN or infinity');
  const removed = Math.min(out - 1, Math.round(amount * out));
  const order = squares.map((_, i) => i).sort((a, b) => squares[a]! - squares[b]! || a - b);
  return order.slice(removed).sort((a, b) => a - b);
}

function cut(
  { weight, bias }: Linear,
  rows: readonly number[] | undefined,
  columns: readonly number[] | undefined,
): Linear {
  const [out, width] = weight.shape as [number, number];
  const all = (n: number) => Array.from({ length: n }, (_, i) => i);
  const [keptRows, keptColumns] = [rows ?? all(out), columns ?? all(width)];
  const values = weight.toArray() as Float32Array;
  const smaller = new Float32Array(keptRows.length * keptColumns.length);
  let next = 0;
  for (const row of keptRows)
    for (const column of keptColumns) smaller[next++] = values[row * width + column]!;
  const biases = bias?.toArray() as Float32Array | undefined;
  return linearOf(
    tensor(smaller, { shape: [keptRows.length, keptColumns.length] }),
    biases && tensor(Float32Array.from(keptRows, (row) => biases[row]!)),
  );
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for pruneUnits but received ${received}.`,
  );
}
