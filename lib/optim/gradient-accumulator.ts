import { DrivetrainError, type TypedArray } from '../native/index.js';
import { loadState, stateEntry } from '../nn/index.js';
import { accumulate, activeRecorder, assign, type GradientSums, transient, zeros } from '../ops/index.js';
import { outsideScopes, type Tensor } from '../tensor/index.js';
import { computedIn, filledBeside } from './flat-state.js';
import { NO_OPTIONS, type StepOptions, type StepReport } from './gradient-control.js';
import { asGradients, checkCount, checkStepper, type Stepper } from './optimizer.js';

/**
 * Steps an optimizer once in so many batches, with the mean of their gradients: a batch as large as memory does not hold.
 * Sums are kept in f32 for f16 and bf16. Inside `compile(fn)` too: then all runs of the one program count together.
 */
export class GradientAccumulator implements Stepper {
  readonly optimizer: Stepper;
  /** How many batches make a step. */
  readonly batches: number;
  readonly #parameters: readonly Tensor[];
  readonly #names: readonly string[];
  /** Not `#private`: a scope that returns this object has to find its tensors. */
  private readonly held: GradientSums;

  constructor(optimizer: Stepper, batches: number) {
    if (!Number.isSafeInteger(batches) || batches < 1) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a whole number above 0 as batches of GradientAccumulator but received ${String(batches)}.`,
      );
    }
    checkStepper('GradientAccumulator', optimizer);
    this.optimizer = optimizer;
    this.batches = batches;
    this.#parameters = optimizer.paramGroups.flatMap(({ params }) => params);
    this.#names = optimizer.paramGroups.flatMap(({ names }) => names);
    this.held = outsideScopes(() => {
      const scalar = () => filledBeside(this.#parameters, 1, 0, 'f64').viewAs([]);
      return {
        count: scalar(),
        whole: scalar(),
        sums: this.#parameters.map((parameter) =>
          filledBeside([parameter], parameter.size, 0, computedIn(parameter.dtype)).viewAs(parameter.shape),
        ),
      };
    });
  }

  get paramGroups(): Stepper['paramGroups'] {
    return this.optimizer.paramGroups;
  }

  /** Batches since the last step. */
  get pending(): number {
    return this.held.count.item();
  }

  /** Steps of the optimizer. */
  get steps(): number {
    return this.optimizer.steps;
  }

  /** What the optimizer's latest step found. */
  get lastStep(): StepReport | undefined {
    return this.optimizer.lastStep;
  }

  /**
   * Takes the gradients of a batch, as `step` of the optimizer does, and steps where it is the last one. Where the
   * optimizer refuses to, that batch is not taken; those before it stay, until `reset()`.
   */
  step(gradients: readonly (Tensor | TypedArray)[], options: StepOptions = NO_OPTIONS): void {
    checkCount(gradients, this.#parameters.length);
    const checked = asGradients(gradients, this.#parameters, [...this.#parameters.keys()]);
    if (activeRecorder() !== undefined) {
      const { whole, sums } = accumulate(this.held, checked, this.batches);
      this.optimizer.step(sums, { ...options, when: whole });
      return;
    }
    const { count } = this.held;
    if (count.item() + 1 < this.batches) {
      accumulate(this.held, checked, this.batches);
      return;
    }
    transient(() => {
      const { sums } = accumulate(this.held, checked, this.batches, true);
      this.optimizer.step(sums, options);
      assign(count, zeros([], { dtype: 'f64' }));
    });
  }

  /** Drops the batches since the last step. */
  reset(): void {
    transient(() => assign(this.held.count, zeros([], { dtype: 'f64' })));
  }

  /** The sums by the parameters' names, and `pending`; the optimizer has a state of its own. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#entries().map(({ name, tensor }) => [name, tensor]));
  }

  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(
      this.#entries().map(({ name, tensor }) => stateEntry(name, tensor)),
      state,
    );
  }

  #entries(): { name: string; tensor: Tensor }[] {
    const sums = this.held.sums.map((tensor, i) => ({ name: `${this.#names[i]}.sum`, tensor }));
    return [...sums, { name: 'pending', tensor: this.held.count }];
  }
}
