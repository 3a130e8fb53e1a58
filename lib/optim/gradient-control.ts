import { DrivetrainError, inspect } from '../native/index.js';
import { activeRecorder, cast, gradientControl, norms, transient } from '../ops/index.js';
import { checkOptions, DTYPES, formatShape, Tensor } from '../tensor/index.js';
import { filledBeside } from './flat-state.js';

/** Options of an optimizer as a whole, beside those of its groups: what it makes of gradients before a step. */
export interface GradientOptions {
  /**
   * The largest L2 norm of all gradients together: they are multiplied by min(1, maxGradNorm / (norm + 1e-6)), as by
   * PyTorch's `clip_grad_norm_`, while the step reads them.
   */
  maxGradNorm?: number;
  /** The largest absolute value of a gradient, as `clip_grad_value_`; after `maxGradNorm` where both are given. */
  maxGradValue?: number;
  /**
   * What becomes of a step with a gradient of NaN or infinity: it throws `DT_NON_FINITE`, is left out, or counts such
   * gradients as 0. Unless given they are not looked for, but with `maxGradNorm` or `maxMagnitude`, which look at all
   * gradients anyway, such a step throws. Each time shows in `lastStep`.
   */
  nonFinite?: 'throw' | 'skip' | 'zero';
  /** Gradients above this in absolute value are taken as those that are not finite; parameters must be within it, too. */
  maxMagnitude?: number;
  /** The most elements that all parameters may have together. */
  maxParameters?: number;
  /** Takes learning rates below 1e-8 as 1e-8 and those above 1 as 1, rather than as they are. */
  clamp?: boolean;
}

/** What the latest step found in its gradients. */
export interface StepReport {
  /** Their common L2 norm before clipping, and without the scale of the loss; of those that are not finite, NaN. */
  readonly norm: number;
  /** The largest absolute value among them. */
  readonly largest: number;
  /** How many were NaN or infinite. */
  readonly notFinite: number;
  /** Whether the step was left out. */
  readonly skipped: boolean;
  /** Steps that were left out so far. */
  readonly skippedSteps: number;
  /** Steps so far with gradients that were not finite, or beyond `maxMagnitude`. */
  readonly faultySteps: number;
}

/** What a step needs of a `GradScaler`. */
export interface LossScale {
  /** What gradients are to be divided by: the first number of an f64 tensor. */
  readonly tensor: Tensor;
  /** Hears what the step made of its gradients. */
  observe(control: Tensor): void;
}

/** What a step is told beside its gradients. */
export interface StepOptions {
  /** The scaler that scaled the loss. */
  readonly scaler?: LossScale;
  /** An f64 tensor of one number: the step does nothing where that is 0. */
  readonly when?: Tensor;
}

/** Those of a step that was given none. */
export const NO_OPTIONS: StepOptions = {};

/** Their names, as keys. */
export const GRADIENT_OPTIONS: Readonly<Record<keyof GradientOptions, true>> = {
  maxGradNorm: true,
  maxGradValue: true,
  nonFinite: true,
  maxMagnitude: true,
  maxParameters: true,
  clamp: true,
};

const POLICIES = [undefined, 'throw', 'skip', 'zero'] as const;

/** Places in a control; native/ops/gradient_control.h. */
export const AT = {
  scale: 0,
  clip: 1,
  limit: 2,
  skip: 3,
  due: 4,
  looked: 5,
  norm: 6,
  largest: 7,
  notFinite: 8,
  leftOut: 9,
  skipped: 10,
  faulty: 11,
};
/** A control that leaves gradients as they are, in that order. */
const PLAIN = [1, Infinity, 0, 0, 1, 0, NaN, NaN, 0, 0, 0, 0];

/** Refuses options out of range. */
export function checkGradientOptions(name: string, options: GradientOptions): void {
  const { nonFinite, clamp } = options;
  for (const key of ['maxGradNorm', 'maxGradValue', 'maxMagnitude', 'maxParameters'] as const) {
    const value = options[key];
    if (value === undefined || (typeof value === 'number' && value >= 0)) continue;
    throw outOfRange(name, key, 'a number from 0 on', value);
  }
  if (!POLICIES.includes(nonFinite))
    throw outOfRange(name, 'nonFinite', "'throw', 'skip' or 'zero'", nonFinite);
  if (clamp !== undefined && typeof clamp !== 'boolean')
    throw outOfRange(name, 'clamp', 'true or false', clamp);
}

