import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdagradOptions {
  /** Learning rate, from 0 on; 1e-2 unless given. */
  lr?: number;
  /** How much of the rate's inverse each step adds, from 0 on; 0 unless given. */
  lrDecay?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** What the sum of squares begins with, from 0 on; 0 unless given. Stays as the group was made with. */
  initialAccumulatorValue?: number;
  /** Added to the root of the sum; 1e-10 unless given. */
  eps?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Rates by the sum of all squared gradients, as PyTorch's `Adagrad`; t counts from 1:
 * g ← g + weightDecay · p;  s ← s + g²;  p ← p − lr / (1 + (t − 1) · lrDecay) · g / (√s + eps).
 * Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 2011.
 */
export class Adagrad extends Optimizer<AdagradOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdagradOptions>[],
    options: AdagradOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adagrad',
        step: 'adagrad',
        options: {
          lr: nonNegative(1e-2),
          lrDecay: nonNegative(0),
          weightDecay: share(0),
          initialAccumulatorValue: { ...nonNegative(0), fixed: (value) => value },
          eps: nonNegative(1e-10),
          maximize: flag(),
        },
        state: ({ initialAccumulatorValue }) => [{ name: 'sum', initial: initialAccumulatorValue }],
      },
      params,
      options,
    );
  }
}
