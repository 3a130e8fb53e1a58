import { DrivetrainError, type TypedArray } from '../native/index.js';
import { loadState, type StateEntry } from '../nn/index.js';
import { activeRecorder, assign, type OptimizerOpcode, OptimizerStep } from '../ops/index.js';
import { formatShape, sameShape, Tensor, wrap } from '../tensor/index.js';
import { FlatState, filledBeside, type StateKind } from './flat-state.js';
import type { HyperparameterTable } from './hyperparameter.js';
import {
  asGroups,
  checkKeys,
  makeGroup,
  type ParameterGroup,
  type ParameterGroupOptions,
} from './parameter-group.js';
import { checkOneDtype, namedParameters, type Parameters } from './parameters.js';

/** What an optimizer is made of, beside its kernel. */
export interface Method<H extends object> {
  /** Its name in errors. */
  readonly name: string;
  readonly opcode: OptimizerOpcode;
  /** Its options, in the order in which native code reads their numbers. */
  readonly options: HyperparameterTable<H>;
  /** The state that a group with these options keeps, in the order of native code. */
  readonly state: (options: ParameterGroup<H>) => readonly StateKind[];
  /** Numbers of a group that a step advances, beside the count of steps: their first values. */
  readonly counters?: Readonly<Record<string, number>>;
}

interface GroupState {
  readonly params: readonly Tensor[];
  readonly names: readonly string[];
  /** f64 numbers that native code advances; the first counts steps. */
  readonly counters: Tensor;
  readonly state: readonly FlatState[];
  readonly step: OptimizerStep;
}

/**
 * The base of the optimizers: groups, validation, state. A step validates everything before it writes anything, and
 * works in place, on all parameters of a group in one native call.
 */
export abstract class Optimizer<H extends object> {
  readonly paramGroups: readonly ParameterGroup<H>[];
  /** Not `#private`: a scope that returns the optimizer has to find its tensors. */
  private readonly groups: readonly GroupState[];
  readonly #counterNames: readonly string[];

  protected constructor(
    { name, opcode, options: table, state, counters }: Method<H>,
    params: Parameters | readonly ParameterGroupOptions<H>[],
    options: Partial<H>,
  ) {
    checkKeys(name, options, table);
    const given = asGroups(name, params);
    for (const group of given) checkKeys(`a group of ${name}`, group, table, ['params']);
    const named = namedParameters(name, given);
    for (const parameters of named) checkOneDtype(name, parameters);
    const made = named.map((parameters, g) => makeGroup(name, parameters, table, given[g], options));
    this.paramGroups = made.map(({ group }) => group);
    this.#counterNames = ['step', ...Object.keys(counters ?? {})];
    const first = [0, ...Object.values(counters ?? {})];
    this.groups = made.map(({ group, numbers }) => {
      const { params, names } = group;
      const counters = countersBeside(params, first);
      const kinds = state(group).map((kind) => new FlatState(kind, params));
      const step = new OptimizerStep(opcode, {
        options: wrap(numbers),
        counters,
        state: kinds.map(({ all }) => all),
        parameters: params,
      });
      return { params, names, counters, state: kinds, step };
    });
  }

  /** Steps taken so far, by the first group. */
  get steps(): number {
    return counter(this.groups[0]!, 0).item();
  }

  /**
   * One step, in place. `gradients` stand in the order of the parameters, over all groups: tensors, or typed arrays of
   * the same length. Inside `compile(fn)` the step is recorded, and happens whole or not at all.
   */
  step(gradients: readonly (Tensor | TypedArray)[]): void {
    const expected = this.groups.reduce((sum, { params }) => sum + params.length, 0);
    if (!Array.isArray(gradients) || gradients.length !== expected) {
      const received = Array.isArray(gradients) ? `${gradients.length}` : typeof gradients;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected ${expected} gradients for step but received ${received}.`,
      );
    }
    let next = 0;
    const checked = this.groups.map(({ params }) =>
      params.map((parameter) => {
        const index = next++;
        return asGradient(gradients[index] as Tensor | TypedArray, parameter, index);
      }),
    );
    this.#checkReady(checked);
    this.groups.forEach(({ step }, g) => {
      step.run(checked[g]!);
    });
  }

  /** One group must not step where the next one cannot. A recorded step sees to that itself. */
  #checkReady(gradients: readonly (readonly Tensor[])[]): void {
    if (this.groups.length === 1 || activeRecorder() !== undefined) return;
    for (const gradient of gradients.flat()) gradient.checkReady(false);
    for (const { counters, params, state } of this.groups) {
      for (const written of [counters, ...params, ...state.map(({ all }) => all)]) written.checkReady(true);
    }
  }

  /**
   * State by name, `parameter.which`, and each parameter's count of steps, `parameter.step`: the tensors themselves,
   * which the next step changes. Parameters and options are not among them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#entries().map(({ name, tensor }) => [name, tensor]));
  }

  /**
   * Copies tensors of the same names, shapes and dtypes into the state, whatever the order of the parameters was. Throws
   * before anything is written where one is missing, unknown or of another kind, or where the parameters of a group have
   * not taken the same number of steps.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(this.#entries(state), state);
  }

  /** All tensors of state; `loaded` is what will be loaded into them. */
  #entries(loaded?: Readonly<Record<string, Tensor>>): StateEntry[] {
    return this.groups.flatMap((group) =>
      group.names.flatMap((parameter, p) => {
        const counters = this.#counterNames.map((which, i) => ({
          name: `${parameter}.${which}`,
          tensor: counter(group, i),
          check: () => {
            group.counters.checkReady(true);
            checkCounter(loaded!, parameter, group.names[0]!, which);
          },
        }));
        const state = group.state.map((kind) => ({
          name: `${parameter}.${kind.name}`,
          tensor: kind.of(p),
          check: () => kind.all.checkReady(true),
        }));
        return [...counters, ...state].map((entry) => ({
          ...entry,
          load: (source: Tensor) => assign(entry.tensor, source),
        }));
      }),
    );
  }
}

function countersBeside(params: readonly Tensor[], first: readonly number[]): Tensor {
  const counters = filledBeside(params, first.length, 0, 'f64');
  (counters.borrow() as Float64Array).set(first);
  return counters;
}

/** One number of a group: a view. */
function counter({ counters }: GroupState, index: number): Tensor {
  return counters.viewAs([], undefined, index);
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

function asGradient(gradient: Tensor | TypedArray, parameter: Tensor, index: number): Tensor {
  const tensor =
    gradient instanceof Tensor
      ? gradient
      : ArrayBuffer.isView(gradient)
        ? wrapGradient(gradient, parameter)
        : undefined;
  if (tensor === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a tensor or a typed array as gradient ${index} but received ${typeof gradient}.`,
    );
  }
  if (tensor.dtype !== parameter.dtype) {
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

/** A flat typed array may stand for a gradient of any shape with as many elements. */
function wrapGradient(gradient: TypedArray, parameter: Tensor): Tensor {
  return wrap(gradient, gradient.length === parameter.size ? parameter.shape : [gradient.length]);
}
