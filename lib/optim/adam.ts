import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdamOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Divides by the largest second moment so far (Reddi et al. 2018); stays as the group was made with. */
  amsgrad?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam, as PyTorch's `Adam`; t counts from 1, bias corrections are in double:
 * g ← g + weightDecay · p;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
 * p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps); with `amsgrad` the largest v so far stands for v there.
 * Kingma and Ba, arXiv:1412.6980; Reddi, Kale and Kumar, arXiv:1904.09237.
 */
export class Adam extends Optimizer<AdamOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdamOptions>[],
    options: AdamOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adam',
        step: 'adam',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
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
