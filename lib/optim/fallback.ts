import { DrivetrainError, type ErrorCode, inspect, type TypedArray } from '../native/index.js';
import { checkOptions, sameElements, sameShape, type Tensor } from '../tensor/index.js';
import { carryOver, keep, type Stepping } from './carry-over.js';
import { CircuitBreaker, type CircuitState } from './circuit-breaker.js';
import { NO_OPTIONS, type StepOptions, type StepReport } from './gradient-control.js';
import { notify } from './notify.js';
import { checkStepper, type Stepper } from './optimizer.js';
import { checkOutsideRecording } from './outside-recording.js';

/** A step that the fallback took because the primary refused it. */
export interface FallbackEvent {
  /** Why: what the primary threw. */
  readonly error: unknown;
  /** Failures of the primary so far. */
  readonly failures: number;
  /** Whether the fallback stays for good from now on. */
  readonly swapped: boolean;
}

export interface FallbackOptions {
  /** The fallback stays for good when the breaker has opened so many times without closing in between; 3 unless given. */
  swapAfter?: number;
  /** Called after each step that the primary refused and the fallback took. */
  onFallback?: (event: FallbackEvent) => void;
}

export interface FallbackStatus {
  /** Who took the last step: the primary before the first. */
  readonly active: Role;
  /** Whether the fallback stays for good. */
  readonly swapped: boolean;
  readonly breaker: CircuitState;
  readonly primarySteps: number;
  readonly fallbackSteps: number;
  /** Steps that the primary refused and the fallback took. */
  readonly failures: number;
  /** What the primary threw last of these. */
  readonly lastError: unknown;
}

type Role = 'primary' | 'fallback';

/** What of it is no tensor, as JSON. */
interface Progress {
  readonly active: Role;
  readonly swapped: boolean;
  readonly primarySteps: number;
  readonly fallbackSteps: number;
  readonly failures: number;
}

/**
 * Errors that say nothing of the primary: gradients which are not finite, and which a fallback that does not look would
 * write into the parameters; and memory that a run is using, so that the same step will do when it has ended.
 */
const OF_THE_CALL: readonly (ErrorCode | undefined)[] = ['DT_NON_FINITE', 'DT_TENSOR_BUSY'];

/**
 * Two optimizers of the same parameters, of which the second steps where the first throws: with the same gradients, from
 * the same parameters, since a refused step changes nothing. While the breaker is open the fallback steps by itself; when
 * the breaker lets an attempt through the primary is tried again; when it has opened 3 times without closing in between,
 * the fallback stays for good. The first fallback, and the swap, are told as warnings (`DT_FALLBACK`, `DT_SWAPPED`).
 *
 * What the fallback refuses as well, with the same code, was wrong with the call: it is thrown, counts as no failure of
 * the primary and changes nothing. So are, without asking the fallback, `DT_NON_FINITE` and `DT_TENSOR_BUSY`. Where the two
 * fail for different reasons, the primary's failure counts, and `DT_FALLBACK_FAILED` has both as its `cause`.
 *
 * State goes along with who steps, group by group, where both keep the same (`step` and whatever else: docs/resilience.md
 * has the table); else each goes on with its own. Options are the primary's (`paramGroups`), but the fallback's learning
 * rates keep their proportion to the primary's (unless that was 0 when this was made), so that one schedule serves both.
 *
 * On arrays and tensors, eagerly: a recorded program cannot catch what one of its steps throws. An optimizer of one's own
 * must leave parameters and state as they were when it throws.
 */
export class FallbackOptimizer implements Stepper {
  /** Not `#private`: a scope that returns this object has to find its tensors. */
  private readonly optimizers: Readonly<Record<Role, Stepping>>;
  readonly #breaker: CircuitBreaker;
  readonly #swapAfter: number;
  readonly #onFallback: FallbackOptions['onFallback'];
  /** For each group of the fallback: its learning rate at first, the primary's group, and that one's rate at first. */
  readonly #rates: readonly { lr: number; of: { readonly lr: number }; initial: number }[];
  #progress: Progress = { active: 'primary', swapped: false, primarySteps: 0, fallbackSteps: 0, failures: 0 };
  #lastError: unknown;
  #warned = false;

