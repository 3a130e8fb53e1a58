import { type Generator, mul, rand, randn, sub } from '../ops/index.js';
import { currentPool, empty, type Shape, type Tensor } from '../tensor/index.js';

let drawsValues = true;

/** Whether new layers have initial values. */
export const hasInitialValues = (): boolean => drawsValues;

/** Calls `fn`, which makes layers whose weights are all loaded before they are read: what they begin with is undefined. */
export function withoutInitialValues<T>(fn: () => T): T {
  drawsValues = false;
  try {
    return fn();
  } finally {
    drawsValues = true;
  }
}

/**
 * Uniform on [−1/√fanIn, 1/√fanIn): PyTorch's default for the weights and biases of linear layers (Kaiming uniform with
 * a = √5; He et al., arXiv:1502.01852).
 */
export function uniformByFanIn(shape: Shape, fanIn: number, generator?: Generator): Tensor {
  if (!drawsValues) return empty(shape);
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0;
  return currentPool().scope(() => mul(sub(rand(shape, generator && { generator }), 0.5), 2 * bound));
}

/** Normal with mean 0 and variance 1: PyTorch's default for embeddings. */
export function standardNormal(shape: Shape, generator?: Generator): Tensor {
  if (!drawsValues) return empty(shape);
  return randn(shape, generator && { generator });
}
