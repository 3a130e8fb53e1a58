import type { Stateful } from '../io/index.js';
import { DrivetrainError, type TypedArray } from '../native/index.js';
import { activeRecorder } from '../ops/index.js';
import type { StepOptions, Stepper, StepReport } from '../optim/index.js';
import type { Tensor } from '../tensor/index.js';
import { Pruner } from './pruner.js';

/** Before the names of the masks. */
const PREFIX = 'pruner.';

/**
 * An optimizer, or something round one, after whose steps a pruner's masks are applied: what is pruned stays 0. Throws
 * `DT_INVALID_ARGUMENT` for a pruner of weights that the optimizer does not train.
 */
export class PrunedOptimizer implements Stepper, Stateful {
  readonly optimizer: Stepper & Stateful;
  readonly pruner: Pruner;

  constructor(optimizer: Stepper & Stateful, pruner: Pruner) {
    if (typeof optimizer?.step !== 'function' || !(pruner instanceof Pruner)) {
      throw invalid(
        'an optimizer and a Pruner',
        `${optimizer?.constructor?.name ?? typeof optimizer} and ${pruner?.constructor?.name ?? typeof pruner}`,
      );
    }
    const trained = new Set(
      optimizer.paramGroups.flatMap(({ params }) => params).map(({ storage }) => storage),
    );
    if (!pruner.weights.some(({ storage }) => trained.has(storage))) {
      throw invalid('a Pruner of the model that the optimizer trains', 'one of another model');
    }
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

  /** The optimizer's state, and the masks as `pruner.layers.0.weight`. */
  stateDict(): Record<string, unknown> {
    const masks = Object.entries(this.pruner.stateDict()).map(([name, mask]) => [PREFIX + name, mask]);
    return { ...this.optimizer.stateDict(), ...Object.fromEntries(masks) };
  }

  /** Copies all of it, and makes 0 what the masks prune; throws before anything is written where something does not fit. */
  loadStateDict(state: Readonly<Record<string, unknown>>): void {
    const isMask = ([name]: [string, unknown]) => name.startsWith(PREFIX);
    const entries = Object.entries(state);
    const masks = Object.fromEntries(
      entries.filter(isMask).map(([name, mask]) => [name.slice(PREFIX.length), mask as Tensor]),
    );
    this.pruner.checkState(masks);
    this.optimizer.loadStateDict(Object.fromEntries(entries.filter((entry) => !isMask(entry))) as never);
    this.pruner.loadStateDict(masks);
  }
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for PrunedOptimizer but received ${received}.`,
  );
}