  constructor(
    primary: Stepping,
    fallback: Stepping,
    breaker: CircuitBreaker = new CircuitBreaker(),
    options: FallbackOptions = {},
  ) {
    checkOptions('FallbackOptimizer', options, ['swapAfter', 'onFallback']);
    const { swapAfter = 3, onFallback } = options;
    if (!(Number.isSafeInteger(swapAfter) && swapAfter >= 1)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected swapAfter of FallbackOptimizer to be a whole number from 1 on but received ${inspect(swapAfter)}.`,
      );
    }
    checkStepper('FallbackOptimizer', primary);
    checkStepper('FallbackOptimizer', fallback);
    if (typeof breaker?.begin !== 'function') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a CircuitBreaker as the third argument of FallbackOptimizer but received ${inspect(breaker, { depth: 0 })}; options come after it.`,
      );
    }
    checkSameParameters(primary, fallback);
    this.optimizers = { primary, fallback };
    this.#breaker = breaker;
    this.#swapAfter = swapAfter;
    this.#onFallback = onFallback;
    this.#rates = fallback.paramGroups.map(({ lr, names }) => {
      const of = primary.paramGroups.find((group) => group.names.includes(names[0]!))!;
      return { lr, of, initial: of.lr };
    });
  }

  /** The primary's, also while the fallback steps. */
  get paramGroups(): Stepping['paramGroups'] {
    return this.optimizers.primary.paramGroups;
  }

  /** Steps taken, by either. */
  get steps(): number {
    return this.#progress.primarySteps + this.#progress.fallbackSteps;
  }

  /** What the last step found in its gradients, where whoever took it looked at them. */
  get lastStep(): StepReport | undefined {
    return this.optimizers[this.#progress.active].lastStep;
  }

  get status(): FallbackStatus {
    return { ...this.#progress, breaker: this.#breaker.state, lastError: this.#lastError };
  }

  /** One step, in place, by the primary or the fallback. */
  step(gradients: readonly (Tensor | TypedArray)[], options: StepOptions = NO_OPTIONS): void {
    checkOutsideRecording(
      'FallbackOptimizer.step',
      'a program cannot catch what one of its steps throws',
      'return the gradients and step with them, or record the step of one optimizer',
    );
    const attempt = this.#progress.swapped ? undefined : this.#breaker.begin();
    if (attempt === undefined) {
      this.#stepBy('fallback', gradients, options);
      return;
    }
    try {
      this.#stepBy('primary', gradients, options);
    } catch (error) {
      if (OF_THE_CALL.includes(codeOf(error))) {
        attempt.abandon();
        throw error;
      }
      try {
        this.#stepBy('fallback', gradients, options);
      } catch (second) {
        if (codeOf(error) !== undefined && codeOf(error) === codeOf(second)) {
          attempt.abandon();
          throw error;
        }
        attempt.fail();
        throw bothFailed(error, second);
      }
      attempt.fail();
      this.#fellBack(error);
      return;
    }
    attempt.succeed();
  }

  /** A step of one of the two, on the state of whoever stepped before; all stays as it was where it throws. */
  #stepBy(role: Role, gradients: readonly (Tensor | TypedArray)[], options: StepOptions): void {
    const { active } = this.#progress;
    const optimizer = this.optimizers[role];
    const kept = role === active ? undefined : carryOver(this.optimizers[active], optimizer);
    const rates = optimizer.paramGroups.map(({ lr }) => lr);
    try {
      if (role === 'fallback') this.#followRates();
      optimizer.step(gradients, options);
    } catch (error) {
      kept?.putBack();
      optimizer.paramGroups.forEach((group, i) => {
        group.lr = rates[i]!;
      });
      throw error;
    }
    kept?.forget();
    const count = role === 'primary' ? 'primarySteps' : 'fallbackSteps';
    this.#progress = { ...this.#progress, active: role, [count]: this.#progress[count] + 1 };
  }

  #followRates(): void {
    this.optimizers.fallback.paramGroups.forEach((group, i) => {
      const { lr, of, initial } = this.#rates[i]!;
      if (initial > 0) group.lr = lr * (of.lr / initial);
    });
  }

  #fellBack(error: unknown): void {
    const failures = this.#progress.failures + 1;
    const swapped = this.#breaker.openings >= this.#swapAfter;
    this.#progress = { ...this.#progress, failures, swapped };
    this.#lastError = error;
    const why = `The primary optimizer failed: ${messageOf(error)}.`;
    if (swapped) {
      warn('DT_SWAPPED', `${why} The fallback steps for good from now on, after ${failures} failures.`);
    } else if (!this.#warned) {
      warn('DT_FALLBACK', `${why} The fallback took this step; further ones are not warned of, see status.`);
    }
    this.#warned = true;
    notify(this.#onFallback, { error, failures, swapped });
  }

  /**
   * The state of both, as `primary.name` and `fallback.name`: the tensors themselves; and as `progress`, JSON, who steps and
   * what was counted. Errors and the breaker's memory are not kept.
   */
  stateDict(): Record<string, Tensor | Progress> {
    const { primary, fallback } = this.optimizers;
    return {
      ...prefixed('primary', primary.stateDict()),
      ...prefixed('fallback', fallback.stateDict()),
      progress: this.#progress,
    };
  }

  /** Goes on where `stateDict` was called. Throws as the two optimizers do, and changes nothing then. */
  loadStateDict(state: Readonly<Record<string, unknown>>): void {
    const { progress, ...tensors } = state;
    checkProgress(progress);
    const unknown = Object.keys(tensors).filter((key) => !/^(primary|fallback)\./.test(key));
    if (unknown.length > 0) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected primary.…, fallback.… and progress for loadStateDict of FallbackOptimizer but received ${unknown.join(', ')}.`,
      );
    }
    const { primary, fallback } = this.optimizers;
    const kept = keep(Object.values(primary.stateDict()));
    try {
      primary.loadStateDict(under('primary', tensors));
      try {
        fallback.loadStateDict(under('fallback', tensors));
      } catch (error) {
        kept.putBack();
        throw error;
      }
    } finally {
      kept.forget();
    }
    this.#progress = { ...progress };
  }
}

/** Both must step the same memory, and know it by the same names. */
function checkSameParameters(primary: Stepping, fallback: Stepping): void {
  const [own, others] = [primary, fallback].map(({ paramGroups }) =>
    paramGroups.flatMap(({ params, names }) => params.map((tensor, i) => ({ tensor, name: names[i]! }))),
  ) as [{ tensor: Tensor; name: string }[], { tensor: Tensor; name: string }[]];
  if (own.length !== others.length) refuseParameters(`${own.length} and ${others.length} of them`);
  own.forEach(({ tensor, name }, i) => {
    const other = others[i]!;
    if (name !== other.name) refuseParameters(`${inspect(name)} and ${inspect(other.name)} in position ${i}`);
    if (!sameElements(tensor, other.tensor) || !sameShape(tensor.shape, other.tensor.shape)) {
      refuseParameters(`two different tensors as ${inspect(name)}`);
    }
  });
}

function refuseParameters(received: string): never {
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected the same parameters, in the same order and by the same names, in both optimizers of FallbackOptimizer but received ${received}.`,
  );
}

