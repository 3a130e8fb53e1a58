import { DrivetrainError, inspect, type TypedArray } from '../native/index.js';
import { loadState, type StateEntry } from '../nn/index.js';
import {
  activeRecorder,
  areSmall,
  assign,
  contiguous,
  type OptimizerOpcode,
  transient,
} from '../ops/index.js';
import { type DType, formatShape, isHalf, sameShape, Tensor, wrap, wrapLike } from '../tensor/index.js';
import type { Update } from './custom-step.js';
import { computedIn, type StateKind } from './flat-state.js';
import {
  checkGradientOptions,
  checkLimits,
  GRADIENT_OPTIONS,
  GradientControl,
  type GradientOptions,
  NO_OPTIONS,
  type StepOptions,
  type StepReport,
} from './gradient-control.js';
import { type GroupOptions, GroupState, type Kernel } from './group-state.js';
import type { HyperparameterTable } from './hyperparameter.js';
import {
  asGroups,
  checkKeys,
  clampedRates,
  makeGroup,
  type ParameterGroup,
  type ParameterGroupOptions,
} from './parameter-group.js';
import { checkOneDtype, type Named, namedParameters, type Parameters } from './parameters.js';

/** What an optimizer is made of, beside its kernel. */
export interface Method<H extends object> {
  /** Its name in errors. */
  readonly name: string;
  /** Its options, in the order in which native code reads their numbers. */
  readonly options: HyperparameterTable<H>;
  /** The native step, or one in operations. */
  readonly step: OptimizerOpcode | Update<H>;
  /** The state that a group with these options keeps, in the order of native code. */
  readonly state: (options: ParameterGroup<H>) => readonly StateKind[];
  /** Another kernel for parameters of `from` elements on. */
  readonly large?: Kernel<H> & { readonly from: number };
  /** Numbers of a group that a step advances, beside the count of steps: their first values. */
  readonly counters?: Readonly<Record<string, number>>;
  /** Throws where a group's options do not go together. */
  readonly check?: (group: ParameterGroup<H>) => void;
  /** f16 and bf16 parameters are stepped by way of their f32 copies alone: native code knows no others. */
  readonly roundsAfter?: boolean;
  /** The dtypes of parameters; all that are floats unless given. */
  readonly dtypes?: readonly DType[];
}

/** What takes steps: an optimizer, or something round one. */
export interface Stepper {
  readonly paramGroups: readonly {
    lr: number;
    readonly params: readonly Tensor[];
    readonly names: readonly string[];
  }[];
  readonly steps: number;
  readonly lastStep?: StepReport | undefined;
  step(gradients: readonly (Tensor | TypedArray)[], options?: StepOptions): void;
}

