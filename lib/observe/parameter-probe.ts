import { assign, cast, globalNorm, norms, reshape, slice, sub } from '../ops/index.js';
import { type Compiled, compile } from '../program/index.js';
import { empty, isHalf, outsideScopes, type Tensor } from '../tensor/index.js';

/** Elements that are compared at a time, so that their difference stays in the processor's cache. */
const CHUNK = 2 ** 18;

/** What tensors look like: over all of their elements. */
export interface Looked {
  /** The L2 norm. */
  readonly norm: number;
  /** How many elements are NaN or infinite. */
  readonly notFinite: number;
}

export interface ParameterReport {
  readonly parameters: Looked;
  /** The norm of what the step changed over the norm of the parameters. */
  readonly updateRatio: number;
  /** Where gradients were given. */
  readonly gradients: Looked | undefined;
}

/** Scalars, one of each for each dtype. */
interface Measured {
  readonly parameters: { l2: Tensor; notFinite: Tensor }[];
  readonly change: Tensor[];
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
    const pairs = parameters.map((parameter, i) => [parameter, copies[i]!] as const);
    this.#measure = compile((...gradients: Tensor[]) => ({
      parameters: byDtype(parameters).map(look),
      change: byDtype(pairs.flatMap(differences)).map(globalNorm),
      gradients: byDtype(gradients).map(look),
    }));
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

/** Norms take tensors of one dtype, f32 or f64; 16-bit ones are widened. */
function byDtype(tensors: readonly Tensor[]): Tensor[][] {
  const wide = tensors.map((t) => (isHalf(t.dtype) ? cast(t, 'f32') : t));
  return [...new Set(wide.map(({ dtype }) => dtype))].map((dtype) => wide.filter((t) => t.dtype === dtype));
}

function look(tensors: readonly Tensor[]): Measured['parameters'][number] {
  const { l2, notFinite } = norms(tensors);
  return { l2, notFinite };
}

/** The norms of the differences between two tensors, chunk by chunk. */
function differences([a, b]: readonly [Tensor, Tensor]): Tensor[] {
  const found: Tensor[] = [];
  for (let begin = 0; begin < a.size; begin += CHUNK) {
    const [x, y] = [a, b].map((t) => {
      const chunk = slice(reshape(t, [t.size]), 0, begin, Math.min(begin + CHUNK, t.size));
      return isHalf(t.dtype) ? cast(chunk, 'f32') : chunk;
    });
    found.push(globalNorm([sub(x!, y!)]));
  }
  return found;
}

/** Reads the scalars and frees them. */
function reportOf({ parameters, change, gradients }: Measured): ParameterReport {
  const take = (scalar: Tensor) => {
    const value = scalar.item();
    scalar.dispose();
    return value;
  };
  const together = (looked: Measured['gradients']): Looked => ({
    norm: Math.hypot(...looked.map(({ l2 }) => take(l2))),
    notFinite: looked.map(({ notFinite }) => take(notFinite)).reduce((a, b) => a + b, 0),
  });
  const all = together(parameters);
  return {
    parameters: all,
    updateRatio: Math.hypot(...change.map(take)) / all.norm,
    gradients: gradients.length === 0 ? undefined : together(gradients),
  };
}
