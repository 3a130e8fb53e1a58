import { DrivetrainError } from '../native/index.js';
import type { Shape } from '../tensor/index.js';
import type { GradientOptions } from './gradient-control.js';
import {
  belowOne,
  flag,
  nonNegative,
  nonPositive,
  positive,
  positiveAndNonNegative,
  share,
} from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroup, ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface AdafactorOptions {
  /** Learning rate, from 0 on; with `relativeStep` the largest that it may be. 1e-2 unless given. */
  lr?: number;
  /**
   * What is added to squared gradients, above 0, and what the root mean square of a parameter counts as at least;
   * [1e-30, 1e-3] unless given.
   */
  eps?: readonly [eps1: number, eps2: number];
  /** The root mean square that an update is cut to, above 0; 1 unless given. */
  clipThreshold?: number;
  /** The second moment of step t decays by 1 − t^decayRate; at most 0, −0.8 unless given. */
  decayRate?: number;
  /** Share of the former update that is kept, in [0, 1); 0 unless given: without the memory of a momentum. */
  beta1?: number;
  /** This share of the parameter, times its rate, is taken off before the step, in [0, 1]; 0 unless given. */
  weightDecay?: number;
  /** Rates in proportion to the root mean square of each parameter; true unless given. */
  scaleParameter?: boolean;
  /** Rates of at most 1 / √t; true unless given. */
  relativeStep?: boolean;
  /** Rates of at most 1e-6 · t as well; needs `relativeStep`. */
  warmupInit?: boolean;
  /** Goes up the gradient. */
  maximize?: boolean;
}

const isMatrix = (shape: Shape) => shape.length >= 2;

/**
 * Adam with little memory: a matrix keeps the second moment's sums by rows and by columns, some rows + columns numbers,
 * and anything else a number for each element. Of more dimensions the last two make matrices. With t from 1,
 * β = 1 − t^decayRate and means by rows, columns or over all:
 * r ← βr + (1 − β) meanᵣ(g² + eps₁);  c ← βc + (1 − β) mean_c(g² + eps₁);  v = r c / mean(r);
 * v ← βv + (1 − β)(g² + eps₁) where it is not factored;  u = g / √v;  u ← u / max(1, rms(u) / clipThreshold);
 * ρ = lr, with `relativeStep` min(lr, 1 / √t) and with `warmupInit` min(lr, 10⁻⁶ t, 1 / √t);
 * α = ρ · max(eps₂, rms(p)) with `scaleParameter`, else ρ;  p ← p − weightDecay · α · p;
 * p ← p − αu, or with β₁: m ← β₁m + (1 − β₁) αu;  p ← p − m.
 * Shazeer and Stern, arXiv:1804.04235, algorithms 4 to 6, with fairseq's and transformers' warm-up, decay and momentum;
 * the rate as a bound of the relative step is PyTorch's.
 */
export class Adafactor extends Optimizer<AdafactorOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<AdafactorOptions>[],
    options: AdafactorOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adafactor',
        step: 'adafactor',
        options: {
          lr: nonNegative(1e-2),
          eps: positiveAndNonNegative(1e-30, 1e-3),
          clipThreshold: positive(1),
          decayRate: nonPositive(-0.8),
          beta1: { ...belowOne(0), fixed: (value) => value > 0 },
          weightDecay: share(0),
          scaleParameter: flag(true),
          relativeStep: flag(true),
          warmupInit: flag(),
          maximize: flag(),
        },
        state: ({ beta1 }) => [
          { name: 'row', shapeOf: (shape) => (isMatrix(shape) ? shape.slice(0, -1) : undefined) },
          {
            name: 'column',
            shapeOf: (shape) => (isMatrix(shape) ? [...shape.slice(0, -2), shape.at(-1)!] : undefined),
          },
          { name: 'unfactored', shapeOf: (shape) => (isMatrix(shape) ? undefined : shape) },
          ...(beta1 > 0 ? [{ name: 'momentum' }] : []),
        ],
        check: checkWarmup,
        roundsAfter: true,
      },
      params,
      options,
    );
  }
}

function checkWarmup({ warmupInit, relativeStep }: ParameterGroup<AdafactorOptions>): void {
  if (!warmupInit || relativeStep) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    'Expected relativeStep for Adafactor with warmupInit but received false; use WarmupCosineLR or LinearLR to warm up a rate of your own.',
  );
}