/** Refuses what does not take steps with a gradient for each parameter. */
export function checkStepper(name: string, stepper: Stepper): void {
  const takesSteps = Array.isArray(stepper?.paramGroups) && typeof stepper.step === 'function';
  if (takesSteps && !(stepper as { takesRows?: boolean }).takesRows) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected an optimizer that takes a gradient for each parameter for ${name} but received ${inspect(stepper, { depth: 0 })}.`,
  );
}

/** The parameters of a group that one kernel steps, and where their gradients stand among all. */
interface Part<H extends object> {
  readonly state: GroupState<H>;
  readonly positions: readonly number[];
}

/**
 * The base of the optimizers: groups, validation, state. A step validates everything before it writes anything, and
 * works in place, on all parameters of a group in one native call. `G` is what stands for a gradient.
 */
export abstract class Optimizer<H extends object, G = Tensor | TypedArray> {
  readonly paramGroups: readonly ParameterGroup<H>[];
  /** Not `#private`: a scope that returns the optimizer has to find its tensors. */
  protected readonly parts: readonly Part<H>[];
  /** @internal */
  readonly control: GradientControl;
  readonly #count: number;
  readonly #atOnce: boolean;
  readonly #remembers: boolean;
  /** What small gradients of the latest step were found to be: many loops give the same objects again and again. */
  #latest: { readonly given: readonly G[]; readonly checked: readonly (readonly Tensor[])[] } | undefined;

  protected constructor(
    method: Method<H>,
    params: Parameters | readonly ParameterGroupOptions<H>[],
    options: Partial<H> & GradientOptions,
  ) {
    const { name, options: table, check = () => {} } = method;
    checkKeys(name, options, { ...table, ...GRADIENT_OPTIONS });
    checkGradientOptions(name, options ?? {});
    const given = asGroups(name, params);
    for (const group of given) checkKeys(`a group of ${name}`, group, table, ['params']);
    const named = namedParameters(name, given, method.dtypes);
    for (const parameters of named) checkOneDtype(name, parameters);
    const all = named.flat().map(({ tensor }) => tensor);
    checkLimits(name, all, options ?? {});
    const shown = options?.clamp === true ? clampedRates(table) : table;
    const made = named.map((parameters, g) => makeGroup(name, parameters, shown, check, given[g], options));
    this.paramGroups = made.map(({ group }) => group);
    this.#count = all.length;
    this.#remembers = areSmall(all);
    this.control = new GradientControl(name, options ?? {}, all);
    let position = 0;
    this.parts = made.flatMap(({ group, numbers }, g) => {
      const placed = named[g]!.map((parameter) => ({ parameter, position: position++ }));
      const options = { method: name, group, numbers: wrap(numbers), table };
      return partsOf(method, options, placed, this.control.tensor);
    });
    this.#atOnce = this.parts.length === 1 && this.parts[0]!.state.isOneCall;
  }

  /** Steps taken so far, by the first group. */
  get steps(): number {
    return this.parts[0]!.state.steps;
  }

  /**
   * What the latest step found in its gradients; undefined where none was looked at: see `GradientOptions`. After an
   * awaited run it is that run's.
   */
  get lastStep(): StepReport | undefined {
    return this.control.report;
  }

  /**
   * One step, in place. `gradients` stand in the order of the parameters, over all groups: tensors, or typed arrays of
   * the same length. Inside `compile(fn)` the step is recorded, and happens whole or not at all.
   */
  step(gradients: readonly G[], options: StepOptions = NO_OPTIONS): void {
    const checked = this.#check(gradients);
    // One native call sees to it by itself that it happens whole or not at all.
    if (this.#atOnce) this.#stepAll(checked, options);
    else
      transient(() =>
        this.#stepTogether(
          checked.map((gradients) => gradients.map(contiguous)),
          options,
        ),
      );
  }

  #check(gradients: readonly G[]): readonly (readonly Tensor[])[] {
    checkCount(gradients, this.#count);
    if (this.#latest !== undefined && areSame(this.#latest.given, gradients)) return this.#latest.checked;
    const checked = this.parts.map(({ state: { params }, positions }) =>
      asGradients(gradients as readonly (Tensor | TypedArray)[], params, positions),
    );
    if (this.#remembers) this.#latest = { given: [...gradients], checked };
    return checked;
  }

  #stepTogether(gradients: readonly (readonly Tensor[])[], options: StepOptions): void {
    this.#checkReady(gradients);
    this.#stepAll(gradients, options);
  }

  #stepAll(gradients: readonly (readonly Tensor[])[], options: StepOptions): void {
    const control = this.control.of(gradients, options);
    // All of them before the first: a step happens whole or not at all.
    const steps = this.parts.map(({ state }, i) => state.prepare(gradients[i]!, control));
    for (const step of steps) step();
  }

  /**
   * One part must not step where the next one cannot, so that memory for copies is taken before. A recorded
   * step sees to that itself.
   */
  #checkReady(gradients: readonly (readonly Tensor[])[]): void {
    if (activeRecorder() !== undefined) return;
    for (const gradient of gradients.flat()) gradient.checkReady(false);
    for (const { state } of this.parts) state.checkReady();
  }

  /**
   * State by name, `parameter.which`, and each parameter's count of steps, `parameter.step`: the tensors themselves,
   * which the next step changes. Parameters and options are not among them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.stateEntries().map(({ name, tensor }) => [name, tensor]));
  }

  /**
   * Copies tensors of the same names, shapes and dtypes into the state, whatever the order of the parameters was. Throws
   * before anything is written where one is missing, unknown or of another kind, or where the parameters of a group have
   * not taken the same number of steps.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(this.stateEntries(state), state);
  }

  /** All tensors of state; `loaded` is what will be loaded into them. @internal */
  stateEntries(loaded?: Readonly<Record<string, Tensor>>): StateEntry[] {
    return this.parts.flatMap(({ state }) =>
      state.entries().map(({ parameter, which, tensor, counts }) => ({
        name: `${parameter}.${which}`,
        tensor,
        check: () => {
          tensor.checkReady(true);
          if (counts) checkCounter(loaded!, parameter, state.names[0]!, which);
        },
        load: (source: Tensor) => assign(tensor, source),
      })),
    );
  }
}

