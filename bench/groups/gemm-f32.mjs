// Products of two f32 matrices. Small ones come as a chain of products in one call, each of the one before and a factor
// of its own, so that the kernel is compared and not the way across N-API (which has a group of its own).
import { problem, random } from '../data.mjs';
import { fmaPeak } from '../limits.mjs';

export const group = 'gemm-f32';

const SQUARE = [16, 32, 64, 128, 256, 512, 1024, 2048].map((n) => [n, n, n]);
const TALL_WIDE_SKINNY = [
  [4096, 64, 256],
  [64, 4096, 256],
  [64, 64, 4096],
  [2048, 2048, 32],
  [128, 3072, 768],
  [1, 3072, 768],
  [3072, 1, 768],
];
const CHAIN = { 16: 64, 32: 64, 64: 16, 128: 4 };
const EPSILON = 2 ** -24;

/** m × n × k; for a chain m = n = k. */
function product(m, n, k) {
  const square = m === n && n === k;
  const count = (square && CHAIN[n]) || 1;
  // A chain keeps its size when a factor's elements have the variance 1/n.
  const inputs = { a: random(m * k, 1), b: random(count * k * n, 2, count > 1 ? Math.sqrt(3 / n) : 1) };
  let chained;
  const ofChain = (index, arrays) => {
    chained ??= chain(n, count, arrays);
    return { value: chained[index], error: 1e-3 };
  };
  const expected =
    count > 1 ? ofChain : (index, { a, b }) => dot(a, b, Math.floor(index / n), index % n, n, k);
  return problem({ op: 'gemm', m, n, k, count, inputs, size: m * n, expected });
}

/** An element of a product; an error of k roundings of the sum of magnitudes. */
export function dot(a, b, row, column, n, k, aFrom = 0, bFrom = 0) {
  let [value, magnitude] = [0, 0];
  for (let p = 0; p < k; p++) {
    const term = a[aFrom + row * k + p] * b[bFrom + p * n + column];
    value += term;
    magnitude += Math.abs(term);
  }
  return { value, error: (k + 1) * EPSILON * magnitude };
}

function chain(n, count, { a, b }) {
  let left = Float64Array.from(a);
  for (let i = 0; i < count; i++) {
    const right = b.subarray(i * n * n, (i + 1) * n * n);
    const out = new Float64Array(n * n);
    for (let row = 0; row < n; row++) {
      for (let p = 0; p < n; p++) {
        for (let column = 0; column < n; column++) {
          out[row * n + column] += left[row * n + p] * right[p * n + column];
        }
      }
    }
    left = out;
  }
  return left;
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const [m, n, k] of [...SQUARE, ...TALL_WIDE_SKINNY]) {
      const made = product(m, n, k);
      const work = 2 * m * n * k * made.count;
      yield {
        group,
        name: `${m}x${n}x${k}`,
        threads,
        unit: 'GFLOP/s',
        work,
        problem: made,
        limit: () => fmaPeak(work, threads),
        ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
      };
    }
  }
}
