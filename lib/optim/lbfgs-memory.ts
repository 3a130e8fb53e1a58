import { add, mul, neg, norms, sub, sum, transient, zeros } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

/** A step s that was made and the change y of the gradient along it; rho is 1 / (y · s). */
export interface Pair {
  readonly s: Tensor;
  readonly y: Tensor;
  readonly rho: number;
}

/** What iterations of L-BFGS remember. Vectors have the elements of all parameters, end to end, and never change. */
export interface Memory {
  readonly iterations: number;
  readonly evaluations: number;
  readonly pairs: readonly Pair[];
  /** The scale of the first guess of the inverse Hessian. */
  readonly scale: number;
  /** The direction and the length of the last iteration, and the loss and the gradient before it. */
  readonly last?: {
    readonly d: Tensor;
    readonly t: number;
    readonly loss: number;
    readonly gradient: Tensor;
  };
}

export const FRESH: Memory = { iterations: 0, evaluations: 0, pairs: [], scale: 1 };

/** The last `historySize` pairs, with that of the last iteration, and the scale that follows from it. */
export function remember(
  { last, pairs, scale }: Memory,
  gradient: Tensor,
  historySize: number,
): Pick<Memory, 'pairs' | 'scale'> {
  if (last === undefined) return { pairs, scale };
  const [y, s] = [sub(gradient, last.gradient), mul(last.d, last.t)];
  const product = dot(y, s);
  if (!(product > 1e-10)) return { pairs, scale };
  const kept = pairs.slice(Math.max(0, pairs.length + 1 - historySize));
  return { pairs: [...kept, { s, y, rho: 1 / product }], scale: product / dot(y, y) };
}

/** −Hg by the two-loop recursion. */
export function direction(gradient: Tensor, pairs: readonly Pair[], scale: number): Tensor {
  const d = neg(gradient);
  const product = zeros(d.shape, { dtype: d.dtype as 'f32' | 'f64' });
  const addTimes = (vector: Tensor, factor: number) =>
    add(d, mul(vector, factor, { out: product }), { out: d });
  const alphas = pairs.map(() => 0);
  for (let k = pairs.length - 1; k >= 0; k--) {
    const { s, y, rho } = pairs[k]!;
    alphas[k] = dot(s, d) * rho;
    addTimes(y, -alphas[k]!);
  }
  mul(d, scale, { out: d });
  pairs.forEach(({ s, y, rho }, k) => {
    addTimes(s, alphas[k]! - dot(y, d) * rho);
  });
  product.dispose();
  return d;
}

export const dot = (a: Tensor, b: Tensor): number => transient(() => sum(mul(a, b))).item();

/** The largest element by its size; NaN where one is NaN. */
export const largestOf = (vector: Tensor): number => transient(() => norms([vector]).max).item();

/** All vectors that are remembered. */
export function vectorsOf({ pairs, last }: Memory): Set<Tensor> {
  const vectors = pairs.flatMap(({ s, y }) => [s, y]);
  return new Set(last === undefined ? vectors : [...vectors, last.d, last.gradient]);
}
