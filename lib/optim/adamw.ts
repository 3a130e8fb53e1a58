import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdamWOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** Decoupled weight decay, in [0, 1]; 0.01 unless given. */
  weightDecay?: number;
  /** Divides by the largest second moment so far (Reddi et al. 2018); stays as the group was made with. */
  amsgrad?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam with decoupled weight decay, as PyTorch's `AdamW`; t counts from 1, bias corrections are in double:
 * p ← p · (1 − lr · weightDecay);  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
 * p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps); with `amsgrad` the largest v so far stands for v there.
 * Loshchilov and Hutter, arXiv:1711.05101; Reddi, Kale and Kumar, arXiv:1904.09237.
 */
export class AdamW extends Optimizer<AdamWOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdamWOptions>[],
    options: AdamWOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'AdamW',
        step: 'adamw',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0.01),
          maximize: flag(),
          amsgrad: { ...flag(), fixed: (value) => value },
        },
        state: ({ amsgrad }) => [{ name: 'm' }, { name: 'v' }, ...(amsgrad ? [{ name: 'maxV' }] : [])],
      },
      params,
      options,
    );
  }
}
