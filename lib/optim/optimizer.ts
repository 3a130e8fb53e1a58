import { DrivetrainError, type TypedArray } from '../native/index.js';
import { loadState } from '../nn/index.js';
import { activeRecorder, assign } from '../ops/index.js';
import { formatShape, sameShape, Tensor, wrap } from '../tensor/index.js';
import type { HyperparameterTable } from './hyperparameter.js';
import {
  checkKeys,
  makeGroup,
  type Parameter,
  type ParameterGroup,
  type ParameterGroupOptions,
} from './parameter-group.js';
import { likeParameter, stepCount } from './state.js';

interface GroupState {
  readonly params: readonly Tensor[];
  readonly hyperparameters: Tensor;
  /** Steps taken, an f64 scalar that native code advances. */
  readonly count: Tensor;
  /** Tensors of state for each parameter. */
  readonly state: readonly (readonly Tensor[])[];
}

/**
 * The base of the optimizers: groups, validation, state. A step validates everything before it writes anything, and
 * works in place, on all parameters of a group in one native call.
 */
export abstract class Optimizer<H extends object> {
  readonly paramGroups: readonly ParameterGroup<H>[];
  /** Not `#private`: a scope that returns the optimizer has to find its tensors. */
  private readonly states: readonly GroupState[];
  readonly #stateNames: readonly string[];

  /** `stateNames` name the tensors of state that every parameter has. */
  protected constructor(
    name: string,
    params: readonly Parameter[] | readonly ParameterGroupOptions<H>[],
    options: Partial<H>,
    table: HyperparameterTable<H>,
    stateNames: readonly string[],
  ) {
    checkKeys(name, options, table);
    const given = asGroups(name, params);
    checkDistinct(
      name,
      given.flatMap((group) => group.params),
    );
    const made = given.map((group) => {
      checkKeys(`a group of ${name}`, group, table, ['params']);
      const tensors = group.params.map((parameter) => asParameter(name, parameter));
      checkOneDtype(name, tensors);
      return makeGroup(name, tensors, table, group, options);
    });
    this.paramGroups = made.map(({ group }) => group);
    this.#stateNames = stateNames;
    this.states = made.map(({ group: { params: tensors }, numbers }) => ({
      params: tensors,
      hyperparameters: wrap(numbers),
      count: stepCount(tensors[0]!),
      state: tensors.map((tensor) => stateNames.map(() => likeParameter(tensor))),
    }));
  }

  /** Steps taken so far, by the first group. */
  get steps(): number {
    return this.states[0]!.count.item();
  }

  /**
   * One step, in place. `gradients` stand in the order of the parameters, over all groups: tensors, or typed arrays of
   * the same length. Inside `compile(fn)` the step is recorded, and happens whole or not at all.
   */
  step(gradients: readonly (Tensor | TypedArray)[]): void {
    const expected = this.states.reduce((sum, { params }) => sum + params.length, 0);
    if (!Array.isArray(gradients) || gradients.length !== expected) {
      const received = Array.isArray(gradients) ? `${gradients.length}` : typeof gradients;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected ${expected} gradients for step but received ${received}.`,
      );
    }
    let next = 0;
    const checked = this.states.map(({ params }) =>
      params.map((parameter) => {
        const index = next++;
        return asGradient(gradients[index] as Tensor | TypedArray, parameter, index);
      }),
    );
    this.#checkReady(checked.flat());
    this.states.forEach(({ hyperparameters, count, params, state }, g) => {
      this.apply(
        hyperparameters,
        count,
        params.map((parameter, i) => [parameter, checked[g]![i]!, ...state[i]!]),
      );
    });
  }

  /** One group must not step where the next one cannot. A recorded step sees to that itself. */
  #checkReady(gradients: readonly Tensor[]): void {
    if (this.states.length === 1 || activeRecorder() !== undefined) return;
    for (const gradient of gradients) gradient.checkReady(false);
    for (const { count, params, state } of this.states) {
      for (const written of [count, ...params, ...state.flat()]) written.checkReady(true);
    }
  }

  /** Runs the kernel on one group. */
  protected abstract apply(
    hyperparameters: Tensor,
    count: Tensor,
    parameters: readonly (readonly Tensor[])[],
  ): void;

  /**
   * Step counts and state by name, `group.step` and `group.parameter.which`: the tensors themselves, which the next step
   * changes. Parameters and hyperparameters are not among them.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#namedState());
  }

  /**
   * Copies tensors of the same names, shapes and dtypes into the state. Throws before anything is written where one is
   * missing, unknown or of another kind.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    const entries = this.#namedState().map(([name, tensor]) => ({
      name,
      tensor,
      check: () => tensor.checkReady(true),
      load: (source: Tensor) => assign(tensor, source),
    }));
    loadState(entries, state);
  }

  #namedState(): [name: string, tensor: Tensor][] {
    return this.states.flatMap(({ count, state }, g) => [
      [`${g}.step`, count],
      ...state.flatMap((tensors, p) =>
        tensors.map((tensor, i): [string, Tensor] => [`${g}.${p}.${this.#stateNames[i]}`, tensor]),
      ),
    ]);
  }
}

function asGroups<H>(
  name: string,
  params: readonly Parameter[] | readonly ParameterGroupOptions<H>[],
): readonly ParameterGroupOptions<H>[] {
  const list: readonly unknown[] = Array.isArray(params) ? params : [];
  const isGroup = (item: unknown) => Array.isArray((item as { params?: unknown } | null)?.params);
  const groups = list.every(isGroup) ? (list as readonly ParameterGroupOptions<H>[]) : undefined;
  if (list.length > 0 && groups !== undefined && groups.every((group) => group.params.length > 0))
    return groups;
  if (list.length > 0 && !list.some(isGroup))
    return [{ params: list as readonly Parameter[] } as ParameterGroupOptions<H>];
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected parameters for ${name} (tensors or Float32Arrays, or groups { params: [...], lr, … }), at least one in each group, but received ${Array.isArray(params) ? `an array of ${params.length}` : typeof params}.`,
  );
}

function checkDistinct(name: string, params: readonly Parameter[]): void {
  if (new Set(params).size === params.length) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected each parameter once for ${name} but received ${params.length} of which ${params.length - new Set(params).size} came before; a step would change them twice.`,
  );
}

function asParameter(name: string, parameter: Parameter): Tensor {
  const tensor =
    parameter instanceof Tensor ? parameter : ArrayBuffer.isView(parameter) ? wrap(parameter) : undefined;
  if (tensor === undefined || (tensor.dtype !== 'f32' && tensor.dtype !== 'f64') || !tensor.contiguous) {
    const received =
      tensor === undefined ? typeof parameter : `${tensor.contiguous ? '' : 'a strided '}${tensor.dtype}`;
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected contiguous f32 or f64 parameters for ${name} but received ${received}.`,
    );
  }
  return tensor;
}

function checkOneDtype(name: string, tensors: readonly Tensor[]): void {
  const dtypes = new Set(tensors.map(({ dtype }) => dtype));
  if (dtypes.size > 1) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected parameters of one dtype in a group of ${name} but received ${[...dtypes].join(' and ')}; put them into two groups.`,
    );
  }
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
