// A linear layer in INT8 as one calls it, f32 in and f32 out: activations quantized as they come, the integer product,
// its sums scaled; m x n x k for activations [m, k] and weights [n, k]. Beside our own layer in f32.
import { constant, problem, random } from '../data.mjs';
import { int8Peak, readStream } from '../limits.mjs';

export const group = 'gemm-int8';

const SHAPES = [
  [64, 64, 64],
  [256, 256, 256],
  [512, 512, 512],
  [1024, 1024, 1024],
  [2048, 2048, 2048],
  [128, 3072, 768],
  [1, 3072, 768],
];

function layer(m, n, k, inputs, expected) {
  return problem({ op: 'linearInt8', m, n, k, inputs, size: m * n, expected });
}

/** Within what rounding to 8 bits costs: half a step of each factor, times the other, over random signs. */
function expectedProduct(k, n) {
  return (index, { x, weight }) => {
    const [row, column] = [Math.floor(index / n), index % n];
    let value = 0;
    for (let p = 0; p < k; p++) value += x[row * k + p] * weight[column * k + p];
    // The steps are 1/127 and, unsigned over [−1, 1], 2/255; a product's error has a standard deviation under 0.004.
    return { value, error: 6 * 0.004 * Math.sqrt(k) };
  };
}

/** All factors are the largest: where 16-bit sums saturate, the result is too small by half. */
const largest = (m, n, k) =>
  layer(m, n, k, { x: constant(m * k, 1), weight: constant(n * k, 1) }, () => ({
    value: k,
    error: k * 0.01,
  }));

export function* rows() {
  for (const threads of [1, 2]) {
    for (const [m, n, k] of SHAPES) {
      const work = 2 * m * n * k;
      yield {
        group,
        name: `${m}x${n}x${k}`,
        threads,
        unit: 'Gop/s',
        work,
        problem: layer(m, n, k, { x: random(m * k, 1), weight: random(n * k, 2) }, expectedProduct(k, n)),
        probe: largest(m, n, k),
        limit: () => (m === 1 ? readStream(n * k, threads) : int8Peak(work, threads)),
        ours: {
          'drivetrain f32': { op: 'linearF32' },
          ...(threads > 1 && { 'drivetrain, 1 thread': { threads: 1 } }),
        },
      };
    }
  }
}
