import { DrivetrainError } from '../native/index.js';
import { type SgdTensors, sgdStep } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { belowOne, flag, nonNegative } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { Parameter, ParameterGroupOptions } from './parameter-group.js';

export interface SGDOptions {
  /** Learning rate, from 0 on. */
  lr: number;
  /** Share of the former step that is kept, in [0, 1); 0 unless given. */
  momentum?: number;
  /** Share of the gradient that is left out of the momentum; 0 unless given. */
  dampening?: number;
  /** L2 penalty; 0 unless given. */
  weightDecay?: number;
  /** Needs momentum, and no dampening. */
  nesterov?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Stochastic gradient descent, as PyTorch's `SGD`:
 * g ← g + weightDecay · p;  b ← momentum · b + (1 − dampening) · g (b = g at first);
 * p ← p − lr · (g + momentum · b with Nesterov, else b).
 * Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
 */
export class SGD extends Optimizer<SGDOptions> {
  constructor(
    params: readonly Parameter[] | readonly ParameterGroupOptions<SGDOptions>[],
    options: SGDOptions,
  ) {
    super(
      'SGD',
      params,
      options,
      {
        lr: nonNegative(),
        momentum: belowOne(0),
        dampening: nonNegative(0),
        weightDecay: nonNegative(0),
        nesterov: flag(),
        maximize: flag(),
      },
      ['momentum'],
    );
    for (const { momentum, dampening, nesterov } of this.paramGroups) {
      if (!nesterov || (momentum > 0 && dampening === 0)) continue;
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected momentum above 0 and no dampening for SGD with nesterov but received ${momentum} and ${dampening}.`,
      );
    }
  }

  protected apply(hyperparameters: Tensor, count: Tensor, parameters: readonly (readonly Tensor[])[]): void {
    sgdStep(hyperparameters, count, parameters as unknown as readonly SgdTensors[]);
  }
}