function checkProgress(value: unknown): asserts value is Progress {
  const progress = value as Progress | null | undefined;
  const isCount = (count: unknown) => Number.isSafeInteger(count) && (count as number) >= 0;
  const holds =
    (progress?.active === 'primary' || progress?.active === 'fallback') &&
    typeof progress.swapped === 'boolean' &&
    [progress.primarySteps, progress.fallbackSteps, progress.failures].every(isCount);
  if (holds) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected progress of loadStateDict as stateDict() of a FallbackOptimizer has it but received ${inspect(value)}.`,
  );
}

const prefixed = (role: Role, state: Readonly<Record<string, Tensor>>) =>
  Object.fromEntries(Object.entries(state).map(([key, tensor]) => [`${role}.${key}`, tensor]));

const under = (role: Role, state: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(
    Object.entries(state)
      .filter(([key]) => key.startsWith(`${role}.`))
      .map(([key, value]) => [key.slice(role.length + 1), value]),
  ) as Record<string, Tensor>;

function bothFailed(first: unknown, second: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_FALLBACK_FAILED',
    `Expected a step by the primary optimizer or by the fallback but both failed. The primary: ${messageOf(first)}. The fallback: ${messageOf(second)}.`,
    { cause: new AggregateError([first, second]) },
  );
}

function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof DrivetrainError ? error.code : undefined;
}

/** What it says, without a full stop. */
const messageOf = (error: unknown) =>
  (error instanceof Error ? error.message : inspect(error)).replace(/\.$/, '');

function warn(code: string, message: string): void {
  process.emitWarning(message, { type: 'DrivetrainWarning', code });
}
