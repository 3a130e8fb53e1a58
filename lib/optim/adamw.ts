import { type AdamWTensors, adamwStep } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { flag, nonNegative, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { Parameter, ParameterGroupOptions } from './parameter-group.js';

export interface AdamWOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** Decoupled weight decay; 0.01 unless given. */
  weightDecay?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/**
 * Adam with decoupled weight decay, as PyTorch's `AdamW`; t counts from 1, bias corrections are in double:
 * p ← p · (1 − lr · weightDecay);  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
 * p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps).
 * Loshchilov and Hutter, arXiv:1711.05101.
 */
export class AdamW extends Optimizer<AdamWOptions> {
  constructor(
    params: readonly Parameter[] | readonly ParameterGroupOptions<AdamWOptions>[],
    options: AdamWOptions = {},
  ) {
    super(
      'AdamW',
      params,
      options,
      {
        lr: nonNegative(1e-3),
        betas: twoBelowOne(0.9, 0.999),
        eps: nonNegative(1e-8),
        weightDecay: nonNegative(0.01),
        maximize: flag(),
      },
      ['m', 'v'],
    );
  }

  protected apply(hyperparameters: Tensor, count: Tensor, parameters: readonly (readonly Tensor[])[]): void {
    adamwStep(hyperparameters, count, parameters as unknown as readonly AdamWTensors[]);
  }
}
