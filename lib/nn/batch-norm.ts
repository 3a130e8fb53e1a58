import { DrivetrainError } from '../native/index.js';
import {
  activeRecorder,
  add,
  assign,
  batchNorm,
  checkTensor,
  mul,
  normaliseBy,
  ones,
  transient,
  zeros,
} from '../ops/index.js';
import { checkOptions, formatShape, type Tensor } from '../tensor/index.js';
import { checkRange, checkWidth } from './checks.js';
import { Module } from './module.js';

export interface BatchNormOptions {
  /** Added to the variance; 1e-5 unless given. */
  eps?: number;
  /** The share of each batch in the running statistics; 0.1 unless given. */
  momentum?: number;
}

/**
 * In training, normalises each channel by the mean and variance of the batch, and moves the running ones towards them; in
 * evaluation, and where it is frozen, normalises by the running ones, which then stay as they are.
 */
abstract class BatchNorm extends Module {
  /** [channels], ones at first. */
  readonly weight: Tensor;
  /** [channels], zeros at first. */
  readonly bias: Tensor;
  /** [channels], zeros at first. A buffer. */
  readonly runningMean: Tensor;
  /** [channels], ones at first; with Bessel's correction. A buffer. */
  readonly runningVar: Tensor;
  readonly eps: number;
  readonly momentum: number;

  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super();
    checkWidth('numFeatures', numFeatures);
    checkOptions(new.target.name, options, ['eps', 'momentum']);
    const { eps = 1e-5, momentum = 0.1 } = options;
    checkRange(new.target.name, 'eps', eps, 0, Number.MAX_VALUE);
    checkRange(new.target.name, 'momentum', momentum, 0, 1);
    this.weight = ones([numFeatures]);
    this.bias = zeros([numFeatures]);
    this.runningMean = this.buffer(zeros([numFeatures]));
    this.runningVar = this.buffer(ones([numFeatures]));
    this.eps = eps;
    this.momentum = momentum;
  }

  protected normalise(x: Tensor): Tensor {
    const { weight, bias, runningMean, runningVar, eps, momentum } = this;
    if (!this.mode(() => this.#usesBatch())) {
      return normaliseBy(x, weight, bias, { mean: runningMean, variance: runningVar }, eps);
    }
    return transient(() => {
      const { y, statistics } = batchNorm(x, weight, bias, eps);
      const count = x.size / x.shape[1]!;
      const moved = (running: Tensor, now: Tensor, correction = 1) =>
        add(mul(running, 1 - momentum), mul(now, momentum * correction));
      const mean = moved(runningMean, statistics.mean);
      const variance = moved(runningVar, statistics.variance, count / (count - 1));
      // Both or none, where they are written at once: a run may hold one of them.
      if (activeRecorder()?.atEnd === undefined) {
        for (const running of [runningMean, runningVar]) running.checkReady(true);
      }
      assign(runningMean, mean);
      assign(runningVar, variance);
      return y;
    });
  }

  #usesBatch(): boolean {
    return this.training && !this.runningMean.storage.frozen && !this.runningVar.storage.frozen;
  }
}

/** [n, channels] or [n, channels, length]. */
export class BatchNorm1d extends BatchNorm {
  forward(x: Tensor): Tensor {
    checkLayout('BatchNorm1d', x, [2, 3], '[n, channels] or [n, channels, length]');
    return this.normalise(x);
  }
}

/** [n, channels, height, width]. */
export class BatchNorm2d extends BatchNorm {
  forward(x: Tensor): Tensor {
    checkLayout('BatchNorm2d', x, [4], '[n, channels, height, width]');
    return this.normalise(x);
  }
}

function checkLayout(layer: string, x: Tensor, ranks: readonly number[], layout: string): void {
  checkTensor(layer, x);
  if (ranks.includes(x.rank)) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected x ${layout} for ${layer} but received ${formatShape(x.shape)}.`,
  );
}
