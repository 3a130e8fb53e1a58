import { DrivetrainError } from '../native/index.js';
import { Linear, Module } from '../nn/index.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { QuantizedWeight } from './quantized-weight.js';
import { isExactly, namedModules } from './submodules.js';

/** A layer that can be made one of integers. */
export type Quantizable = Linear | FakeQuantizedLinear;

export function isQuantizable(module: Module): module is Quantizable {
  return isExactly(module, Linear) || module instanceof FakeQuantizedLinear;
}

/**
 * The layers of a model of the kind wanted, by name, without the excluded ones. Refuses names of no such layer, and a model
 * with none; `kind` is what they are called.
 */
export function layersOf<L extends Module>(
  operation: string,
  model: Module,
  exclude: readonly string[],
  isWanted: (module: Module) => module is L,
  kind = 'Linear layers',
): Map<string, L> {
  const found = model instanceof Module ? namedModules(model) : new Map<string, Module>();
  const layers = new Map<string, L>();
  for (const [name, module] of found) if (isWanted(module)) layers.set(name, module);
  const names = [...layers.keys()];
  const strangers = Array.isArray(exclude) ? exclude.filter((name) => !layers.has(name)) : [`${exclude}`];
  if (strangers.length > 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an array of names of layers (${names.join(', ')}) as exclude of ${operation} but received ${strangers.join(', ')}.`,
    );
  }
  for (const name of exclude) layers.delete(name);
  if (layers.size > 0) return layers;
  const own = model?.constructor?.name ?? typeof model;
  const quantized = [...found.values()].find((module) => module instanceof QuantizedWeight);
  const received =
    quantized === undefined
      ? own
      : `${own} with layers of ${quantized.constructor.name}: prune, train and calibrate a model before it is quantized`;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a model with ${kind}${exclude.length > 0 ? ' beside those excluded' : ''} for ${operation} but received ${received}.`,
  );
}
