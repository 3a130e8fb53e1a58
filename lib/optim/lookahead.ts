import { DrivetrainError, inspect, type TypedArray } from '../native/index.js';
import { loadState, type StateEntry, stateEntry } from '../nn/index.js';
import { assign } from '../ops/index.js';
import { outsideScopes, type Tensor, wrap } from '../tensor/index.js';
import { NO_OPTIONS, type StepOptions, type StepReport } from './gradient-control.js';
import { GroupState } from './group-state.js';
import { count, type HyperparameterTable, share } from './hyperparameter.js';
import { Optimizer, type Stepper } from './optimizer.js';
import { checkKeys, makeGroup } from './parameter-group.js';

export interface LookaheadOptions {
  /** Steps of the optimizer between two of the slow weights; 5 unless given. */
  k?: number;
  /** How far the slow weights go towards the fast ones, in [0, 1]; 0.5 unless given. */
  alpha?: number;
}

const TABLE: HyperparameterTable<LookaheadOptions> = { k: count(5), alpha: share(0.5) };

/** Before the names of its own state. */
export const LOOKAHEAD = 'lookahead.';

/**
 * Weights that look ahead: every k steps of the optimizer, slow ← slow + alpha · (p − slow), and p ← slow. Slow weights
 * begin as the parameters are. f32 and f64; eager or inside `compile(fn)`.
 * Zhang, Lucas, Hinton and Ba, arXiv:1907.08610, algorithm 1.
 */
export class Lookahead<H extends object> implements Stepper {
  readonly optimizer: Optimizer<H>;
  /** Not `#private`: a scope that returns this object has to find its tensors. */
  private readonly slow: readonly GroupState<LookaheadOptions>[];

  constructor(optimizer: Optimizer<H>, options: LookaheadOptions = {}) {
    checkKeys('Lookahead', options, TABLE);
    if (!(optimizer instanceof Optimizer)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected an optimizer for Lookahead but received ${inspect(optimizer, { depth: 0 })}; what accumulates goes round it.`,
      );
    }
    this.optimizer = optimizer;
    const groups = optimizer.paramGroups;
    const half = groups
      .flatMap(({ params }) => params)
      .find(({ dtype }) => dtype !== 'f32' && dtype !== 'f64');
    if (half !== undefined) {
      throw new DrivetrainError(
        'DT_DTYPE_MISMATCH',
        `Expected f32 or f64 parameters for Lookahead but received ${half.dtype}.`,
      );
    }
    this.slow = outsideScopes(() =>
      groups.map(({ params, names }) => {
        const named = params.map((tensor, i) => ({ tensor, name: names[i]! }));
        const { group, numbers } = makeGroup('Lookahead', named, TABLE, () => {}, options);
        const kernel = { step: 'lookahead', state: [{ name: 'slow' }] } as const;
        const read = { method: 'Lookahead', group, numbers: wrap(numbers), table: TABLE };
        return new GroupState<LookaheadOptions>(kernel, named, read, optimizer.control.tensor, {});
      }),
    );
    for (const { params, state } of this.slow) {
      for (const [i, parameter] of params.entries()) assign(state[0]!.of(i), parameter);
    }
  }

  get paramGroups(): Stepper['paramGroups'] {
    return this.optimizer.paramGroups as unknown as Stepper['paramGroups'];
  }

  /** What the optimizer's latest step found. */
  get lastStep(): StepReport | undefined {
    return this.optimizer.lastStep;
  }

  /** Steps of the optimizer. */
  get steps(): number {
    return this.optimizer.steps;
  }

  /** A step of the optimizer, and every k-th time one of the slow weights. */
  step(gradients: readonly (Tensor | TypedArray)[], options: StepOptions = NO_OPTIONS): void {
    this.optimizer.step(gradients, options);
    // What kept the optimizer from stepping keeps the slow weights, too.
    for (const state of this.slow) state.prepare(state.params, this.optimizer.control.latest)();
  }

  /** The optimizer's state, and the slow weights as `lookahead.parameter.slow`. */
  stateDict(): Record<string, Tensor> {
    const own = this.#entries().map(({ name, tensor }) => [name, tensor] as const);
    return { ...this.optimizer.stateDict(), ...Object.fromEntries(own) };
  }

  /** Copies all of it; throws before anything is written where something does not fit. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState([...this.optimizer.stateEntries(state), ...this.#entries()], state);
  }

  #entries(): StateEntry[] {
    return this.slow.flatMap((group) =>
      group
        .entries()
        .map(({ parameter, which, tensor }) => stateEntry(`${LOOKAHEAD}${parameter}.${which}`, tensor)),
    );
  }
}
