import type { GradientOptions } from './gradient-control.js';
import { belowOne, flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdadeltaOptions {
  /** Learning rate, from 0 on; 1 unless given. */
  lr?: number;
  /** Decay of the averages, in [0, 1); 0.9 unless given. */
  rho?: number;
  /** Added to the averages before their roots are taken; 1e-6 unless given. */
  eps?: number;
  /** L2 penalty, in [0, 1]: this share of the parameter is added to the gradient; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Steps as large as former steps were against former gradients, as PyTorch's `Adadelta`:
 * g ← g + weightDecay · p;  v ← ρv + (1 − ρ)g²;  d = √(u + eps) / √(v + eps) · g;  u ← ρu + (1 − ρ)d²;  p ← p − lr · d.
 * Zeiler, arXiv:1212.5701.
 */
export class Adadelta extends Optimizer<AdadeltaOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdadeltaOptions>[],
    options: AdadeltaOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adadelta',
        step: 'adadelta',
        options: {
          lr: nonNegative(1),
          rho: belowOne(0.9),
          eps: nonNegative(1e-6),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'squareAvg' }, { name: 'accDelta' }],
      },
      params,
      options,
    );
  }
}
