import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdamaxOptions {
  /** Learning rate, from 0 on; 2e-3 unless given. */
  lr?: number;
  /** Decay of the moment and of the largest gradient, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the size of a gradient; 1e-8 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam with the infinity norm, as PyTorch's `Adamax`; t counts from 1:
 * g ← g + weightDecay · p;  m ← β₁m + (1 − β₁)g;  u ← max(β₂u, |g| + eps);  p ← p − lr / (1 − β₁ᵗ) · m / u.
 * Kingma and Ba, arXiv:1412.6980, algorithm 2.
 */
export class Adamax extends Optimizer<AdamaxOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdamaxOptions>[],
    options: AdamaxOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adamax',
        step: 'adamax',
        options: {
          lr: nonNegative(2e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'u' }],
      },
      params,
      options,
    );
  }
}