function outOfRange(name: string, key: string, expected: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for ${key} of ${name} but received ${inspect(received)}.`,
  );
}

/** Refuses parameters that are more than `maxParameters` elements, or beyond `maxMagnitude`. */
export function checkLimits(
  name: string,
  parameters: readonly Tensor[],
  { maxParameters = Infinity, maxMagnitude = Infinity }: GradientOptions,
): void {
  const count = parameters.reduce((total, { size }) => total + size, 0);
  if (count > maxParameters) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected at most ${maxParameters} elements in the parameters of ${name} (maxParameters) but received ${count}.`,
    );
  }
  if (maxMagnitude === Infinity) return;
  for (const parameter of parameters) {
    if (parameter.size === 0) continue;
    const largest = transient(() =>
      norms([DTYPES[parameter.dtype].bytes === 2 ? cast(parameter, 'f32') : parameter]).max.item(),
    );
    if (largest <= maxMagnitude) continue;
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected parameters of ${name} within ±${maxMagnitude} (maxMagnitude) but received one of shape ${formatShape(parameter.shape)} with ${largest}.`,
    );
  }
}

/** Looks at the gradients of an optimizer's steps, where its options or a step's ask for that. */
export class GradientControl {
  /** What steps that run at once read, and what the latest step left. Not `#private`, as all tensors of an optimizer. */
  readonly tensor: Tensor;
  /** What recorded steps read whose gradients are not looked at. */
  private readonly plain: Tensor;
  private readonly settings: Tensor;
  /** With a scaler, which makes overflow happen, such steps are left out. */
  private readonly scaled: Tensor;
  private readonly one: Tensor;
  readonly #name: string;
  readonly #always: boolean;
  readonly #throws: boolean;
  readonly #maxMagnitude: number;
  /** Whether `tensor` may hold anything but a plain control. */
  #touched = false;
  #latest: Tensor | undefined;

  /** Its tensors are of the kind of memory that `parameters` have. */
  constructor(name: string, options: GradientOptions, parameters: readonly Tensor[]) {
    const { maxGradNorm = Infinity, maxGradValue = Infinity, maxMagnitude = Infinity } = options;
    const looks = maxGradNorm < Infinity || maxMagnitude < Infinity;
    const nonFinite = options.nonFinite ?? (looks ? 'throw' : undefined);
    const numbers = (values: readonly number[]) => {
      const made = filledBeside(parameters, values.length, 0, 'f64');
      (made.borrow() as Float64Array).set(values);
      return made;
    };
    const settings = (policy: (typeof POLICIES)[number]) =>
      numbers([maxGradNorm, maxGradValue, maxMagnitude, POLICIES.indexOf(policy)]);
    this.tensor = numbers(PLAIN);
    this.plain = numbers(PLAIN);
    this.settings = settings(nonFinite);
    this.scaled = settings('skip');
    this.one = numbers([1]);
    this.#name = name;
    this.#always = nonFinite !== undefined || maxGradValue < Infinity;
    this.#throws = nonFinite === 'throw';
    this.#maxMagnitude = maxMagnitude;
  }

  /** What the latest step found; undefined where it was not looked at. */
  get report(): StepReport | undefined {
    if (!this.#touched) return undefined;
    const found = this.tensor.toArray() as Float64Array;
    if (found[AT.looked] === 0) return undefined;
    return {
      norm: found[AT.norm]!,
      largest: found[AT.largest]!,
      notFinite: found[AT.notFinite]!,
      skipped: found[AT.leftOut] === 1,
      skippedSteps: found[AT.skipped]!,
      faultySteps: found[AT.faulty]!,
    };
  }

  /** The control that the latest step has read; inside of a recording that of the recorded one. */
  get latest(): Tensor {
    return this.#latest ?? this.tensor;
  }

  /**
   * The control that a step with these gradients reads. Throws `DT_NON_FINITE` where they are refused; of a recorded step
   * the run does.
   */
  of(gradients: readonly (readonly Tensor[])[], options: StepOptions): Tensor {
    this.#latest = this.#find(gradients, options);
    return this.#latest;
  }

  #find(gradients: readonly (readonly Tensor[])[], options: StepOptions): Tensor {
    if (options !== NO_OPTIONS) checkStepOptions(this.#name, options);
    const { scaler, when } = options;
    const recorded = activeRecorder() !== undefined;
    if (!this.#always && scaler === undefined && when === undefined) {
      if (recorded) return this.plain;
      if (this.#touched) this.#reset();
      return this.tensor;
    }
    const control = gradientControl(
      this.tensor,
      scaler === undefined ? this.settings : this.scaled,
      scaler?.tensor ?? this.one,
      when ?? this.one,
      gradients.flat(),
    );
    this.#touched = true;
    scaler?.observe(control);
    if (!recorded && this.#throws && scaler === undefined) this.#check();
    return control;
  }

  /** Gradients of the next step are taken as they are; the counts of former ones stay. */
  #reset(): void {
    this.tensor.checkReady(true);
    (this.tensor.borrow() as Float64Array).set(PLAIN.slice(0, AT.skipped));
  }

  #check(): void {
    const found = this.tensor.toArray() as Float64Array;
    if (found[AT.skip] !== 1 || found[AT.due] === 0) return;
    const [notFinite, largest] = [found[AT.notFinite]!, found[AT.largest]!];
    const expected =
      this.#maxMagnitude < Infinity ? `gradients within ±${this.#maxMagnitude}` : 'finite gradients';
    const received = notFinite > 0 ? `${notFinite} of NaN or infinity` : `one of ${largest}`;
    throw new DrivetrainError(
      'DT_NON_FINITE',
      `Expected ${expected} for a step of ${this.#name} but received ${received}: nothing was changed. Lower the learning rate, look at the data, or make the optimizer with nonFinite: 'skip' or 'zero'.`,
    );
  }
}

function checkStepOptions(name: string, options: StepOptions): void {
  checkOptions(`a step of ${name}`, options, ['scaler', 'when']);
  const { scaler, when } = options;
  if (scaler !== undefined && !(scaler?.tensor instanceof Tensor && typeof scaler.observe === 'function')) {
    throw outOfRange(`a step of ${name}`, 'scaler', 'a GradScaler', scaler);
  }
  if (when !== undefined && !(when instanceof Tensor && when.dtype === 'f64' && when.size === 1)) {
    throw outOfRange(`a step of ${name}`, 'when', 'an f64 tensor of one number', when);
  }
}
