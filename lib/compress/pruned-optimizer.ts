import type { TypedArray } from '../native/index.js';
import { activeRecorder } from '../ops/index.js';
import type { StepOptions, Stepper, StepReport } from '../optim/index.js';
import type { Tensor } from '../tensor/index.js';
import type { Pruner } from './pruner.js';

/** An optimizer, or something round one, after whose steps a pruner's masks are applied: what is pruned stays 0. */
export class PrunedOptimizer implements Stepper {
  readonly optimizer: Stepper;
  readonly pruner: Pruner;

  constructor(optimizer: Stepper, pruner: Pruner) {
    this.optimizer = optimizer;
    this.pruner = pruner;
  }

  get paramGroups(): Stepper['paramGroups'] {
    return this.optimizer.paramGroups;
  }

  get steps(): number {
    return this.optimizer.steps;
  }

  /** What the optimizer's latest step found. */
  get lastStep(): StepReport | undefined {
    return this.optimizer.lastStep;
  }

  step(gradients: readonly (Tensor | TypedArray)[], options?: StepOptions): void {
    if (activeRecorder() === undefined) this.pruner.checkReady();
    this.optimizer.step(gradients, options);
    this.pruner.apply();
  }
}
