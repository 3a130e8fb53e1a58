import { assign, cast, clone, transient } from '../ops/index.js';
import { outsideScopes, sameShape, type Tensor } from '../tensor/index.js';
import { LOOKAHEAD, Lookahead } from './lookahead.js';
import type { Stepper } from './optimizer.js';

/** An optimizer: one of ours, or anything else with this face, whose state is by `parameter.which` as ours is. */
export interface Stepping extends Stepper {
  stateDict(): Record<string, Tensor>;
  loadStateDict(state: Readonly<Record<string, Tensor>>): void;
}

/**
 * State of one name that means something else in every method: the momentum of SGD is in units of the gradient, that of
 * LARS and Adafactor of the step, that of RMSprop of neither.
 */
const OWN_TO_A_METHOD: ReadonlySet<string> = new Set(['momentum']);
/**
 * The f32 copies of 16-bit parameters, and the slow weights of `Lookahead`: never a method's own, and stale as soon as another
 * optimizer has stepped.
 */
const COPIES: ReadonlySet<string> = new Set(['master', 'slow']);

/**
 * Copies the state of `from` to `to`, group by group of `to`: where `from` has everything that a group keeps, in the same
 * names, shapes and dtypes; else the group goes on with what it has, since moments without their count of steps, or a count
 * without its moments, are worse than neither. Copies of parameters are always brought up to date. Returns what `to` held
 * before.
 */
export function carryOver(from: Stepping, to: Stepping): Kept {
  const target = to.stateDict();
  const source = usable(from.stateDict());
  const keys = byParameter(Object.keys(target));
  const sameMethod = methodOf(from) === methodOf(to);
  const comesOver = (key: string, which: string) =>
    isLike(source[key], target[key]!) && (sameMethod || !OWN_TO_A_METHOD.has(which));
  const state: Record<string, Tensor> = {};
  return transient(() => {
    for (const { params, names } of to.paramGroups) {
      for (const prefix of ['', LOOKAHEAD]) {
        const own = names.flatMap((name, i) =>
          (keys.get(prefix + name) ?? []).map((which) => {
            return { key: `${prefix}${name}.${which}`, which, parameter: params[i]! };
          }),
        );
        const fits = own.every(({ key, which }) => COPIES.has(which) || comesOver(key, which));
        for (const { key, which, parameter } of own) {
          if (COPIES.has(which)) state[key] = source[key] ?? cast(parameter, target[key]!.dtype);
          else if (fits) state[key] = source[key]!;
        }
      }
    }
    const restore = keep(Object.keys(state).map((key) => target[key]!));
    try {
      to.loadStateDict({ ...target, ...state });
    } catch (error) {
      restore.forget();
      throw error;
    }
    return restore;
  });
}

const methodOf = (stepping: Stepping) =>
  stepping instanceof Lookahead ? stepping.optimizer.constructor : stepping.constructor;

/** What tensors hold now, to be put back or forgotten. */
export interface Kept {
  putBack(): void;
  forget(): void;
}

export function keep(tensors: readonly Tensor[]): Kept {
  const copies = outsideScopes(() => tensors.map(clone));
  const forget = () => {
    for (const copy of copies) copy.dispose();
  };
  return {
    putBack: () => {
      tensors.forEach((tensor, i) => {
        assign(tensor, copies[i]!);
      });
      forget();
    },
    forget,
  };
}

function usable(state: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const isUsable = (tensor: Tensor) => {
    try {
      tensor.checkUsable();
      return true;
    } catch {
      return false;
    }
  };
  return Object.fromEntries(Object.entries(state).filter(([, tensor]) => isUsable(tensor)));
}

/** What there is of each parameter, from keys `parameter.which`. */
function byParameter(keys: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const key of keys) {
    const dot = key.lastIndexOf('.');
    const name = key.slice(0, dot);
    found.set(name, [...(found.get(name) ?? []), key.slice(dot + 1)]);
  }
  return found;
}

function isLike(source: Tensor | undefined, target: Tensor): boolean {
  return source !== undefined && source.dtype === target.dtype && sameShape(source.shape, target.shape);
}
