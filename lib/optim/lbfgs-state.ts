import { DrivetrainError } from '../native/index.js';
import type { StateEntry } from '../nn/index.js';
import { assign } from '../ops/index.js';
import { Tensor, wrap } from '../tensor/index.js';
import type { Memory } from './lbfgs-memory.js';

/** Numbers of a saved state, under PyTorch's names. */
const SCALARS = ['nIter', 'funcEvals', 't', 'hDiag', 'prevLoss'] as const;

type State = Readonly<Record<string, Tensor>>;

/** A memory with the numbers of a saved state, and vectors that its vectors are to be loaded into. */
export function memoryLike(state: State, vector: () => Tensor): Memory {
  const numbers = SCALARS.map((name) => numberIn(state, name));
  const [iterations, evaluations, t, scale, loss] = numbers as [number, number, number, number, number];
  return {
    iterations,
    evaluations,
    pairs: rhosIn(state).map((rho) => ({ s: vector(), y: vector(), rho })),
    scale,
    ...(iterations > 0 && { last: { d: vector(), t, loss, gradient: vector() } }),
  };
}

/** Everything that is remembered, by name; `part(vector, i)` is what of a vector belongs to parameter i. */
export function entriesOf(
  { iterations, evaluations, pairs, scale, last }: Memory,
  names: readonly string[],
  part: (vector: Tensor, i: number) => Tensor,
): StateEntry[] {
  type Entry = [name: string, tensor: Tensor];
  const values = [iterations, evaluations, last?.t ?? 0, scale, last?.loss ?? 0];
  const scalars = SCALARS.map((name, i): Entry => [name, wrap(Float64Array.of(values[i]!), [])]);
  const ro: Entry = ['ro', wrap(Float64Array.from(pairs, ({ rho }) => rho))];
  const ofLast: Entry[] =
    last === undefined
      ? []
      : [
          ['d', last.d],
          ['prevFlatGrad', last.gradient],
        ];
  const ofPairs = pairs.flatMap(({ s, y }, k): Entry[] => [
    [`oldStps.${k}`, s],
    [`oldDirs.${k}`, y],
  ]);
  const parts = names.flatMap((name, i) =>
    [...ofLast, ...ofPairs].map(([which, vector]): Entry => [`${name}.${which}`, part(vector, i)]),
  );
  return [...scalars, ro, ...parts].map(([name, tensor]) => ({
    name,
    tensor,
    check: () => {},
    load: (source) => assign(tensor, source),
  }));
}

/** A number of a saved state; 0 where it is missing or no number, which `loadState` refuses. */
function numberIn(state: State, name: (typeof SCALARS)[number]): number {
  const saved: unknown = state[name];
  if (!(saved instanceof Tensor) || saved.size !== 1) return 0;
  const value = saved.item();
  const isCount = name === 'nIter' || name === 'funcEvals';
  if (isCount ? Number.isSafeInteger(value) && value >= 0 : Number.isFinite(value)) return value;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} for loadStateDict of LBFGS to be ${isCount ? 'a whole number from 0 on' : 'finite'} but received ${value}.`,
  );
}

function rhosIn(state: State): number[] {
  const saved: unknown = state.ro;
  return saved instanceof Tensor && saved.rank === 1 && saved.dtype === 'f64'
    ? [...(saved.toArray() as Float64Array)]
    : [];
}
