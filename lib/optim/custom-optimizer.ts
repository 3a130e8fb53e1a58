import type { Update } from './custom-step.js';
import type { StateKind } from './flat-state.js';
import type { GradientOptions } from './gradient-control.js';
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
    { name, options: table, state = [], update }: CustomMethod<H>,
    params: Parameters | readonly ParameterGroupOptions<H>[],
    options: Partial<H> & GradientOptions = {},
  ) {
    super({ name, step: update, options: withFixedFlags(table), state: () => state }, params, options);
  }
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
