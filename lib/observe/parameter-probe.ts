import { assign, cast, globalNorm, norms, reshape, slice, sub } from '../ops/index.js';
import { type Compiled, compile } from '../program/index.js';
import { empty, isHalf, outsideScopes, type Tensor } from '../tensor/index.js';

/** Elements that are compared at a time: they and their difference stay in the processor's cache. */
const CHUNK = 2 ** 16;
/** About the most chunks: many more take long to record. */
const MAX_CHUNKS = 64;

export interface ParameterReport {
  /** The L2 norm of all parameters. */
  readonly norm: number;
  /** The norm of what the step changed over that of the parameters. */
  readonly updateRatio: number;
  /** The norm of the gradients, and how many of their elements are NaN or infinite, where they were given. */
  readonly gradients: { readonly norm: number; readonly notFinite: number } | undefined;
}

/** Scalars, one for each dtype. */
interface Measured {
  readonly parameters: Tensor[];
  readonly changes: Tensor[];
  readonly gradients: { l2: Tensor; notFinite: Tensor }[];
}

/**
 * Compares parameters with a copy of themselves: `keep` takes it before a step, `measure` looks after it. Both are
 * recorded programs, so that they run off the event loop where they are awaited. Holds a copy of the parameters, and
 * another chunk of them while it measures.
 */
export class ParameterProbe {
  readonly keep: Compiled<[], undefined>;
  readonly #measure: Compiled<Tensor[], Measured>;
  readonly #copies: readonly Tensor[];

  constructor(parameters: readonly Tensor[]) {
    const copies = outsideScopes(() => parameters.map(({ shape, dtype }) => empty(shape, dtype)));
    this.#copies = copies;
    this.keep = compile(() => {
      for (const [i, parameter] of parameters.entries()) assign(copies[i]!, parameter);
      return undefined;
    });
    const size = parameters.reduce((sum, parameter) => sum + parameter.size, 0);
    const chunk = Math.max(CHUNK, Math.ceil(size / MAX_CHUNKS));
    this.#measure = compile((...gradients: Tensor[]) => {
      const found = parameters.flatMap((parameter, i) => compare(parameter, copies[i]!, chunk));
      return {
        parameters: byDtype(found.map(({ norm }) => norm)).map(globalNorm),
        changes: byDtype(found.map(({ change }) => change)).map(globalNorm),
        gradients: byDtype(gradients.map(widened)).map((own) => {
          const { l2, notFinite } = norms(own);
          return { l2, notFinite };
        }),
      };
    });
  }

  async measure(gradients: readonly Tensor[]): Promise<ParameterReport> {
    return reportOf(await this.#measure(...gradients));
  }

  /** The same on the calling thread. */
  measureSync(gradients: readonly Tensor[]): ParameterReport {
    return reportOf(this.#measure.runSync(...gradients));
  }

  dispose(): void {
    for (const copy of this.#copies) copy.dispose();
  }
}

/** Norms are of f32 or f64. */
const widened = (t: Tensor) => (isHalf(t.dtype) ? cast(t, 'f32') : t);

/** Norms are of one dtype. */
function byDtype(tensors: readonly Tensor[]): Tensor[][] {
  return [...new Set(tensors.map(({ dtype }) => dtype))].map((dtype) =>
    tensors.filter((t) => t.dtype === dtype),
  );
}

/** For each chunk of a tensor its norm, and that of its difference from a copy. */
function compare(now: Tensor, before: Tensor, chunk: number): { norm: Tensor; change: Tensor }[] {
  const found: { norm: Tensor; change: Tensor }[] = [];
  for (let begin = 0; begin < now.size; begin += chunk) {
    const end = Math.min(begin + chunk, now.size);
    const part = (t: Tensor) => widened(slice(reshape(t, [t.size]), 0, begin, end));
    const own = part(now);
    found.push({ norm: globalNorm([own]), change: globalNorm([sub(own, part(before))]) });
  }
  return found;
}

/** Reads the scalars and frees them. */
function reportOf({ parameters, changes, gradients }: Measured): ParameterReport {
  const take = (scalar: Tensor) => {
    const value = scalar.item();
    scalar.dispose();
    return value;
  };
  const norm = Math.hypot(...parameters.map(take));
  const looked = gradients.map(({ l2, notFinite }) => ({ norm: take(l2), notFinite: take(notFinite) }));
  return {
    norm,
    updateRatio: Math.hypot(...changes.map(take)) / norm,
    gradients:
      looked.length === 0
        ? undefined
        : {
            norm: Math.hypot(...looked.map((own) => own.norm)),
            notFinite: looked.reduce((sum, own) => sum + own.notFinite, 0),
          },
  };
}
