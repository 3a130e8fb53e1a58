import { DrivetrainError } from '../native/index.js';
import { type Module, Sequential } from '../nn/index.js';
import { isExactly, namedModules } from './submodules.js';

/** Which layers lose units or channels, and what takes their outputs, by name. */
export type Followers = Readonly<Record<string, string | readonly string[]>>;

export type Pair = readonly [layer: string, nexts: readonly string[]];

export function givenPairs(layers: Followers): Pair[] {
  return Object.entries(layers).map(([name, next]) => {
    const nexts = [next].flat();
    if (nexts.length > 0 && !nexts.includes(name)) return [name, nexts];
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected other layers that take the outputs of ${name} in layers but received ${nexts.length === 0 ? 'none' : 'itself'}.`,
    );
  });
}

/** The layers of each `Sequential` of a model in a row, with those of others inside of it in their place. */
export function sequencesOf(model: Module): Module[][] {
  const inner = new Set<Module>();
  const sequences: Module[][] = [];
  for (const module of namedModules(model).values()) {
    if (isExactly(module, Sequential) && !inner.has(module)) sequences.push(flattened(module, inner));
  }
  return sequences;
}

function flattened(sequential: Sequential, inner: Set<Module>): Module[] {
  return sequential.layers.flatMap((layer) => {
    if (!isExactly(layer, Sequential)) return [layer];
    inner.add(layer);
    return flattened(layer, inner);
  });
}
