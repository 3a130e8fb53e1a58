import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions } from '../tensor/index.js';
import type { Update } from './custom-step.js';
import type { StateKind } from './flat-state.js';
import { GRADIENT_OPTIONS, type GradientOptions } from './gradient-control.js';
import type { Hyperparameter, HyperparameterTable } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

/** An optimizer of one's own. */
export interface CustomMethod<H extends object> {
  /** Its name in errors. */
  readonly name: string;
  /** Its options, each one of `hyperparameter`: `{ lr: hyperparameter.nonNegative(1e-3) }`. */
  readonly options: HyperparameterTable<H>;
  /** The kinds of state that each parameter has, of its shape; none unless given. */
  readonly state?: readonly Pick<StateKind, 'name' | 'initial'>[];
  /** The update of one parameter, in operations of ours. */
  readonly update: Update<H>;
}

/**
 * The base of an optimizer that is written in TypeScript: it gets parameter groups, validation, state by name that can be
 * saved, clipping, loss scaling and f32 copies of f16 and bf16 parameters, and a step of it happens whole or not at all.
 * An update that uses operations alone can be recorded inside `compile(fn)`; one that reads values (`item()`) is eager.
 */
export class CustomOptimizer<H extends object> extends Optimizer<H> {
  constructor(
    method: CustomMethod<H>,
    params: Parameters | readonly ParameterGroupOptions<H>[],
    options: Partial<H> & GradientOptions = {},
  ) {
    checkMethod(method);
    const { name, options: table, state = [], update } = method;
    super({ name, step: update, options: withFixedFlags(table), state: () => state }, params, options);
  }
}

/** What stands beside a parameter's state in stateDict(), or is the library's own. */
const TAKEN_STATE = ['step', 'master'];
const TAKEN_OPTIONS = ['params', 'names', ...Object.keys(GRADIENT_OPTIONS)];

function checkMethod<H extends object>(method: CustomMethod<H>): void {
  checkOptions('CustomOptimizer', method, ['name', 'options', 'state', 'update']);
  const { name, options: table, state = [], update } = method;
  const refuse = (expected: string, received: unknown) => {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${expected} for CustomOptimizer but received ${inspect(received, { depth: 1 })}.`,
    );
  };
  if (typeof name !== 'string' || name === '') refuse('a name', name);
  if (typeof update !== 'function') refuse('a function as update', update);
  if (typeof table !== 'object' || table === null) refuse('options, an object of hyperparameters,', table);
  for (const [key, one] of Object.entries<Hyperparameter<unknown>>(
    table as Record<string, Hyperparameter<unknown>>,
  )) {
    if (TAKEN_OPTIONS.includes(key)) refuse(`names of options other than ${TAKEN_OPTIONS.join(', ')}`, key);
    if (typeof one?.encode !== 'function') {
      refuse(`one of hyperparameter, such as hyperparameter.nonNegative(1e-3), as ${key}`, one);
    }
  }
  if (!Array.isArray(state)) refuse('an array as state', state);
  const names = state.map((kind) => kind?.name);
  names.forEach((kind, i) => {
    const isName = typeof kind === 'string' && /^[^.]+$/.test(kind) && !TAKEN_STATE.includes(kind);
    if (!isName || names.indexOf(kind) !== i) {
      refuse(`state of different names without dots, other than ${TAKEN_STATE.join(' and ')},`, kind);
    }
  });
}

/** An update sees true or false as themselves when it is recorded, so that they have to stay. */
function withFixedFlags<H>(table: HyperparameterTable<H>): HyperparameterTable<H> {
  const entries = Object.entries<Hyperparameter<unknown>>(table as Record<string, Hyperparameter<unknown>>);
  return Object.fromEntries(
    entries.map(([key, one]) => [
      key,
      typeof one.default === 'boolean' ? { fixed: (value: unknown) => value, ...one } : one,
    ]),
  ) as unknown as HyperparameterTable<H>;
}
