import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface LAMBOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-6 unless given. */
  eps?: number;
  /** This share of the parameter is added to its update, in [0, 1]; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam with a rate for each tensor, for large batches; t counts from 1:
 * m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  u = m / (1 − β₁ᵗ) / (√v / √(1 − β₂ᵗ) + eps) + weightDecay · p;
 * p ← p − lr · ‖p‖ / ‖u‖ · u, over each tensor by itself; 1 for the quotient where a norm is 0.
 * You et al., arXiv:1904.00962, algorithm 2, with φ the identity. Leave biases and norms without decay.
 */
export class LAMB extends Optimizer<LAMBOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<LAMBOptions>[],
    options: LAMBOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'LAMB',
        step: 'lamb',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-6),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'v' }],
        roundsAfter: true,
      },
      params,
      options,
    );
  }
}
