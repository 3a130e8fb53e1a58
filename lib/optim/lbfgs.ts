import { DrivetrainError, type TypedArray } from '../native/index.js';
import { loadState, type StateEntry } from '../nn/index.js';
import { abs, add, assign, mul, sum, transient, zeros } from '../ops/index.js';
import { outsideScopes, Tensor } from '../tensor/index.js';
import { count, type Hyperparameter, nonNegative } from './hyperparameter.js';
import { direction, dot, FRESH, largestOf, type Memory, remember, vectorsOf } from './lbfgs-memory.js';
import { entriesOf, memoryLike } from './lbfgs-state.js';
import { asGradient, checkCount } from './optimizer.js';
import { checkOutsideRecording } from './outside-recording.js';
import {
  asGroups,
  checkKeys,
  makeGroup,
  type ParameterGroup,
  type ParameterGroupOptions,
} from './parameter-group.js';
import { checkOneDtype, namedParameters, type Parameters } from './parameters.js';
import { type LinePoint, strongWolfe } from './strong-wolfe.js';

export interface LBFGSOptions {
  /** Learning rate: the length of a step, or with a line search of its first trial, from 0 on; 1 unless given. */
  lr?: number;
  /** Iterations of a step; 20 unless given. */
  maxIter?: number;
  /** Evaluations after which a step ends; 1.25 · maxIter unless given. */
  maxEval?: number;
  /** A step ends where no element of the gradient is larger; 1e-7 unless given. */
  toleranceGrad?: number;
  /** A step ends where neither a parameter nor the loss changes by more; 1e-9 unless given. */
  toleranceChange?: number;
  /** Iterations that are remembered; 100 unless given. Each takes the memory of two gradients. */
  historySize?: number;
  /** A search for a length of the step that satisfies the strong Wolfe conditions; none unless given. */
  lineSearchFn?: 'strongWolfe' | undefined;
}

/** What the function that `step` evaluates gives: the loss, and its gradients in the order of the parameters. */
export interface LossAndGradients {
  readonly loss: Tensor | number;
  readonly gradients: readonly (Tensor | TypedArray)[];
}

/** Where the parameters stand. */
interface Place {
  readonly loss: number;
  readonly gradient: Tensor;
  readonly largest: number;
}

const lineSearches: Hyperparameter<'strongWolfe' | undefined> = {
  default: undefined,
  expected: "'strongWolfe' or undefined",
  width: 1,
  encode: (value) => (value === undefined ? [0] : value === 'strongWolfe' ? [1] : undefined),
  decode: ([value]) => (value === 1 ? 'strongWolfe' : undefined),
};

/**
 * A quasi-Newton method with little memory, as PyTorch's `LBFGS`: each iteration goes along d = −Hg, where H is made of the
 * last pairs s = t · d and y = g − g_before (those with y · s > 10⁻¹⁰) by the two-loop recursion, from H₀ = (y · s) / (y · y).
 * The first one goes along −g, for min(1, 1 / ‖g‖₁) · lr.
 * Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989; see also `strongWolfe`.
 * One group of f32 or f64 parameters; eager only, since it evaluates the loss as often as it needs.
 */
export class LBFGS {
  readonly paramGroups: readonly [ParameterGroup<LBFGSOptions>];
  readonly #starts: readonly number[];
  readonly #size: number;
  #memory = FRESH;

