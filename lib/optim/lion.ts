import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface LionOptions {
  /** Learning rate, from 0 on; 1e-4 unless given. Take a third to a tenth of AdamW's. */
  lr?: number;
  /** Share of the moment in a step's direction, and its decay, each in [0, 1); [0.9, 0.99] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Decoupled weight decay, in [0, 1]; 0 unless given. Take three to ten times AdamW's. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * The sign of a moment:
 * p ← p · (1 − lr · weightDecay) − lr · sign(β₁m + (1 − β₁)g);  m ← β₂m + (1 − β₂)g.
 * Chen et al., arXiv:2302.06675, algorithm 2.
 */
export class Lion extends Optimizer<LionOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<LionOptions>[],
    options: LionOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Lion',
        step: 'lion',
        options: {
          lr: nonNegative(1e-4),
          betas: twoBelowOne(0.9, 0.99),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }],
      },
      params,
      options,
    );
  }
}
