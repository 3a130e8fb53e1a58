// Against the equations of the paper, written out in f64.
import { Adafactor, type AdafactorOptions, compile, device, type Tensor, tensor, wrap } from 'drivetrain';
import { afterAll, describe, expect, test } from 'vitest';
import {
  bitsOf,
  expectWithin,
  FLOATS,
  type Float,
  randomNumbers,
  refusalOf,
  sizeOf,
  UNIT,
} from '../ops/support.js';
import { arrayOf, type FloatArray } from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

/** One tensor and what is kept for it, as numbers. */
interface Kept {
  readonly shape: readonly number[];
  p: number[];
  r: number[];
  c: number[];
  v: number[];
  m: number[];
  reach: number[];
}

const meanSquare = (x: readonly number[]) => x.reduce((sum, y) => sum + y * y, 0) / x.length;
const rms = (x: readonly number[]) => Math.sqrt(meanSquare(x));

/** One step on one tensor: algorithms 4 (a matrix), 5 (a vector) and 6 of arXiv:1804.04235. */
function reference(kept: Kept, gradient: readonly number[], t: number, options: AdafactorOptions): void {
  const {
    lr = 1e-2,
    eps: [eps1, eps2] = [1e-30, 1e-3],
    clipThreshold = 1,
    decayRate = -0.8,
    beta1 = 0,
    weightDecay = 0,
    scaleParameter = true,
    relativeStep = true,
    warmupInit = false,
    maximize = false,
  } = options;
  const { shape, p } = kept;
  if (p.length === 0) return;
  const g = gradient.map((x) => (maximize ? -x : x));
  const beta2 = 1 - t ** decayRate;
  const squares = g.map((x) => x * x + eps1);
  let u: number[];
  if (shape.length < 2) {
    kept.v = squares.map((x, i) => beta2 * (kept.v[i] ?? 0) + (1 - beta2) * x);
    u = g.map((x, i) => x / Math.sqrt(kept.v[i]!));
  } else {
    const [rows, cols] = shape.slice(-2) as [number, number];
    const matrices = p.length / (rows * cols);
    const [r, c] = [new Array<number>(matrices * rows).fill(0), new Array<number>(matrices * cols).fill(0)];
    const rowOf = (i: number) => Math.floor(i / cols);
    const columnOf = (i: number) => Math.floor(i / (rows * cols)) * cols + (i % cols);
    for (const [i, x] of squares.entries()) {
      r[rowOf(i)]! += x / cols;
      c[columnOf(i)]! += x / rows;
    }
    kept.r = r.map((x, i) => beta2 * (kept.r[i] ?? 0) + (1 - beta2) * x);
    kept.c = c.map((x, i) => beta2 * (kept.c[i] ?? 0) + (1 - beta2) * x);
    const means = Array.from({ length: matrices }, (_, k) =>
      kept.r.slice(k * rows, (k + 1) * rows).reduce((sum, x) => sum + x / rows, 0),
    );
    u = g.map((x, i) => {
      const v = (kept.r[rowOf(i)]! * kept.c[columnOf(i)]!) / means[Math.floor(i / (rows * cols))]!;
      return x / Math.sqrt(v);
    });
  }
  const most = warmupInit ? Math.min(lr, 1e-6 * t) : lr;
  const rho = relativeStep ? Math.min(most, 1 / Math.sqrt(t)) : lr;
  const alpha = scaleParameter ? rho * Math.max(eps2, rms(p)) : rho;
  const clip = Math.max(1, rms(u) / clipThreshold);
  const step = u.map((x) => (alpha * x) / clip);
  kept.m = step.map((x, i) => (beta1 > 0 ? beta1 * (kept.m[i] ?? 0) + (1 - beta1) * x : x));
  kept.p = p.map((x, i) => x - weightDecay * alpha * x - kept.m[i]!);
  kept.reach = kept.reach.map((x, i) => Math.max(x, Math.abs(kept.p[i]!)));
}

/** Matrices, a vector, matrices in a batch, a scalar, none at all; one row, one column. */
const SHAPES = [[3, 4], [5], [2, 3, 4], [], [0, 3], [1, 7], [6, 1]];
const STEPS = 200;

