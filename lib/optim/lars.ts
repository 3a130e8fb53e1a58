import type { GradientOptions } from './gradient-control.js';
import { belowOne, flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface LARSOptions {
  /** Learning rate, from 0 on. */
  lr: number;
  /** Share of the former step that is kept, in [0, 1); 0.9 unless given. */
  momentum?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** How far a tensor may go, as a share of its norm, at a learning rate of 1; 1e-3 unless given. */
  trustCoefficient?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * SGD with a rate for each tensor, for large batches:
 * λ = trustCoefficient · ‖p‖ / (‖g‖ + weightDecay · ‖p‖), over each tensor by itself, 1 where a norm is 0;
 * b ← momentum · b + lr · λ · (g + weightDecay · p);  p ← p − b.
 * You, Gitman and Ginsburg, arXiv:1708.03888, algorithm 1.
 */
export class LARS extends Optimizer<LARSOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<LARSOptions>[],
    options: LARSOptions & GradientOptions,
  ) {
    super(
      {
        name: 'LARS',
        step: 'lars',
        options: {
          lr: nonNegative(),
          momentum: belowOne(0.9),
          weightDecay: share(0),
          trustCoefficient: nonNegative(1e-3),
          maximize: flag(),
        },
        state: () => [{ name: 'momentum' }],
        roundsAfter: true,
      },
      params,
      options,
    );
  }
}
