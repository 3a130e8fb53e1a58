import { type Generator, mul, rand, randn, sub } from '../ops/index.js';
import { currentPool, type Shape, type Tensor } from '../tensor/index.js';

/**
 * Uniform on [−1/√fanIn, 1/√fanIn): PyTorch's default for the weights and biases of linear layers (Kaiming uniform with
 * a = √5; He et al., arXiv:1502.01852).
 */
export function uniformByFanIn(shape: Shape, fanIn: number, generator?: Generator): Tensor {
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0;
  return currentPool().scope(() => mul(sub(rand(shape, generator && { generator }), 0.5), 2 * bound));
}

/** Normal with mean 0 and variance 1: PyTorch's default for embeddings. */
export function standardNormal(shape: Shape, generator?: Generator): Tensor {
  return randn(shape, generator && { generator });
}
