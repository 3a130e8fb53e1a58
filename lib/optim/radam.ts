import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface RAdamOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam whose rate is rectified by the variance of its early steps, as PyTorch's `RAdam`; t counts from 1:
 * g ← g + weightDecay · p;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
 * ρ∞ = 2 / (1 − β₂) − 1;  ρₜ = ρ∞ − 2tβ₂ᵗ / (1 − β₂ᵗ);
 * where ρₜ > 5, r = √((ρₜ − 4)(ρₜ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρₜ)) and
 * p ← p − lr · r / (1 − β₁ᵗ) · m · √(1 − β₂ᵗ) / (√v + eps), else p ← p − lr / (1 − β₁ᵗ) · m.
 * Liu et al., arXiv:1908.03265.
 */
export class RAdam extends Optimizer<RAdamOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<RAdamOptions>[],
    options: RAdamOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'RAdam',
        step: 'radam',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'v' }],
      },
      params,
      options,
    );
  }
}
