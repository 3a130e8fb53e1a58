// Products of u8 [m, k] and constant s8 [k, n] to 32-bit integers, as ONNX's MatMulInteger; and linear layers in INT8 as
// one calls them, f32 in and out. Beside ours in f32.
import { constant, problem, random, randomIntegers } from '../data.mjs';
import { int8Peak, readStream } from '../limits.mjs';

export const group = 'gemm-int8';

const PRODUCTS = [
  [64, 64, 64],
  [256, 256, 256],
  [512, 512, 512],
  [1024, 1024, 1024],
  [2048, 2048, 2048],
  [128, 3072, 768],
  [1, 3072, 768],
];
const LAYERS = [
  [128, 3072, 768],
  [1, 3072, 768],
];

/** Integers are right or wrong. */
function product([m, n, k], a, b) {
  const expected = (index, arrays) => {
    const [row, column] = [Math.floor(index / n), index % n];
    let value = 0;
    for (let p = 0; p < k; p++) value += arrays.a[row * k + p] * arrays.b[p * n + column];
    return { value, error: 0 };
  };
  return problem({ op: 'matmulInteger', m, n, k, inputs: { a, b }, size: m * n, expected });
}

function productRow(shape, threads) {
  const [m, n, k] = shape;
  const work = 2 * m * n * k;
  return {
    name: shape.join('x'),
    work,
    problem: product(shape, randomIntegers('u8', m * k, 1), randomIntegers('s8', k * n, 2)),
    // All factors are the largest: sums of two products do not fit into 16 bits.
    probe: product(shape, constant(m * k, 255, 'u8'), constant(k * n, 127, 's8')),
    limit: () => (m === 1 ? readStream(n * k, threads) : int8Peak(work, threads)),
    float: 'matmulFloat',
  };
}

function layer([m, n, k], x, weight, expected) {
  return problem({ op: 'linearInt8', m, n, k, inputs: { x, weight }, size: m * n, expected });
}

/** Within what rounding to 8 bits costs: half a step of each factor, times the other, over random signs. */
function roundedProduct(k, n) {
  return (index, { x, weight }) => {
    const [row, column] = [Math.floor(index / n), index % n];
    let value = 0;
    for (let p = 0; p < k; p++) value += x[row * k + p] * weight[column * k + p];
    // The steps are 1/127 and, unsigned over [−1, 1], 2/255; a product's error has a standard deviation under 0.004.
    return { value, error: 6 * 0.004 * Math.sqrt(k) };
  };
}

function layerRow(shape) {
  const [m, n, k] = shape;
  return {
    name: `linear/${shape.join('x')}`,
    work: 2 * m * n * k,
    problem: layer(shape, random(m * k, 1), random(n * k, 2), roundedProduct(k, n)),
    // Where 16-bit sums saturate, the result is too small by half.
    probe: layer(shape, constant(m * k, 1), constant(n * k, 1), () => ({ value: k, error: k * 0.01 })),
    float: 'linearF32',
  };
}

export function* rows() {
  for (const threads of [1, 2]) {
    const all = [...PRODUCTS.map((shape) => productRow(shape, threads)), ...LAYERS.map(layerRow)];
    for (const { float, ...row } of all) {
      const ours = {
        'drivetrain f32': { op: float },
        ...(threads > 1 && { 'drivetrain, 1 thread': { threads: 1 } }),
      };
      yield { group, threads, unit: 'Gop/s', ...row, ours };
    }
  }
}