/** The parts of a group: one, or one for each kernel that its parameters have. */
function partsOf<H extends object>(
  { step, state, large, roundsAfter = false, counters = {} }: Method<H>,
  options: GroupOptions<H>,
  placed: readonly { parameter: Named; position: number }[],
  control: Tensor,
): Part<H>[] {
  const isLarge = ({ parameter }: { parameter: Named }) =>
    large !== undefined && parameter.tensor.size >= large.from;
  const split: [Kernel<H> | undefined, typeof placed][] = [
    [{ step, state: state(options.group), roundsAfter }, placed.filter((one) => !isLarge(one))],
    [large && { ...large, roundsAfter }, placed.filter(isLarge)],
  ];
  return split
    .filter(([, own]) => own.length > 0)
    .map(([kernel, own]) => ({
      state: new GroupState(
        kernel!,
        own.map(({ parameter }) => parameter),
        options,
        control,
        counters,
      ),
      positions: own.map(({ position }) => position),
    }));
}

/** Parameters of one group step together. */
function checkCounter(
  state: Readonly<Record<string, Tensor>>,
  parameter: string,
  first: string,
  which: string,
): void {
  const [own, others] = [parameter, first].map((name) => state[`${name}.${which}`]!.item());
  const valid = which === 'step' ? Number.isSafeInteger(own) && own! >= 0 : Number.isFinite(own);
  if (valid && own === others) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${parameter}.${which} for loadStateDict to be ${valid ? `${others}, as of ${first} in the same group` : 'a number of steps'}, but received ${own}.`,
  );
}

function mixed(gradients: readonly Tensor[]): DrivetrainError {
  const dtypes = new Set(gradients.map(({ dtype }) => dtype));
  return new DrivetrainError(
    'DT_DTYPE_MISMATCH',
    `Expected gradients of one dtype for the parameters of a group but received ${[...dtypes].join(' and ')}.`,
  );
}

/**
 * The gradients at `positions` as tensors of the parameters' shapes, and of one dtype: that of the parameters, or f32 where
 * they are f16 or bf16. A step over many tensors spends its time here, so that this is a plain loop.
 */
export function asGradients(
  gradients: readonly (Tensor | TypedArray)[],
  parameters: readonly Tensor[],
  positions: readonly number[],
): Tensor[] {
  const checked: Tensor[] = new Array(positions.length);
  let isAlike = true;
  for (let i = 0; i < checked.length; i++) {
    const position = positions[i]!;
    checked[i] = asGradient(gradients[position]!, parameters[i]!, position);
    isAlike &&= checked[i]!.dtype === checked[0]!.dtype;
  }
  if (!isAlike) throw mixed(checked);
  return checked;
}

/** Whether two lists of one length hold the same objects. */
function areSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Refuses what is not an array of `count` gradients. */
export function checkCount(gradients: unknown, count: number): void {
  if (Array.isArray(gradients) && gradients.length === count) return;
  const received = Array.isArray(gradients) ? `${gradients.length}` : typeof gradients;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected ${count} gradients for step${gradients === undefined ? ', which are given to it: step(grad(loss, parameters)),' : ''} but received ${received}.`,
  );
}

/** Elements of two bytes are of the dtype that a parameter of two bytes has. */
function wrapFlat(gradient: TypedArray, dtype: DType): Tensor {
  return wrap(
    gradient,
    [gradient.length],
    gradient.BYTES_PER_ELEMENT === 2 && isHalf(dtype) ? { dtype } : {},
  );
}

/** A gradient of a parameter as a tensor; `index` is its place in errors. */
export function asGradient(
  gradient: Tensor | TypedArray,
  parameter: Pick<Tensor, 'dtype' | 'shape'>,
  index: number,
): Tensor {
  const isTensor = gradient instanceof Tensor;
  if (isTensor && gradient.dtype === parameter.dtype && sameShape(gradient.shape, parameter.shape))
    return gradient;
  // A flat typed array may stand for a gradient of any shape with as many elements.
  const like = isTensor ? undefined : wrapLike(gradient, parameter);
  if (like !== undefined) return like;
  const tensor = isTensor
    ? gradient
    : ArrayBuffer.isView(gradient)
      ? wrapFlat(gradient, parameter.dtype)
      : undefined;
  if (tensor === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a tensor or a typed array as gradient ${index} but received ${typeof gradient}.`,
    );
  }
  if (tensor.dtype !== parameter.dtype && tensor.dtype !== computedIn(parameter.dtype)) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected ${parameter.dtype} for gradient ${index} but received ${tensor.dtype}.`,
    );
  }
  if (!sameShape(tensor.shape, parameter.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected shape ${formatShape(parameter.shape)} for gradient ${index} but received ${formatShape(tensor.shape)}.`,
    );
  }
  return tensor;
}
