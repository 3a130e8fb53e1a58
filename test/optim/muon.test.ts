import {
  CheckpointManager,
  clone,
  compile,
  device,
  Muon,
  type MuonOptions,
  type Tensor,
  tensor,
  wrap,
} from 'drivetrain';
import { afterAll, describe, expect, test } from 'vitest';
import { binding } from '../../dist/native/index.js';
import type { SharedStorage } from '../../dist/tensor/index.js';
import { temporaryFolder } from '../io/support.js';
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
import { arrayOf } from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const [A, B, C] = [3.4445, -4.775, 2.0315];

/** Matrices in f64, row by row. */
interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly at: Float64Array;
}
const matrix = (rows: number, cols: number, at: ArrayLike<number>): Matrix => ({
  rows,
  cols,
  at: Float64Array.from(at),
});
const map = (x: Matrix, fn: (value: number, i: number) => number): Matrix => ({ ...x, at: x.at.map(fn) });
const norm = ({ at }: Matrix) => Math.sqrt(at.reduce((sum, x) => sum + x * x, 0));
const transposed = ({ rows, cols, at }: Matrix) =>
  matrix(
    cols,
    rows,
    Array.from({ length: at.length }, (_, i) => at[(i % rows) * cols + Math.floor(i / rows)]!),
  );
function times(a: Matrix, b: Matrix): Matrix {
  const out = new Float64Array(a.rows * b.cols);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.cols; k++) {
      const factor = a.at[i * a.cols + k]!;
      for (let j = 0; j < b.cols; j++) out[i * b.cols + j]! += factor * b.at[k * b.cols + j]!;
    }
  }
  return matrix(a.rows, b.cols, out);
}

/** The iteration as its authors write it: with the shorter side first. */
function orthogonalised(u: Matrix): Matrix {
  if (u.rows > u.cols) return transposed(orthogonalised(transposed(u)));
  const size = norm(u) + 1e-7;
  let x = map(u, (value) => value / size);
  for (let k = 0; k < 5; k++) {
    const gram = times(x, transposed(x));
    const square = times(gram, gram);
    const product = times(
      map(gram, (value, i) => B * value + C * square.at[i]!),
      x,
    );
    x = map(x, (value, i) => A * value + product.at[i]!);
  }
  return x;
}

function reference(
  p: Matrix,
  b: Matrix,
  g: Matrix,
  { lr = 0.02, momentum = 0.95, nesterov = true, weightDecay = 0, maximize = false }: MuonOptions,
): { p: Matrix; b: Matrix } {
  const up = map(g, (x) => (maximize ? -x : x));
  const buffer = map(b, (x, i) => momentum * x + up.at[i]!);
  const x = orthogonalised(nesterov ? map(up, (value, i) => value + momentum * buffer.at[i]!) : buffer);
  const rate = lr * Math.sqrt(Math.max(1, p.rows / p.cols));
  return { p: map(p, (value, i) => value - lr * weightDecay * value - rate * x.at[i]!), b: buffer };
}

/**
 * How far an orthogonalised matrix may be off, by its norm. The polynomial a σ + b σ³ + c σ⁵ takes singular values from 0 to
 * 1.21 to such, and its slope there lies between −1.7 and 4, so that an error grows at most fourfold in each of the
 * iterations that follow. Each of them has three products, of sums of at most `longest` terms, of matrices whose norms
 * are at most 1.21 √n for a shorter side of n: with the factors, less than 12 (longest + 4) √n roundings.
 */
function boundOf(rows: number, cols: number, dtype: Float): number {
  const [n, longest] = [Math.min(rows, cols), Math.max(rows, cols)];
  const growth = [1, 4, 16, 64, 256, 1024].reduce((sum, x) => sum + x, 0);
  return growth * 12 * (longest + 4) * Math.sqrt(n) * UNIT[dtype];
}

const SHAPES = [
  [3, 4],
  [4, 3],
  [5, 5],
  [1, 7],
  [7, 1],
  [1, 1],
  [2, 3, 4],
  [6, 1, 2, 2],
  [0, 3],
];
const STEPS = 30;
const cases: Record<string, MuonOptions> = {
  defaults: {},
  'no Nesterov': { nesterov: false },
  'no momentum': { momentum: 0, lr: 0.1 },
  'weight decay': { weightDecay: 0.5, lr: 0.05, momentum: 0.5 },
  maximize: { maximize: true, weightDecay: 0.1 },
};
const flat = (shape: readonly number[]): [rows: number, cols: number] => [
  shape[0]!,
  shape[0] === 0 ? 0 : sizeOf(shape) / shape[0]!,
];

