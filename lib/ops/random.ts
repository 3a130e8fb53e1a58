import { DrivetrainError } from '../native/index.js';
import {
  checkOptions,
  checkShape,
  type DType,
  outsideScopes,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
} from '../tensor/index.js';
import { activeRecorder, apply, transient } from './apply.js';
import { checkFloat, checkOneOf, checkShapeIs } from './checks.js';
import { assign, clone } from './copy.js';
import type { Op } from './op.js';

interface RandomAttrs {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly distance: number;
}

const randomOp = (name: 'uniform' | 'normal'): Op<RandomAttrs> => ({
  name,
  infer: (_, { shape, dtype }) => [{ shape: [...shape], dtype }],
  numbers: ({ distance }) => [distance],
  random: true,
});
const uniformOp = randomOp('uniform');
const normalOp = randomOp('normal');

export interface DropoutAttrs {
  readonly distance: number;
}

/** Inputs x, rate (f64 scalar) and the generator's state; also its own gradient, applied to dy. */
export const dropoutOp: Op<DropoutAttrs> = {
  name: 'dropout',
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  numbers: ({ distance }) => [distance],
  random: true,
};

const advanceOp: Op<{ blocks: number }> = {
  name: 'advance',
  infer: () => [],
  numbers: ({ blocks }) => [blocks],
  writes: () => true,
};

/**
 * A stream of random numbers by counter (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * 2011): the same on every machine for the same seed. Its state is a tensor, so that programs advance it and
 * checkpoints keep it.
 */
export class Generator {
  /** i64 [2]: the seed, and the offset in blocks of 128 random bits. */
  readonly state: Tensor;
  /** Blocks that the current recording has drawn so far; they are added to the state at its end. */
  readonly #drawn = new WeakMap<object, number>();

  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a whole number from 0 on as seed but received ${seed}.`,
      );
    }
    this.state = tensor(BigInt64Array.of(BigInt(seed), 0n));
  }

  stateDict(): { state: Tensor } {
    return { state: this.state };
  }

  /** Goes on where another generator's `stateDict` was taken. */
  loadStateDict({ state }: { readonly state: Tensor }): void {
    assign(this.state, state);
  }

  /**
   * Uses up `blocks` of the stream: calls `draw` with a state, and the distance of the fresh range from its offset. A
   * gradient may draw the same range again later, so what runs at once gets a copy of the state.
   */
  draw(blocks: number, draw: (state: Tensor, distance: number) => Tensor): Tensor {
    const recorder = activeRecorder();
    if (recorder?.atEnd === undefined) {
      return transient(() => {
        const result = draw(clone(this.state), 0);
        apply(advanceOp, [this.state], { blocks });
        return result;
      });
    }
    if (!this.#drawn.has(recorder)) {
      recorder.atEnd(() => apply(advanceOp, [this.state], { blocks: this.#drawn.get(recorder)! }));
    }
    const distance = this.#drawn.get(recorder) ?? 0;
    this.#drawn.set(recorder, distance + blocks);
    return draw(this.state, distance);
  }
}

/** The generator of everything that is not given one of its own. */
let defaultGenerator: Generator | undefined;

function globalGenerator(): Generator {
  defaultGenerator ??= outsideScopes(() => new Generator(0));
  return defaultGenerator;
}

/** Starts the default generator's stream anew, also for compiled functions that draw from it. */
export function seed(value: number): void {
  transient(() => assign(globalGenerator().state, new Generator(value).state));
}

const BLOCK_BYTES = 16;
const bytesPerValue = (dtype: DType): number => (dtype === 'f64' ? 8 : 4);

function blocksFor(size: number, dtype: DType): number {
  return Math.ceil((size * bytesPerValue(dtype)) / BLOCK_BYTES);
}

export interface RandomOptions {
  /** 'f32' unless given; or 'f64'. */
  dtype?: 'f32' | 'f64';
  generator?: Generator;
}

function random(name: string, op: Op<RandomAttrs>, shape: Shape, options: RandomOptions): Tensor {
  checkOptions(name, options, ['dtype', 'generator']);
  checkShape(shape);
  const { dtype = 'f32', generator = globalGenerator() } = options;
  if (dtype !== 'f32' && dtype !== 'f64') {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected dtype f32 or f64 for random numbers but received ${String(dtype)}.`,
    );
  }
  return generator.draw(
    blocksFor(sizeOf(shape), dtype),
    (state, distance) => apply(op, [state], { shape, dtype, distance })[0]!,
  );
}

/** Uniform on [0, 1). */
export function rand(shape: Shape, options: RandomOptions = {}): Tensor {
  return random('rand', uniformOp, shape, options);
}

/** Normal with mean 0 and variance 1. */
export function randn(shape: Shape, options: RandomOptions = {}): Tensor {
  return random('randn', normalOp, shape, options);
}

/**
 * Zero with probability `rate` (an f64 scalar tensor, read when the op runs), otherwise x / (1 − rate). Srivastava et
 * al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.
 */
export function dropout(x: Tensor, rate: Tensor, generator: Generator = globalGenerator()): Tensor {
  checkFloat('dropout', x);
  checkOneOf('dropout', 'rate', rate, ['f64']);
  checkShapeIs('dropout', 'rate', rate, []);
  return generator.draw(
    blocksFor(x.size, x.dtype),
    (state, distance) => apply(dropoutOp, [x, rate, state], { distance })[0]!,
  );
}
