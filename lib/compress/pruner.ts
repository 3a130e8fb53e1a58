import { DrivetrainError } from '../native/index.js';
import { Linear, loadState, type Module, type StateEntry, stateEntry } from '../nn/index.js';
import { assign, maskInPlace, transient } from '../ops/index.js';
import { checkOptions, outsideScopes, type Tensor, tensor } from '../tensor/index.js';
import { type Convolution, isConvolution } from './convolutions.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { layersOf } from './layers-of.js';

export interface PrunerOptions {
  /** Whether weights of all layers are compared with each other (`global`, the default), or those of each layer. */
  scope?: 'global' | 'layer';
  /** Layers that stay whole, by name: `layers.0`. */
  exclude?: readonly string[];
}

/** A weight, and which of its elements are kept. */
interface Masked {
  readonly weight: Tensor;
  /** bool, of the weight's shape. */
  readonly mask: Tensor;
}

/**
 * Magnitude pruning of the weights of `Linear` layers and convolutions, in place: the smallest become 0, and `apply` makes them 0 again
 * after every step. `prune` may be called again, by a schedule; how many weights are 0 and which is in the masks, which
 * are state that programs read. Biases are left alone. Han and others, arXiv:1506.02626.
 */
export class Pruner {
  /** By the names of parameters: `layers.0.weight`. */
  readonly #masked: ReadonlyMap<string, Masked>;
  readonly #scope: 'global' | 'layer';

  constructor(model: Module, options: PrunerOptions = {}) {
    checkOptions('Pruner', options, ['scope', 'exclude']);
    const { scope = 'global', exclude = [] } = options;
    if (scope !== 'global' && scope !== 'layer') throw invalid('scope global or layer', String(scope));
    this.#scope = scope;
    const layers = layersOf('Pruner', model, exclude, isPrunable, 'Linear layers or convolutions');
    const names = new Map(Object.entries(model.stateDict()).map(([name, weight]) => [weight, name]));
    for (const [name, { weight }] of layers) {
      if ((weight.dtype === 'f32' || weight.dtype === 'f64') && weight.contiguous) continue;
      throw new DrivetrainError(
        weight.contiguous ? 'DT_DTYPE_MISMATCH' : 'DT_NOT_CONTIGUOUS',
        `Expected contiguous weights of f32 or f64 for Pruner but received ${weight.dtype}${weight.contiguous ? '' : ', strided,'} in ${name}.`,
      );
    }
    this.#masked = outsideScopes(
      () =>
        new Map(
          [...layers.values()].map(({ weight }) => {
            const mask = tensor(new Uint8Array(weight.size).fill(1), { shape: weight.shape, dtype: 'bool' });
            return [names.get(weight)!, { weight, mask }];
          }),
        ),
    );
  }

  /** What it prunes. @internal */
  get weights(): readonly Tensor[] {
    return [...this.#masked.values()].map(({ weight }) => weight);
  }

  /** The share of weights that are 0 by their masks. */
  get sparsity(): number {
    const masks = [...this.#masked.values()].map(({ mask }) => mask.toArray() as Uint8Array);
    const all = masks.reduce((sum, mask) => sum + mask.length, 0);
    const kept = masks.reduce((sum, mask) => sum + mask.reduce((count, one) => count + one, 0), 0);
    return 1 - kept / all;
  }

  /**
   * Chooses anew which weights are kept: all but the smallest, by magnitude, round(sparsity · n) of them, the earlier of
   * equals first; and makes these 0.
   */
  prune(sparsity: number): void {
    if (!(typeof sparsity === 'number' && sparsity >= 0 && sparsity <= 1)) {
      throw invalid('sparsity from 0 to 1', String(sparsity));
    }
    this.checkReady();
    const all = [...this.#masked].map(([name, { weight }]) => magnitudesOf(name, weight));
    const groups = this.#scope === 'global' ? [all] : all.map((one) => [one]);
    const kept = groups.flatMap((group) => keptOf(group, sparsity));
    transient(() => {
      [...this.#masked.values()].forEach(({ mask }, i) => {
        assign(mask, tensor(kept[i]!, { shape: mask.shape, dtype: 'bool' }));
      });
    });
    this.apply();
  }

  /** Makes what is pruned 0 again, after whatever has changed the weights; eager, or inside `compile(fn)` one instruction a layer. */
  apply(): void {
    for (const { weight, mask } of this.#masked.values()) maskInPlace(weight, mask);
  }

  /** The masks by the names of the weights, bool: the tensors themselves. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.#masked].map(([name, { mask }]) => [name, mask]));
  }

  /** Copies masks of the same names and shapes, and makes what they prune 0; throws before anything is written. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    this.checkState(state);
    loadState(this.#entries(), state);
    this.apply();
  }

  /** Throws where `loadStateDict` would. @internal */
  checkState(state: Readonly<Record<string, Tensor>>): void {
    this.checkReady();
    loadState(
      this.#entries().map((entry) => ({ ...entry, load: () => {} })),
      state,
    );
  }

  /** Throws where `apply` would. @internal */
  checkReady(): void {
    for (const { weight, mask } of this.#masked.values()) {
      weight.checkReady(true);
      mask.checkReady(true);
    }
  }

  #entries(): StateEntry[] {
    return [...this.#masked].map(([name, { mask }]) => stateEntry(name, mask));
  }
}

function isPrunable(module: Module): module is Linear | FakeQuantizedLinear | Convolution {
  return module instanceof Linear || module instanceof FakeQuantizedLinear || isConvolution(module);
}

function magnitudesOf(name: string, weight: Tensor): Float32Array | Float64Array {
  const values = (weight.toArray() as Float32Array | Float64Array).map(Math.abs);
  const stranger = values.find((value) => !(value < Infinity));
  if (stranger !== undefined) throw invalid('finite weights', `${stranger} in ${name}`);
  return values;
}

/** For each of the arrays, 1 where an element is kept: not among the round(sparsity · n) smallest of all. */
function keptOf(arrays: readonly (Float32Array | Float64Array)[], sparsity: number): Uint8Array[] {
  const sorted = new Float64Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const array of arrays) {
    sorted.set(array, end);
    end += array.length;
  }
  sorted.sort();
  const count = Math.round(sparsity * sorted.length);
  if (count === 0) return arrays.map(({ length }) => new Uint8Array(length).fill(1));
  const threshold = sorted[count - 1]!;
  // Of those equal to the threshold, so many are pruned.
  let equal = count - sorted.indexOf(threshold);
  return arrays.map((array) =>
    Uint8Array.from(array, (value) => (value > threshold || (value === threshold && equal-- <= 0) ? 1 : 0)),
  );
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for Pruner but received ${received}.`,
  );
}