  constructor(
    params: Parameters | readonly ParameterGroupOptions<LBFGSOptions>[],
    options: LBFGSOptions = {},
  ) {
    const [name, maxIter] = ['LBFGS', count(20)];
    const table = {
      lr: nonNegative(1),
      maxIter,
      maxEval: count(25),
      toleranceGrad: nonNegative(1e-7),
      toleranceChange: nonNegative(1e-9),
      historySize: count(100),
      lineSearchFn: lineSearches,
    };
    checkKeys(name, options, table);
    const groups = asGroups(name, params);
    if (groups.length > 1) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected one group of parameters for LBFGS but received ${groups.length}; its steps are made for all of them together.`,
      );
    }
    const [given] = groups as [ParameterGroupOptions<LBFGSOptions>];
    checkKeys(`a group of ${name}`, given, table, ['params']);
    const [named] = namedParameters(name, groups, ['f32', 'f64']) as [ReturnType<typeof namedParameters>[0]];
    checkOneDtype(name, named);
    const iterations = given.maxIter ?? options.maxIter ?? maxIter.default!;
    const most = { maxEval: Math.max(1, Math.floor(1.25 * iterations)) };
    this.paramGroups = [makeGroup<LBFGSOptions>(name, named, table, () => {}, given, options, most).group];
    const starts = [0];
    for (const { tensor } of named) starts.push(starts.at(-1)! + tensor.size);
    this.#starts = starts;
    this.#size = starts.at(-1)!;
  }

  /** Iterations so far, over all steps. */
  get steps(): number {
    return this.#memory.iterations;
  }

  /**
   * Up to `maxIter` iterations, in place. `closure` evaluates the loss and its gradients at the parameters as they are
   * when it is called, and is called several times; what it makes in pools is freed afterwards. Gives the loss before
   * the step. Where anything throws, the parameters are put back, and nothing is remembered. A loss or gradient that is
   * not finite throws `DT_NON_FINITE`, except at the trials of a line search, which count it as too high.
   */
  step(closure: () => LossAndGradients): number {
    checkOutsideRecording(
      'LBFGS.step',
      'it depends on the values of losses',
      'compile the closure that it evaluates, and use its runSync',
    );
    if (typeof closure !== 'function') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a function that gives { loss, gradients } for step of LBFGS but received ${typeof closure}.`,
      );
    }
    for (const param of this.paramGroups[0].params) param.checkReady(true);
    const before = this.#memory;
    const { first, memory } = outsideScopes(() =>
      transient(() => {
        const start = this.#gathered(this.paramGroups[0].params);
        try {
          return this.#minimise(closure);
        } catch (error) {
          this.#spread(start);
          throw error;
        }
      }),
    );
    this.#memory = memory;
    const kept = vectorsOf(memory);
    for (const vector of vectorsOf(before)) if (!kept.has(vector)) vector.dispose();
    return first;
  }

  /** The iterations of a step: the loss that it began with, and what is remembered after it. */
  #minimise(closure: () => LossAndGradients): { first: number; memory: Memory } {
    const { maxIter, maxEval, toleranceGrad, toleranceChange } = this.paramGroups[0];
    let place = this.#evaluate(closure);
    const first = place.loss;
    let memory: Memory = { ...this.#memory, evaluations: this.#memory.evaluations + 1 };
    let evaluations = 1;
    if (place.largest <= toleranceGrad) return { first, memory };
    for (let iteration = 1; iteration <= maxIter; iteration++) {
      const made = transient(() => this.#iterate(closure, memory, place, iteration === maxIter));
      const before = place.loss;
      evaluations += made.memory.evaluations - memory.evaluations;
      ({ memory, place } = made);
      const isDone =
        made.moved === undefined ||
        evaluations >= maxEval ||
        place.largest <= toleranceGrad ||
        made.moved <= toleranceChange ||
        Math.abs(place.loss - before) < toleranceChange;
      if (isDone) break;
    }
    return { first, memory };
  }

  /**
   * One iteration; `moved` is the largest change of an element, undefined where the direction does not go down far enough.
   * Without a line search the last one leaves the loss at the new place to the next step.
   */
  #iterate(
    closure: () => LossAndGradients,
    memory: Memory,
    place: Place,
    isLast: boolean,
  ): { memory: Memory; place: Place; moved: number | undefined } {
    const { lr, toleranceChange, historySize, lineSearchFn } = this.paramGroups[0];
    const { gradient, loss } = place;
    const iterations = memory.iterations + 1;
    const { pairs, scale } = remember(memory, gradient, historySize);
    const d = direction(gradient, pairs, scale);
    const first = iterations === 1 ? Math.min(1, 1 / sum(abs(gradient)).item()) * lr : lr;
    const slope = dot(gradient, d);
    const now = (t: number, evaluations: number): Memory => ({
      iterations,
      evaluations: memory.evaluations + evaluations,
      pairs,
      scale,
      last: { d, t, loss, gradient },
    });
    if (slope > -toleranceChange) return { memory: now(first, 0), place, moved: undefined };

    const from = this.#gathered(this.paramGroups[0].params);
    const go = (t: number) => transient(() => this.#spread(add(from, mul(d, t))));
    const largest = largestOf(d);
    if (lineSearchFn === undefined) {
      go(first);
      const after = isLast ? place : this.#evaluate(closure);
      return { memory: now(first, isLast ? 0 : 1), place: after, moved: largest * first };
    }
    const evaluate = (t: number): LinePoint => {
      go(t);
      const { loss: found, gradient: there } = this.#look(closure);
      const slopeThere = dot(there, d);
      const isSound = Number.isFinite(found) && Number.isFinite(slopeThere);
      return { t, loss: isSound ? found : Infinity, gradient: there, slope: slopeThere };
    };
    const start = { t: 0, loss, gradient, slope };
    const { point, evaluations } = strongWolfe({ start, first, largest, toleranceChange, evaluate });
    go(point.t);
    const after = { loss: point.loss, gradient: point.gradient, largest: largestOf(point.gradient) };
    return { memory: now(point.t, evaluations), place: after, moved: largest * point.t };
  }

  /** Calls the closure; a loss and gradients that are not finite are refused. */
  #evaluate(closure: () => LossAndGradients): Place {
    const { loss, gradient } = this.#look(closure);
    const largest = largestOf(gradient);
    if (Number.isFinite(loss) && Number.isFinite(largest)) return { loss, gradient, largest };
    throw new DrivetrainError(
      'DT_NON_FINITE',
      `Expected a finite loss and finite gradients for LBFGS but received a loss of ${loss} and a largest gradient of ${largest}; lower lr, or use lineSearchFn: 'strongWolfe'.`,
    );
  }

  #look(closure: () => LossAndGradients): Pick<Place, 'loss' | 'gradient'> {
    const { params } = this.paramGroups[0];
    const gradient = this.#zeros();
    const loss = transient(() => {
      const result = closure();
      checkResult(result);
      checkCount(result.gradients, params.length);
      const gradients = result.gradients.map((one, i) => asGradient(one, params[i]!, i));
      this.#copyInto(gradient, gradients);
      return typeof result.loss === 'number' ? result.loss : result.loss.item();
    });
    return { loss, gradient };
  }

  /** A vector: an element for each one of all parameters. */
  #zeros(): Tensor {
    return zeros([this.#size], { dtype: this.paramGroups[0].params[0]!.dtype as 'f32' | 'f64' });
  }

  /** Of a vector, what belongs to a parameter: a view in its shape. */
  #part(vector: Tensor, i: number): Tensor {
    return vector.viewAs(this.paramGroups[0].params[i]!.shape, undefined, this.#starts[i]!);
  }

  #gathered(tensors: readonly Tensor[]): Tensor {
    const vector = this.#zeros();
    this.#copyInto(vector, tensors);
    return vector;
  }

  #copyInto(vector: Tensor, tensors: readonly Tensor[]): void {
    for (const [i, tensor] of tensors.entries()) assign(this.#part(vector, i), tensor);
  }

  #spread(vector: Tensor): void {
    for (const [i, param] of this.paramGroups[0].params.entries()) assign(param, this.#part(vector, i));
  }

  /**
   * What is remembered, under PyTorch's names: numbers for all parameters (`nIter`, `funcEvals`, `t`, `hDiag`, `prevLoss`,
   * `ro`), and for each parameter `name.d`, `name.prevFlatGrad`, and `name.oldStps.k` and `name.oldDirs.k`, the oldest
   * first. The tensors last until the next step.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#entries(this.#memory).map(({ name, tensor }) => [name, tensor]));
  }

  /** Takes up where `stateDict` was called. Throws before anything changes where a tensor is missing or of another kind. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    const memory = outsideScopes(() =>
      transient(() => {
        const loaded = memoryLike(state, () => this.#zeros());
        loadState(this.#entries(loaded), state);
        return loaded;
      }),
    );
    const before = this.#memory;
    this.#memory = memory;
    for (const vector of vectorsOf(before)) vector.dispose();
  }

  #entries(memory: Memory): StateEntry[] {
    return entriesOf(memory, this.paramGroups[0].names, (vector, i) => this.#part(vector, i));
  }
}

function checkResult(result: unknown): asserts result is LossAndGradients {
  const { then, loss, gradients } = (result ?? {}) as Partial<Promise<unknown> & LossAndGradients>;
  if ((loss instanceof Tensor || typeof loss === 'number') && Array.isArray(gradients)) return;
  if (typeof then === 'function') (result as Promise<unknown>).then(undefined, () => {});
  const received =
    typeof then === 'function'
      ? 'a promise (call runSync of a compiled function)'
      : typeof result === 'object' && result !== null
        ? `{ ${Object.keys(result).join(', ')} }`
        : String(result);
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected { loss, gradients } from the function that step of LBFGS evaluates, a tensor or number and an array, but received ${received}.`,
  );
}
