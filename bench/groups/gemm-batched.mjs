// Many small f32 products at once: batch x m x n x k.
import { problem, random } from '../data.mjs';
import { fmaPeak } from '../limits.mjs';
import { dot } from './gemm-f32.mjs';

export const group = 'gemm-batched';

const SIZES = [8, 16, 32, 64];
const BATCHES = [64, 512, 4096];
/** Beyond it the factors and the products alone are half a gigabyte for each contestant. */
const MAX_ELEMENTS = 2 ** 23;

function products(batch, n) {
  return problem({
    op: 'batchedGemm',
    batch,
    m: n,
    n,
    k: n,
    inputs: { a: random(batch * n * n, 1), b: random(batch * n * n, 2) },
    size: batch * n * n,
    expected: (index, { a, b }) => {
      const from = Math.floor(index / (n * n)) * n * n;
      const [row, column] = [Math.floor((index - from) / n), index % n];
      return dot(a, b, row, column, n, n, from, from);
    },
  });
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const n of SIZES) {
      for (const batch of BATCHES) {
        if (batch * n * n > MAX_ELEMENTS) continue;
        const work = 2 * batch * n ** 3;
        yield {
          group,
          name: `${batch}x${n}x${n}x${n}`,
          threads,
          unit: 'GFLOP/s',
          work,
          problem: products(batch, n),
          limit: () => fmaPeak(work, threads),
          ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
        };
      }
    }
  }
}
