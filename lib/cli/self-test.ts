import type { Tensor } from '../index.js';
import type { Finding } from '../text/index.js';
import type { Library } from './doctor.js';

/** The distance of 1 from the next f32. */
const EPSILON = 2 ** -23;

interface Check {
  readonly name: string;
  /** Undefined where all is well; else what is wrong. */
  readonly run: (library: Library) => string | undefined;
}

/** Numbers from −1 to 1 that are the same everywhere (a linear congruential generator). */
function numbers(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Says which element is furthest out, if one is further from `expected` than its bound. NaN is. */
function compare(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (i: number) => number,
): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    if (Math.abs(actual[i]! - expected[i]!) <= bound(i)) continue;
    return `element ${i} is ${actual[i]}, where ${expected[i]} is right`;
  }
  return undefined;
}

/** Sizes that no tile of a kernel divides. */
const [M, K, N] = [37, 129, 43];

const CHECKS: readonly Check[] = [
  { name: 'matrix product', run: product },
  { name: 'softmax', run: checkSoftmax },
  { name: 'layer norm', run: checkLayerNorm },
  { name: 'INT8 product', run: integerProduct },
  { name: 'AdamW', run: checkAdamW },
  { name: 'threads', run: sameBits },
];

/** Compares the kernels in use with plain JavaScript in f64, each within the bound of its roundings in f32. */
export function selfTest(library: Library): Finding[] {
  const { isa } = library.device.info();
  const wrong = CHECKS.flatMap(({ name, run }): Finding[] => {
    const found = attempt(() => library.defaultPool.scope(() => run(library)));
    if (found === undefined) return [];
    return [
      {
        status: 'problem',
        subject: 'kernels',
        found: `${name} (${isa}): ${found}`,
        advice:
          'Do not trust results of this processor and binary. See whether DRIVETRAIN_ISA=scalar mends it, and report it with the output of `drivetrain doctor --json`.',
      },
    ];
  });
  if (wrong.length > 0) return wrong;
  const names = CHECKS.slice(0, -1).map(({ name }) => name);
  const found = `${names.join(', ')} agree with f64 (${isa}), and have the same bits on one thread and on all`;
  return [{ status: 'ok', subject: 'kernels', found }];
}

function attempt(run: () => string | undefined): string | undefined {
  try {
    return run();
  } catch (error) {
    return (error as Error).message;
  }
}

function product({ matmul, wrap }: Library): string | undefined {
  const [a, b] = [numbers(M * K, 1), numbers(K * N, 2)];
  const expected = new Float64Array(M * N);
  const size = new Float64Array(M * N);
  for (let i = 0; i < M; i++) {
    for (let j = 0; j < N; j++) {
      for (let k = 0; k < K; k++) {
        const term = a[i * K + k]! * b[k * N + j]!;
        expected[i * N + j]! += term;
        size[i * N + j]! += Math.abs(term);
      }
    }
  }
  // Each of K roundings errs by at most half an epsilon of a partial sum.
  return compare(values(matmul(wrap(a, [M, K]), wrap(b, [K, N]))), expected, (i) => K * EPSILON * size[i]!);
}

function checkSoftmax({ softmax, wrap }: Library): string | undefined {
  const x = numbers(M * N, 3).map((value) => 20 * value);
  const expected = rowsOf(x, N).flatMap((row) => {
    const highest = Math.max(...row);
    const powers = row.map((value) => Math.exp(value - highest));
    const sum = powers.reduce((total, value) => total + value, 0);
    return powers.map((value) => value / sum);
  });
  return compare(values(softmax(wrap(x, [M, N]))), expected, (i) => 64 * EPSILON * expected[i]! + 1e-30);
}

function checkLayerNorm({ layerNorm, wrap }: Library): string | undefined {
  const x = numbers(M * N, 4);
  const [weight, bias] = [numbers(N, 5), numbers(N, 6)];
  const expected = rowsOf(x, N).flatMap((row) => {
    const mean = row.reduce((total, value) => total + value, 0) / N;
    const variance = row.reduce((total, value) => total + (value - mean) ** 2, 0) / N;
    return row.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i]! + bias[i]!);
  });
  const actual = values(layerNorm(wrap(x, [M, N]), wrap(weight), wrap(bias)));
  return compare(actual, expected, () => N * EPSILON);
}

/** With the largest values, for which sums of 16 bits would be too short. */
function integerProduct({ matmulInteger, packInt8, wrap }: Library): string | undefined {
  const a = Uint8Array.from(numbers(M * K, 7), (value) => (value > 0 ? 255 : 128 * (1 + value)));
  const weight = Int8Array.from(numbers(N * K, 8), (value) => (value > 0 ? 127 : 128 * value));
  const expected = new Int32Array(M * N);
  for (let i = 0; i < M; i++)
    for (let j = 0; j < N; j++)
      for (let k = 0; k < K; k++) expected[i * N + j]! += a[i * K + k]! * weight[j * K + k]!;
  return compare(values(matmulInteger(wrap(a, [M, K]), packInt8(wrap(weight, [N, K])))), expected, () => 0);
}

function checkAdamW({ AdamW }: Library): string | undefined {
  const parameters = numbers(1001, 9);
  const expected = Float64Array.from(parameters);
  const [m, v] = [new Float64Array(1001), new Float64Array(1001)];
  const [lr, beta1, beta2, eps, decay] = [0.01, 0.9, 0.999, 1e-8, 0.1];
  const optimizer = new AdamW([parameters], { lr, betas: [beta1, beta2], eps, weightDecay: decay });
  for (let t = 1; t <= 5; t++) {
    const gradients = numbers(1001, 10 + t);
    optimizer.step([gradients]);
    for (let i = 0; i < 1001; i++) {
      m[i] = beta1 * m[i]! + (1 - beta1) * gradients[i]!;
      v[i] = beta2 * v[i]! + (1 - beta2) * gradients[i]! ** 2;
      const root = Math.sqrt(v[i]!) / Math.sqrt(1 - beta2 ** t) + eps;
      expected[i] = expected[i]! * (1 - lr * decay) - ((lr / (1 - beta1 ** t)) * m[i]!) / root;
    }
  }
  // Five updates of values up to 1, each rounded; the moments err by some epsilons of updates of 0.01.
  return compare(parameters, expected, () => 8 * EPSILON);
}

function sameBits({ device, layerNorm, matmul, mean, softmax, wrap }: Library): string | undefined {
  const { threads } = device.info();
  const [a, b] = [wrap(numbers(512 * 512, 20), [512, 512]), wrap(numbers(512 * 512, 21), [512, 512])];
  const weight = wrap(numbers(512, 22));
  const compute = () => {
    const c = layerNorm(matmul(a, b), weight, weight);
    return [c, softmax(c), mean(c)].map((tensor) => Buffer.from(tensor.toArray().buffer));
  };
  try {
    device.setThreads(1);
    const alone = compute();
    device.setThreads(Math.max(2, threads));
    const together = compute();
    const differs = alone.findIndex((bytes, i) => Buffer.compare(bytes, together[i]!) !== 0);
    if (differs < 0) return undefined;
    return `other bits on one thread than on ${Math.max(2, threads)}: ${['product', 'softmax', 'mean'][differs]}`;
  } finally {
    device.setThreads(threads);
  }
}

const values = (tensor: Tensor) => tensor.toArray() as Float32Array;

const rowsOf = (x: Float32Array, width: number) =>
  Array.from({ length: x.length / width }, (_, i) => Array.from(x.subarray(i * width, (i + 1) * width)));
