import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface NAdamOptions {
  /** Learning rate, from 0 on; 2e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** How fast μ rises to β₁, from 0 on; 4e-3 unless given. */
  momentumDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam with Nesterov momentum, as PyTorch's `NAdam`; t counts from 1, and with ψ = momentumDecay
 * μₜ = β₁(1 − 0.96^(tψ) / 2);  g ← g + weightDecay · p;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
 * m̂ = μₜ₊₁ m / (1 − ∏ᵢ₌₁ᵗ⁺¹ μᵢ) + (1 − μₜ) g / (1 − ∏ᵢ₌₁ᵗ μᵢ);  p ← p − lr · m̂ / (√v / √(1 − β₂ᵗ) + eps).
 * (PyTorch 1.13 multiplies μₜ twice into the first product, unless it is called with `foreach`; later versions do not.)
 * Dozat, "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop.
 */
export class NAdam extends Optimizer<NAdamOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<NAdamOptions>[],
    options: NAdamOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'NAdam',
        step: 'nadam',
        options: {
          lr: nonNegative(2e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
          momentumDecay: nonNegative(4e-3),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'v' }],
        counters: { muProduct: 1 },
      },
      params,
      options,
    );
  }
}