function follow(shapes: readonly (readonly number[])[], dtype: Float, options: MuonOptions, steps: number) {
  const start = shapes.map((shape, i) => arrayOf(randomNumbers(sizeOf(shape), i + 1, 'f32'), dtype));
  const arrays = start.map((p) => p.slice());
  const tensors = start.map((p, i) => tensor(p, { shape: shapes[i]! }));
  const eager = new Muon(
    arrays.map((p, i) => wrap(p, shapes[i]!)),
    options,
  );
  const recorded = new Muon(tensors, options);
  const step = compile((...g: Tensor[]) => recorded.step(g));
  const gradients = Array.from({ length: steps }, (_, k) =>
    shapes.map((shape, i) => arrayOf(randomNumbers(sizeOf(shape), 100 + 10 * k + i, 'f32'), dtype)),
  );
  for (const gradient of gradients) {
    eager.step(gradient);
    step.runSync(...gradient.map((g, i) => tensor(g, { shape: shapes[i]! })));
  }
  expect(tensors.map((p) => bitsOf(p.toArray()))).toEqual(arrays.map(bitsOf));
  expect(eager.steps).toBe(steps);
  return { start, arrays, gradients };
}

function check(
  shapes: readonly (readonly number[])[],
  dtype: Float,
  options: MuonOptions,
  { start, arrays, gradients }: ReturnType<typeof follow>,
): void {
  shapes.forEach((shape, i) => {
    const [rows, cols] = flat(shape);
    let kept = { p: matrix(rows, cols, start[i]!), b: matrix(rows, cols, new Float64Array(sizeOf(shape))) };
    let reach = 0;
    for (const gradient of gradients) {
      kept = reference(kept.p, kept.b, matrix(rows, cols, gradient[i]!), options);
      reach = Math.max(reach, ...kept.p.at.map(Math.abs));
    }
    const rate = (options.lr ?? 0.02) * Math.sqrt(Math.max(1, rows / cols));
    const bound = gradients.length * (rate * boundOf(rows, cols, dtype) + 4 * UNIT[dtype] * reach);
    expectWithin({ dtype, shape, data: arrays[i]! }, kept.p.at, bound, `[${shape}]`);
  });
}

describe.each(Object.entries(cases))('with %s', (_, options) => {
  test.each(FLOATS)('takes the steps of its authors in %s, recorded or not', (dtype) => {
    check(SHAPES, dtype, options, follow(SHAPES, dtype, options, STEPS));
  });
});

test.each(FLOATS)(
  'large matrices beside small ones, in %s, with the same bits however many threads there are',
  (dtype) => {
    // More than 65,536 elements are large.
    const shapes = [
      [80, 850],
      [20, 30],
      [1000, 68],
      [64, 4, 3, 3],
      [33, 65],
    ];
    const run = (count: number) => {
      device.setThreads(count);
      return follow(shapes, dtype, {}, 2);
    };
    const many = run(threads);
    const one = run(1);
    device.setThreads(threads);
    expect(one.arrays.map(bitsOf)).toEqual(many.arrays.map(bitsOf));
    check(shapes, dtype, {}, many);
  },
);

/** What the iteration makes of a singular value. */
const polynomial = (sigma: number) => {
  let x = sigma;
  for (let k = 0; k < 5; k++) x = A * x + B * x ** 3 + C * x ** 5;
  return x;
};

test.each([
  [4, 6],
  [6, 4],
])(
  'keeps the singular vectors of a direction, [%i, %i], and makes its singular values about 1',
  (rows, cols) => {
    const sigma = [5, 2, 1, 0.25];
    /** I − 2 v vᵀ / v · v: orthogonal. */
    const mirror = (n: number, seed: number) => {
      const v = randomNumbers(n, seed);
      const square = v.reduce((sum, x) => sum + x * x, 0);
      return matrix(
        n,
        n,
        Array.from({ length: n * n }, (_, i) => {
          const [r, c] = [Math.floor(i / n), i % n];
          return (r === c ? 1 : 0) - (2 * v[r]! * v[c]!) / square;
        }),
      );
    };
    const [left, right] = [mirror(rows, 1), mirror(cols, 2)];
    const between = (values: readonly number[]) => {
      const diagonal = new Float64Array(rows * cols);
      for (const [i, value] of values.entries()) diagonal[i * cols + i] = value;
      return times(times(left, matrix(rows, cols, diagonal)), right);
    };
    const p = new Float64Array(rows * cols);
    new Muon([wrap(p, [rows, cols])], { lr: 1, momentum: 0 }).step([between(sigma).at]);
    const size = Math.hypot(...sigma) + 1e-7;
    const after = sigma.map((s) => polynomial(s / size));
    for (const value of after) expect(Math.abs(value - 1)).toBeLessThan(0.33);
    const rate = Math.sqrt(Math.max(1, rows / cols));
    const wanted = between(after).at.map((x) => -rate * x);
    expectWithin({ dtype: 'f64', shape: [rows, cols], data: p }, wanted, rate * boundOf(rows, cols, 'f64'));
  },
);

