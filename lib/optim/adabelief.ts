import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdaBeliefOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the second moment and to its root; 1e-16 unless given, as in the authors' code. */
  eps?: number;
  /** Decoupled weight decay, in [0, 1]; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam that divides by how far gradients are from their average; t counts from 1:
 * p ← p · (1 − lr · weightDecay);  m ← β₁m + (1 − β₁)g;  s ← β₂s + (1 − β₂)(g − m)² + eps;
 * p ← p − lr / (1 − β₁ᵗ) · m / (√s / √(1 − β₂ᵗ) + eps).
 * Zhuang et al., arXiv:2010.07468, algorithm 2.
 */
export class AdaBelief extends Optimizer<AdaBeliefOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdaBeliefOptions>[],
    options: AdaBeliefOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'AdaBelief',
        step: 'adabelief',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-16),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 's' }],
      },
      params,
      options,
    );
  }
}
