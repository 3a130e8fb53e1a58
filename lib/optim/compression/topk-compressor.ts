import { DrivetrainError, inspect } from '../../native/index.js';
import { loadState, type StateEntry, stateEntry } from '../../nn/index.js';
import { add, assign, zeros } from '../../ops/index.js';
import { checkOptions, outsideScopes, type Tensor } from '../../tensor/index.js';
import { computedIn } from '../flat-state.js';
import type { Parameters } from '../parameters.js';
import { GradientCompressor, largestOf } from './gradient-compressor.js';
import { chooseLargest, encodeTopK } from './topk.js';

export interface TopKCompressorOptions {
  /** The share of each gradient's elements that is sent, in (0, 1], at least one; 0.01 unless given. */
  ratio?: number;
}

/**
 * The largest elements of each gradient, 8 bytes each in f32: a fiftieth of all bytes for 1 %. What is not sent is kept and
 * added to the next gradient (error feedback), so that nothing is lost, only late:
 * a ← r + g;  the k elements of the largest |a| are sent;  r ← a where it was not sent, else 0.
 * Stich, Cordonnier and Jaggi, arXiv:1809.07599, algorithm 1, on gradients instead of steps; Lin and others,
 * arXiv:1712.01887, without its momentum correction. The residual r is state: each sender has its own, and goes on from it
 * after a checkpoint.
 */
export class TopKCompressor extends GradientCompressor {
  readonly #ratio: number;
  /** Of each parameter; not `#private`: a scope that returns this object has to find its tensors. */
  private readonly residuals: readonly Tensor[];

  constructor(params: Parameters, options: TopKCompressorOptions = {}) {
    super('TopKCompressor', params);
    checkOptions('TopKCompressor', options, ['ratio']);
    const { ratio = 0.01 } = options;
    if (!(typeof ratio === 'number' && ratio > 0 && ratio <= 1)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected ratio of TopKCompressor in (0, 1] but received ${inspect(ratio)}.`,
      );
    }
    this.#ratio = ratio;
    for (const { name, tensor } of this.parameters) {
      if (tensor.size < 2 ** 31) continue;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected parameters of less than 2^31 elements for TopKCompressor but ${name} has ${tensor.size}.`,
      );
    }
    this.residuals = outsideScopes(() =>
      this.parameters.map(({ tensor }) => zeros(tensor.shape, { dtype: computedIn(tensor.dtype) })),
    );
  }

  protected encode(gradients: readonly Tensor[]): Uint8Array {
    const sums = gradients.map((gradient, i) => add(this.residuals[i]!, gradient));
    sums.forEach(largestOf);
    for (const residual of this.residuals) residual.checkReady(true);
    const chosen = sums.map((sum) => chooseLargest(sum, Math.ceil(this.#ratio * sum.size)));
    const bytes = encodeTopK(
      this.parameters.map(({ tensor }) => tensor),
      chosen,
    );
    sums.forEach((sum, i) => {
      const all = sum.borrow();
      for (const at of chosen[i]!.indices) all[at] = 0;
      assign(this.residuals[i]!, sum);
    });
    return bytes;
  }

  /** The residuals by parameter, `parameter.residual`: the tensors themselves. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#entries().map(({ name, tensor }) => [name, tensor]));
  }

  /** Copies residuals of the same names, shapes and dtypes; throws before anything is written where one does not fit. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(this.#entries(), state);
  }

  #entries(): StateEntry[] {
    return this.residuals.map((tensor, i) => stateEntry(`${this.parameters[i]!.name}.residual`, tensor));
  }
}