test('finds the matrix of a least-squares problem', () => {
  const [rows, cols] = [6, 4];
  const truth = randomNumbers(rows * cols, 1);
  const p = new Float64Array(rows * cols);
  const optimizer = new Muon([wrap(p, [rows, cols])]);
  const steps = 600;
  for (let k = 0; k < steps; k++) {
    for (const group of optimizer.paramGroups) group.lr = 0.1 * (1 - k / steps) ** 2;
    optimizer.step([p.map((x, i) => 10 ** ((i % 3) - 1) * (x - truth[i]!))]);
  }
  p.forEach((x, i) => {
    expect(Math.abs(x - truth[i]!)).toBeLessThan(0.01);
  });
});

test('a gradient of zeros moves nothing, and one that is not finite shows', () => {
  const p = Float32Array.of(1, 2, 3, 4);
  const optimizer = new Muon([wrap(p, [2, 2])]);
  optimizer.step([new Float32Array(4)]);
  expect([...p]).toEqual([1, 2, 3, 4]);
  optimizer.step([Float32Array.of(NaN, 0, 0, 0)]);
  expect(p.every(Number.isNaN)).toBe(true);
});

test('goes on from a checkpoint as if it had never stopped', async () => {
  for (const recorded of [false, true]) {
    const params = new Map([
      ['hidden', tensor(Float32Array.from(randomNumbers(12, 1, 'f32')), { shape: [3, 4] })],
      ['filters', tensor(Float32Array.from(randomNumbers(16, 2, 'f32')), { shape: [4, 2, 2] })],
    ]);
    const make = (own: ReadonlyMap<string, Tensor>) => new Muon(own, { weightDecay: 0.1 });
    const walk = (optimizer: Muon, from: number, to: number) => {
      const own = optimizer.paramGroups[0]!.params;
      const step = compile((...g: Tensor[]) => optimizer.step(g));
      for (let k = from; k < to; k++) {
        const gradients = own.map(({ shape, size }, i) =>
          tensor(Float32Array.from(randomNumbers(size, 10 * k + i, 'f32')), { shape }),
        );
        if (recorded) step.runSync(...gradients);
        else optimizer.step(gradients);
      }
    };
    const unbroken = make(params);
    walk(unbroken, 0, 3);
    expect(Object.keys(unbroken.stateDict())).toEqual([
      ...['hidden.step', 'hidden.momentum', 'filters.step', 'filters.momentum'],
    ]);
    const checkpoints = new CheckpointManager(temporaryFolder());
    await checkpoints.save({ optimizer: unbroken }, { step: 3 });
    const copied = new Map([...params].map(([name, p]) => [name, clone(p)]));
    const resumed = make(copied);
    await (await checkpoints.latest())!.load({ optimizer: resumed });
    walk(unbroken, 3, 7);
    walk(resumed, 3, 7);
    for (const [name, p] of params) expect(bitsOf(copied.get(name)!.toArray())).toBe(bitsOf(p.toArray()));
  }
});

describe('refuses', () => {
  test('vectors, and says where they belong', () => {
    const matrices = tensor([
      [1, 2],
      [3, 4],
    ]);
    for (const vector of [tensor([1, 2]), Float32Array.of(1), tensor(1)]) {
      const refusal = refusalOf(
        () =>
          new Muon(
            new Map([
              ['weight', matrices],
              ['bias', vector],
            ]),
          ),
      );
      expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
      expect(refusal.message).toContain('bias of shape');
      expect(refusal.message).toContain('AdamW');
    }
  });

  test('options out of range', () => {
    for (const options of [
      { lr: -1 },
      { momentum: 1 },
      { nesterov: 1 },
      { weightDecay: 2 },
      { nsSteps: 3 },
    ]) {
      expect(refusalOf(() => new Muon([tensor([[1]])], options as MuonOptions)).code).toBe(
        'DT_INVALID_ARGUMENT',
      );
    }
    const { params: _, names: __, ...options } = new Muon([tensor([[1]])]).paramGroups[0]!;
    expect(options).toEqual({ lr: 0.02, momentum: 0.95, nesterov: true, weightDecay: 0, maximize: false });
  });

  test('a step that cannot be made, and leaves everything as it was', () => {
    const params = [0, 1].map(() =>
      tensor([
        [1, 2],
        [3, 4],
      ]),
    );
    const optimizer = new Muon(params.map((p) => ({ params: [p] })));
    const good = tensor([
      [1, 0],
      [0, 1],
    ]);
    optimizer.step([good, good]);
    const bits = () => [...params, ...Object.values(optimizer.stateDict())].map((t) => bitsOf(t.toArray()));
    const before = bits();
    expect(refusalOf(() => optimizer.step([good, tensor([1, 1, 1, 1])])).code).toBe('DT_SHAPE_MISMATCH');
    const { handle } = params[1]!.storage as SharedStorage;
    expect(binding.lock(handle, true)).toBe(true);
    try {
      expect(refusalOf(() => optimizer.step([good, good])).code).toBe('DT_TENSOR_BUSY');
    } finally {
      binding.unlock(handle, true);
    }
    expect(bits()).toEqual(before);
  });
});
