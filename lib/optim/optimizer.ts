import { DrivetrainError, type TypedArray } from '../native/index.js';
import { activeRecorder } from '../ops/index.js';
import { formatShape, sameShape, Tensor, wrap } from '../tensor/index.js';

/** What can be optimised in place: a tensor, or a caller's own Float32Array or Float64Array. */
export type Parameter = Tensor | Float32Array | Float64Array;

/** Parameters with options of their own. */
export type ParameterGroupOptions<H> = Partial<H> & { readonly params: readonly Parameter[] };

/** What a hyperparameter may be: its place among the numbers that native code reads, and its valid range. */
export interface Hyperparameter {
  readonly default: number | undefined;
  readonly valid: (value: number) => boolean;
  readonly expected: string;
}

/**
 * Parameters that share hyperparameters. The fields may be changed at any time, between steps and between the runs of
 * a compiled step alike: they are read when a step runs.
 */
export type ParameterGroup<H> = { -readonly [K in keyof H]-?: number } & {
  readonly params: readonly Tensor[];
};

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
  readonly groups: readonly ParameterGroup<H>[];
  /** Not `#private`: a scope that returns the optimizer has to find its tensors. */
  private readonly states: readonly GroupState[];

  protected constructor(
    name: string,
    params: readonly Parameter[] | readonly ParameterGroupOptions<H>[],
    options: Partial<H>,
    table: { readonly [K in keyof H]-?: Hyperparameter },
    stateFor: (parameter: Tensor) => readonly Tensor[],
    stepCount: (like: Tensor) => Tensor,
  ) {
    const groupOptions = asGroups(name, params);
    checkDistinct(
      name,
      groupOptions.flatMap((group) => group.params),
    );
    const groups: ParameterGroup<H>[] = [];
    this.states = groupOptions.map((group) => {
      const tensors = group.params.map((parameter) => asParameter(name, parameter));
      checkOneDtype(name, tensors);
      const values = new Float64Array(Object.keys(table).length);
      groups.push(makeGroup(name, tensors, values, table, { ...options, ...group }));
      return {
        params: tensors,
        hyperparameters: wrap(values),
        count: stepCount(tensors[0]!),
        state: tensors.map(stateFor),
      };
    });
    this.groups = groups;
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

  /** The optimizer's tensors by name: `group.parameter.which`, and the step count of each group. */
  protected namedState(names: readonly string[]): Record<string, Tensor> {
    const state: Record<string, Tensor> = {};
    this.states.forEach((group, g) => {
      state[`${g}.step`] = group.count;
      group.state.forEach((tensors, p) => {
        tensors.forEach((tensor, i) => {
          state[`${g}.${p}.${names[i]}`] = tensor;
        });
      });
    });
    return state;
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

function makeGroup<H extends object>(
  name: string,
  params: readonly Tensor[],
  values: Float64Array,
  table: { readonly [K in keyof H]-?: Hyperparameter },
  options: Partial<H>,
): ParameterGroup<H> {
  const group = { params } as ParameterGroup<H>;
  (Object.entries(table) as [keyof H & string, Hyperparameter][]).forEach(
    ([key, { valid, expected, default: initial }], i) => {
      const set = (value: unknown) => {
        const number = typeof value === 'boolean' ? Number(value) : value;
        if (typeof number !== 'number' || !valid(number)) {
          throw new DrivetrainError(
            'DT_INVALID_ARGUMENT',
            `Expected ${expected} for ${key} of ${name} but received ${String(value)}.`,
          );
        }
        values[i] = number;
      };
      Object.defineProperty(group, key, { enumerable: true, get: () => values[i], set });
      set(options[key] ?? initial);
    },
  );
  return group;
}
