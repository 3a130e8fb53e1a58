import type { GradientOptions } from './gradient-control.js';
import { belowOne, flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface RMSpropOptions {
  /** Learning rate, from 0 on; 1e-2 unless given. */
  lr?: number;
  /** Decay of the averages, in [0, 1); 0.99 unless given. */
  alpha?: number;
  /** Added to the root; 1e-8 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Share of the former step that is kept, in [0, 1); 0 unless given. A group made without momentum stays without. */
  momentum?: number;
  /** Divides by the deviation of gradients from their average; stays as the group was made with. */
  centered?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Rates by a running average of squared gradients, as PyTorch's `RMSprop`:
 * g ← g + weightDecay · p;  v ← αv + (1 − α)g²;  centred: a ← αa + (1 − α)g, and v − a² (at least 0) stands for v below;
 * d = g / (√v + eps);  with momentum: b ← momentum · b + d, else b = d;  p ← p − lr · b.
 * Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012; centred: Graves, arXiv:1308.0850.
 */
export class RMSprop extends Optimizer<RMSpropOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<RMSpropOptions>[],
    options: RMSpropOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'RMSprop',
        step: 'rmsprop',
        options: {
          lr: nonNegative(1e-2),
          alpha: belowOne(0.99),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
          momentum: { ...belowOne(0), fixed: (value) => value > 0 },
          centered: { ...flag(), fixed: (value) => value },
          maximize: flag(),
        },
        state: ({ momentum, centered }) => [
          { name: 'squareAvg' },
          ...(momentum > 0 ? [{ name: 'momentum' }] : []),
          ...(centered ? [{ name: 'gradAvg' }] : []),
        ],
      },
      params,
      options,
    );
  }
}