function follow(
  shapes: readonly (readonly number[])[],
  dtype: Float,
  options: AdafactorOptions,
  steps: number,
) {
  const start = shapes.map((shape, i) => arrayOf(randomNumbers(sizeOf(shape), i + 1, 'f32'), dtype));
  const arrays = start.map((p) => p.slice());
  const tensors = start.map((p, i) => tensor(p, { shape: shapes[i]! }));
  const kept: Kept[] = start.map((p, i) => ({
    shape: shapes[i]!,
    ...{ p: [...p], r: [], c: [], v: [], m: [] },
    reach: [...p].map(Math.abs),
  }));
  const eager = new Adafactor(
    arrays.map((p, i) => wrap(p, shapes[i]!)),
    options,
  );
  const recorded = new Adafactor(tensors, options);
  const step = compile((...g: Tensor[]) => recorded.step(g));
  for (let k = 0; k < steps; k++) {
    // Of very different sizes, and some rows without any.
    const gradients = shapes.map((shape, i) => {
      const numbers = randomNumbers(sizeOf(shape), 100 + 10 * k + i, 'f32');
      return arrayOf(
        numbers.map((x, j) => (j === 1 ? 0 : x * 2 ** ((j % 7) - 3))),
        dtype,
      );
    });
    eager.step(gradients);
    step.runSync(...gradients.map((g, i) => tensor(g, { shape: shapes[i]! })));
    for (const [i, one] of kept.entries()) reference(one, [...gradients[i]!], k + 1, options);
  }
  expect(tensors.map((p) => bitsOf(p.toArray()))).toEqual(arrays.map(bitsOf));
  return { arrays, kept, state: eager.stateDict() };
}

function check(dtype: Float, steps: number, { arrays, kept, state }: ReturnType<typeof follow>): void {
  kept.forEach(({ p, r, c, v, reach }, i) => {
    // As in pytorch.test.ts: an update has less than 16 roundings.
    const bound = (j: number) => (dtype === 'f64' ? 1e-12 : 16 * steps * UNIT.f32) * reach[j]!;
    expectWithin({ dtype, shape: [p.length], data: arrays[i]! as FloatArray }, p, bound, `tensor ${i}`);
    // Averages of positive numbers: two roundings a step.
    const ofState = (name: string, wanted: number[]) => {
      const data = state[`${i}.${name}`]!.toArray();
      expectWithin(
        { dtype, shape: [data.length], data },
        wanted,
        (j) => (2 * steps + 60) * UNIT[dtype] * wanted[j]!,
        name,
      );
    };
    if (r.length > 0) {
      ofState('row', r);
      ofState('column', c);
    } else if (v.length > 0) {
      ofState('unfactored', v);
    } else {
      expect([...(state[`${i}.column`]!.toArray() as FloatArray)]).toEqual([0, 0, 0]);
    }
  });
}

const cases: Record<string, AdafactorOptions> = {
  defaults: {},
  'a rate of its own': { lr: 0.02, relativeStep: false, scaleParameter: false },
  'a scaled rate': { lr: 0.02, relativeStep: false },
  'warm-up': { warmupInit: true },
  'a lower bound of the rate': { lr: 1e-3 },
  momentum: { beta1: 0.9 },
  'weight decay': { weightDecay: 0.3, lr: 0.05, relativeStep: false },
  'everything else': {
    ...{
      eps: [1e-3, 0.5],
      clipThreshold: 0.25,
      decayRate: -0.5,
      beta1: 0.5,
      weightDecay: 0.1,
      maximize: true,
    },
    scaleParameter: false,
  },
};

describe.each(Object.entries(cases))('with %s', (_, options) => {
  test.each(FLOATS)('takes the steps of its paper in %s, recorded or not', (dtype) => {
    check(dtype, STEPS, follow(SHAPES, dtype, options, STEPS));
  });
});

test.each(FLOATS)('large matrices too, in %s, with the same bits however many threads there are', (dtype) => {
  const shapes = [[130, 1100], [20_000], [2, 65, 30], [3000, 3]];
  const run = (count: number) => {
    device.setThreads(count);
    return follow(shapes, dtype, { beta1: 0.5, weightDecay: 0.1 }, 2);
  };
  const many = run(threads);
  check(dtype, 2, many);
  const one = run(1);
  device.setThreads(threads);
  expect(one.arrays.map(bitsOf)).toEqual(many.arrays.map(bitsOf));
});

