import { DrivetrainError } from '../native/index.js';
import { type Module, Sequential } from '../nn/index.js';
import { children, isExactly, namedModules } from './submodules.js';

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

/** A layer of a flattened `Sequential`, and the places of the `Sequential`s that it is in, the outermost first. */
interface Placed {
  readonly layer: Module;
  readonly within: readonly { readonly sequential: Sequential }[];
}

/**
 * What `find` finds in the `Sequential`s of a model, those inside of others in their place: lists of places, each of a layer
 * and then of all that takes its outputs. Left out is what is not so wherever the layers stand: one that is in two places,
 * or in a `Sequential` in two places whose neighbours differ.
 */
export function pairsIn(model: Module, find: (layers: readonly Module[]) => readonly number[][]): Pair[] {
  const modules = namedModules(model);
  const names = new Map([...modules].map(([name, module]) => [module, name]));
  const places = new Map<Module, number>();
  for (const module of modules.values()) {
    for (const [, child] of children(module)) places.set(child, (places.get(child) ?? 0) + 1);
  }
  const once = (module: Module) => (places.get(module) ?? 0) <= 1;
  const found = new Map<string, Pair>();
  for (const module of modules.values()) {
    if (!isExactly(module, Sequential)) continue;
    const sequence = flattened(module, [{ sequential: module }]);
    for (const at of find(sequence.map(({ layer }) => layer))) {
      const members = at.map((i) => sequence[i]!);
      const shared = commonDepth(members);
      const apart = members.flatMap(({ within }) => within.slice(shared));
      if (!members.every(({ layer }) => once(layer)) || !apart.every(({ sequential }) => once(sequential)))
        continue;
      const [name, ...nexts] = members.map(({ layer }) => names.get(layer)!);
      found.set(JSON.stringify([name, nexts]), [name!, nexts]);
    }
  }
  return [...found.values()];
}

function flattened(sequential: Sequential, within: Placed['within']): Placed[] {
  return sequential.layers.flatMap((layer) =>
    isExactly(layer, Sequential) ? flattened(layer, [...within, { sequential: layer }]) : [{ layer, within }],
  );
}

/** How many of the outermost places the layers have in common. */
function commonDepth([first, ...others]: readonly Placed[]): number {
  const differs = first!.within.findIndex((place, i) => others.some(({ within }) => within[i] !== place));
  return differs < 0 ? first!.within.length : differs;
}
