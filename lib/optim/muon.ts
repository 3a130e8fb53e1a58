import { DrivetrainError } from '../native/index.js';
import { formatShape } from '../tensor/index.js';
import type { GradientOptions } from './gradient-control.js';
import { belowOne, flag, nonNegative, share } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface MuonOptions {
  /** Learning rate, from 0 on; 0.02 unless given. */
  lr?: number;
  /** Share of the former direction that is kept, in [0, 1); 0.95 unless given. */
  momentum?: number;
  /** Looks ahead along the momentum; true unless given. */
  nesterov?: boolean;
  /** This share of the parameter, times lr, is taken off before the step, in [0, 1]; 0 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Momentum made nearly orthogonal, for the matrices of hidden layers:
 * b ← momentum · b + g;  u = g + momentum · b with Nesterov, else b;  x = u / (‖u‖ + 10⁻⁷), ‖·‖ over all elements;
 * five times x ← 3.4445 x − 4.7750 (x xᵀ) x + 2.0315 (x xᵀ)² x, which takes singular values to between about 0.7 and 1.2;
 * p ← p − lr · weightDecay · p − lr · √max(1, rows / columns) · x.
 * Of more than two dimensions the first counts rows and the others columns, as in the filters of a convolution. Vectors,
 * and best also embeddings and the last layer, belong to another optimizer.
 * Jordan and others, "Muon: An optimizer for hidden layers in neural networks", 2024; the factor of the rate is that of
 * its authors' code.
 */
export class Muon extends Optimizer<MuonOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<MuonOptions>[],
    options: MuonOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Muon',
        step: 'muon',
        options: {
          lr: nonNegative(0.02),
          momentum: belowOne(0.95),
          nesterov: flag(true),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'momentum' }],
        roundsAfter: true,
      },
      params,
      options,
    );
    for (const { params: own, names } of this.paramGroups) {
      own.forEach(({ shape }, i) => {
        if (shape.length >= 2) return;
        throw new DrivetrainError(
          'DT_SHAPE_MISMATCH',
          `Expected parameters of two dimensions or more for Muon but received ${names[i]!} of shape ${formatShape(shape)}; give vectors to another optimizer, such as AdamW, and arrays as wrap(array, [rows, columns]).`,
        );
      });
    }
  }
}