test('the first step of a gradient whose squares are a product goes by its sign', () => {
  const p = new Float64Array(12).fill(1);
  const [rows, columns] = [
    [1, -2, 3],
    [0.5, 4, -1, 2],
  ];
  const g = rows.flatMap((a) => columns.map((b) => a * b));
  const optimizer = new Adafactor([wrap(p, [3, 4])], {
    lr: 0.125,
    relativeStep: false,
    scaleParameter: false,
  });
  optimizer.step([Float64Array.from(g)]);
  p.forEach((x, i) => {
    expect(Math.abs(x - (1 - 0.125 * Math.sign(g[i]!)))).toBeLessThan(1e-14);
  });
});

test('finds the solution of a least-squares problem in a matrix', () => {
  const [n, rows, cols] = [40, 4, 3];
  const [x, truth] = [randomNumbers(n * rows, 1), randomNumbers(rows * cols, 2)];
  const times = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from({ length: n * cols }, (_, i) => {
      let sum = 0;
      for (let k = 0; k < rows; k++) sum += a[Math.floor(i / cols) * rows + k]! * b[k * cols + (i % cols)]!;
      return sum;
    });
  const y = times(x, truth);
  const w = new Float64Array(rows * cols);
  const optimizer = new Adafactor([wrap(w, [rows, cols])], { scaleParameter: false, relativeStep: false });
  for (let k = 0; k < 2000; k++) {
    for (const group of optimizer.paramGroups) group.lr = 0.05 * (1 - k / 2000);
    const error = times(x, w).map((z, i) => (z - y[i]!) / n);
    const gradient = w.map((_, j) => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += x[i * rows + Math.floor(j / cols)]! * error[i * cols + (j % cols)]!;
      return sum;
    });
    optimizer.step([gradient]);
  }
  w.forEach((value, j) => {
    expect(Math.abs(value - truth[j]!)).toBeLessThan(1e-3);
  });
});

test('a matrix keeps a number for each row and column, a vector one for each element', () => {
  const shapes = [[300, 200], [7], [2, 3, 4, 5]];
  const names = (options: AdafactorOptions) => {
    const optimizer = new Adafactor(
      shapes.map((shape) => tensor(new Float32Array(sizeOf(shape)), { shape })),
      options,
    );
    return Object.fromEntries(Object.entries(optimizer.stateDict()).map(([name, t]) => [name, t.shape]));
  };
  const common = {
    ...{ '0.step': [], '0.row': [300], '0.column': [200] },
    ...{ '1.step': [], '1.unfactored': [7] },
    ...{ '2.step': [], '2.row': [2, 3, 4], '2.column': [2, 3, 5] },
  };
  expect(names({})).toEqual(common);
  expect(names({ beta1: 0.5 })).toEqual({
    ...common,
    '0.momentum': [300, 200],
    '1.momentum': [7],
    '2.momentum': [2, 3, 4, 5],
  });
});

test('options out of range are refused, and those that the state depends on stay', () => {
  const p = () => [new Float32Array(3)];
  for (const options of [
    ...[{ eps: [0, 1e-3] }, { eps: [1e-30, -1] }, { eps: [1e-30] }, { eps: 1e-30 }],
    ...[{ clipThreshold: 0 }, { clipThreshold: Infinity }, { decayRate: 0.8 }, { decayRate: NaN }],
    ...[{ beta1: 1 }, { weightDecay: 2 }, { relativeStep: 1 }, { betas: [0.9, 0.99] }],
    { warmupInit: true, relativeStep: false },
  ]) {
    expect(refusalOf(() => new Adafactor(p(), options as AdafactorOptions)).code).toBe('DT_INVALID_ARGUMENT');
  }
  const group = new Adafactor(p()).paramGroups[0]!;
  expect(refusalOf(() => (group.beta1 = 0.5)).message).toContain('beta1 of Adafactor to stay');
  const { params: _, names: __, ...options } = group;
  expect(options).toEqual({
    ...{ lr: 1e-2, eps: [1e-30, 1e-3], clipThreshold: 1, decayRate: -0.8, beta1: 0, weightDecay: 0 },
    ...{ scaleParameter: true, relativeStep: true, warmupInit: false, maximize: false },
  });
});
