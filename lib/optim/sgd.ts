import { DrivetrainError } from '../native/index.js';
import type { GradientOptions } from './gradient-control.js';
import { belowOne, flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroup, ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface SGDOptions {
  /** Learning rate, from 0 on. */
  lr: number;
  /** Share of the former step that is kept, in [0, 1); 0 unless given. */
  momentum?: number;
  /** Share of the gradient that is left out of the momentum, in [0, 1]; 0 unless given. */
  dampening?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Needs momentum, and no dampening. */
  nesterov?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Stochastic gradient descent, as PyTorch's `SGD`:
 * g ← g + weightDecay · p;  b ← momentum · b + (1 − dampening) · g (b = g in the first step with momentum);
 * p ← p − lr · (g + momentum · b with Nesterov, else b).
 * Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
 */
export class SGD extends Optimizer<SGDOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<SGDOptions>[],
    options: SGDOptions & GradientOptions,
  ) {
    super(
      {
        name: 'SGD',
        step: 'sgd',
        options: {
          lr: nonNegative(),
          momentum: belowOne(0),
          dampening: share(0),
          weightDecay: share(0),
          nesterov: flag(),
          maximize: flag(),
        },
        state: () => [{ name: 'momentum' }],
        counters: { momentumSteps: 0 },
        check: checkNesterov,
      },
      params,
      options,
    );
  }
}

function checkNesterov({ momentum, dampening, nesterov }: ParameterGroup<SGDOptions>): void {
  if (!nesterov || (momentum > 0 && dampening === 0)) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected momentum above 0 and no dampening for SGD with nesterov but received ${momentum} and ${dampening}.`,
  );
}
