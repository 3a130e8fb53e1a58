import {
  CheckpointManager,
  clone,
  compile,
  defaultPool,
  device,
  ExponentialLR,
  embedding,
  findLearningRate,
  grad,
  mseLoss,
  SparseAdam,
  type SparseAdamOptions,
  type SparseGradient,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
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
  golden,
  randomNumbers,
  refusalOf,
  rejectionOf,
  UNIT,
} from '../ops/support.js';
import { arrayOf, type FloatArray } from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

interface Case {
  readonly options: SparseAdamOptions;
  readonly groups?: readonly SparseAdamOptions[];
  readonly rates?: number;
  readonly trajectory: readonly (readonly number[])[];
}

const goldens = golden<{
  readonly shapes: readonly (readonly number[])[];
  readonly sampled: readonly number[];
  readonly start: readonly (readonly number[])[];
  readonly steps: readonly (readonly {
    readonly indices: readonly number[];
    readonly values: readonly number[];
  }[])[];
  readonly cases: Readonly<Record<string, Case>>;
}>('optim/sparse-adam.json');

const valuesShape = (i: number, count: number) => [count, ...goldens.shapes[i]!.slice(1)];
const startOf = (dtype: Float) => goldens.start.map((data) => arrayOf(data, dtype));
const bits = (t: Tensor) => bitsOf(t.toArray());

/** The gradients of a step, as typed arrays and as tensors; those have indices of 64 bits. */
const arraysOf = (k: number, dtype: Float): SparseGradient[] =>
  goldens.steps[k]!.map(({ indices, values }) => ({
    indices: Int32Array.from(indices),
    values: arrayOf(values, dtype),
  }));
const tensorsOf = (k: number, dtype: Float): { indices: Tensor; values: Tensor }[] =>
  goldens.steps[k]!.map(({ indices, values }, i) => ({
    indices: tensor(BigInt64Array.from(indices, BigInt)),
    values: tensor(arrayOf(values, dtype), { shape: valuesShape(i, indices.length) }),
  }));

function make({ options, groups }: Case, params: readonly Tensor[]): SparseAdam {
  return new SparseAdam(groups?.map((own, i) => ({ params: [params[i]!], ...own })) ?? params, options);
}

type Way = (optimizer: SparseAdam, dtype: Float) => (k: number) => void;
const ways: Record<string, { make: (dtype: Float) => Tensor[]; way: Way }> = {
  'on plain arrays': {
    make: (dtype) => startOf(dtype).map((data, i) => wrap(data, goldens.shapes[i]!)),
    way: (optimizer, dtype) => (k) => optimizer.step(arraysOf(k, dtype)),
  },
  'on pool tensors': {
    make: (dtype) => startOf(dtype).map((data, i) => tensor(data, { shape: goldens.shapes[i]! })),
    way: (optimizer, dtype) => (k) => optimizer.step(tensorsOf(k, dtype)),
  },
  recorded: {
    make: (dtype) => startOf(dtype).map((data, i) => tensor(data, { shape: goldens.shapes[i]! })),
    way: (optimizer, dtype) => {
      const step = compile((...given: Tensor[]) => {
        const count = given.length / 2;
        optimizer.step(given.slice(0, count).map((indices, i) => ({ indices, values: given[count + i]! })));
      });
      return (k) => {
        const gradients = tensorsOf(k, dtype);
        step.runSync(...gradients.map(({ indices }) => indices), ...gradients.map(({ values }) => values));
      };
    },
  },
};

describe.each(Object.entries(goldens.cases))('%s', (_, one) => {
  test.each(FLOATS)('takes PyTorch’s steps in %s, and the same bits every way', (dtype) => {
    const followed = Object.values(ways).map(({ make: start, way }) => {
      const params = start(dtype);
      const optimizer = make(one, params);
      const step = way(optimizer, dtype);
      const seen: FloatArray[][] = [];
      for (let k = 0; k < goldens.steps.length; k++) {
        if (one.rates !== undefined)
          for (const group of optimizer.paramGroups) group.lr = one.rates / (1 + k);
        defaultPool.scope(() => step(k));
        if (goldens.sampled.includes(k + 1)) seen.push(params.map((p) => p.toArray() as FloatArray));
      }
      expect(optimizer.steps).toBe(goldens.steps.length);
      return seen;
    });
    let reach = goldens.start.flat().map(Math.abs);
    goldens.sampled.forEach((steps, at) => {
      const data = arrayOf(
        followed[0]![at]!.flatMap((array) => [...array]),
        dtype,
      );
      reach = reach.map((most, i) => Math.max(most, Math.abs(one.trajectory[at]![i]!)));
      // As in pytorch.test.ts, and up to five values are added before.
      const bound = (i: number) => (dtype === 'f64' ? 1e-12 : 20 * steps * UNIT.f32) * reach[i]!;
      expectWithin({ dtype, shape: [data.length], data }, one.trajectory[at]!, bound, `step ${steps}`);
    });
    for (const other of followed.slice(1))
      expect(other.map((p) => p.map(bitsOf))).toEqual(followed[0]!.map((p) => p.map(bitsOf)));
  });
});

test('trains an embedding inside a compiled step, and touches the rows of the batch alone', async () => {
  const rows = 50;
  const table = tensor(Float32Array.from(randomNumbers(rows * 4, 1, 'f32')), { shape: [rows, 4] });
  const target = tensor(Float32Array.from(randomNumbers(3 * 4, 2, 'f32')), { shape: [3, 4] });
  const before = table.toArray() as Float32Array;
  const optimizer = new SparseAdam([table], { lr: 0.05 });
  const step = compile((indices: Tensor) => {
    const values = embedding(table, indices);
    const loss = mseLoss(values, target);
    optimizer.step([{ indices, values: grad(loss, [values])[0]! }]);
    return loss;
  });
  const batch = tensor(Int32Array.of(7, 49, 0));
  const losses = [];
  for (let k = 0; k < 200; k++) losses.push((await step(batch)).item());
  expect(losses.at(-1)).toBeLessThan(1e-3 * losses[0]!);
  const after = table.toArray() as Float32Array;
  const { '0.m': m, '0.v': v } = optimizer.stateDict();
  for (let row = 0; row < rows; row++) {
    const of = (array: Float32Array) => bitsOf(array.subarray(4 * row, 4 * row + 4));
    const isNamed = [7, 49, 0].includes(row);
    expect(of(after) !== of(before)).toBe(isNamed);
    for (const moment of [m!, v!])
      expect((moment.toArray() as Float32Array).subarray(4 * row, 4 * row + 4).some((x) => x !== 0)).toBe(
        isNamed,
      );
  }
});

test('steps inside valueAndGrad, with gradients that are strided', () => {
  const [a, b] = [0, 1].map(() =>
    tensor(Float32Array.from(randomNumbers(12, 3, 'f32')), { shape: [4, 3] }),
  ) as [Tensor, Tensor];
  const values = tensor(Float32Array.from(randomNumbers(6, 4, 'f32')), { shape: [3, 2] });
  const indices = Int32Array.of(3, 1);
  const [first, second] = [new SparseAdam([a]), new SparseAdam([b])];
  first.step([{ indices, values: transpose(values) }]);
  valueAndGrad(() => {
    second.step([{ indices, values: clone(transpose(values)) }]);
    return tensor(0);
  }, [])();
  expect(bits(a)).toBe(bits(b));
});

describe('rows', () => {
  test('that are named several times get the sum of their values', () => {
    const start = randomNumbers(5 * 3, 1, 'f32');
    const [apart, together] = [Float32Array.from(start), Float32Array.from(start)];
    const steps = [apart, together].map((p) => new SparseAdam([wrap(p, [5, 3])], { lr: 0.1 }));
    steps[0]!.step([
      { indices: Int32Array.of(4, 2, 4, 4), values: Float32Array.of(1, 2, 3, 9, 9, 9, 0.5, 1, -1, 2, 4, 8) },
    ]);
    steps[1]!.step([{ indices: Int32Array.of(2, 4), values: Float32Array.of(9, 9, 9, 3.5, 7, 10) }]);
    expect(bitsOf(apart)).toBe(bitsOf(together));
  });

  test('that nobody names keep everything, and the step counts all the same', () => {
    const p = Float32Array.from(randomNumbers(6, 1, 'f32'));
    const before = bitsOf(p);
    const optimizer = new SparseAdam([wrap(p, [3, 2])]);
    optimizer.step([{ indices: new Int32Array(0), values: new Float32Array(0) }]);
    expect(bitsOf(p)).toBe(before);
    expect(optimizer.steps).toBe(1);
    const empty = new SparseAdam([wrap(new Float32Array(0), [0, 2])]);
    empty.step([{ indices: new Int32Array(0), values: new Float32Array(0) }]);
    expect(empty.steps).toBe(1);
  });

  test('are stepped with the same bits, however many threads there are', () => {
    const [rows, width, n] = [3000, 33, 5000];
    const start = Float32Array.from(randomNumbers(rows * width, 1, 'f32'));
    const draws = randomNumbers(n, 2);
    const indices = Int32Array.from(draws, (x) => Math.floor(((x + 2) / 4) * rows));
    const values = Float32Array.from(randomNumbers(n * width, 3, 'f32'));
    const run = (count: number) => {
      device.setThreads(count);
      const p = start.slice();
      const optimizer = new SparseAdam([wrap(p, [rows, width])]);
      for (let k = 0; k < 3; k++) optimizer.step([{ indices, values }]);
      device.setThreads(threads);
      return p;
    };
    const [many, one] = [run(threads), run(1)];
    expect(bitsOf(many)).toBe(bitsOf(one));
    // Each row as if it were a parameter of its own, in f64.
    const sums = new Map<number, Float64Array>();
    indices.forEach((row, i) => {
      const sum = sums.get(row) ?? new Float64Array(width);
      sums.set(
        row,
        sum.map((x, j) => x + values[i * width + j]!),
      );
    });
    for (let row = 0; row < rows; row++) {
      const sum = sums.get(row);
      const p = Float64Array.from(start.subarray(row * width, (row + 1) * width));
      const alone = new SparseAdam([wrap(p, [1, width])]);
      for (let k = 0; k < 3 && sum !== undefined; k++)
        alone.step([{ indices: Int32Array.of(0), values: sum }]);
      const data = many.subarray(row * width, (row + 1) * width);
      // Three steps of some 1e-3, in which roundings of the sums hardly show, and gradients of other rows do.
      expectWithin({ dtype: 'f32', shape: [width], data }, p, 1e-5, `row ${row}`);
    }
  });
});

describe('state', () => {
  const one: Case = { options: { lr: 0.01 }, trajectory: [] };
  test.each(
    Object.entries(ways).flatMap(([name, way]) => FLOATS.map((dtype) => [name, dtype, way] as const)),
  )(
    'goes on from a checkpoint as if it had never stopped, %s, in %s',
    async (_, dtype, { make: start, way }) => {
      const params = start(dtype);
      const optimizer = make(one, params);
      const schedule = new ExponentialLR(optimizer, { gamma: 0.9 });
      const walk = (step: (k: number) => void, from: number, to: number, rates: ExponentialLR) => {
        for (let k = from; k < to; k++) {
          step(k);
          rates.step();
        }
      };
      walk(way(optimizer, dtype), 0, 5, schedule);
      const checkpoints = new CheckpointManager(temporaryFolder());
      await checkpoints.save({ optimizer, schedule }, { step: 5 });
      const copied = params.map(clone);
      const resumed = make(one, copied);
      const rates = new ExponentialLR(resumed, { gamma: 0.9 });
      await (await checkpoints.latest())!.load({ optimizer: resumed, schedule: rates });
      walk(way(optimizer, dtype), 5, 12, schedule);
      walk(way(resumed, dtype), 5, 12, rates);
      expect(copied.map(bits)).toEqual(params.map(bits));
      const stateBits = (o: SparseAdam) => Object.entries(o.stateDict()).map(([name, t]) => [name, bits(t)]);
      expect(stateBits(resumed)).toEqual(stateBits(optimizer));
    },
  );

  test('is kept by name', () => {
    const optimizer = new SparseAdam(new Map([['embedding', tensor([[1, 2]])]]));
    expect(Object.keys(optimizer.stateDict())).toEqual(['embedding.step', 'embedding.m', 'embedding.v']);
  });
});

describe('a step that is refused changes nothing:', () => {
  const good = (): SparseGradient => ({ indices: Int32Array.of(0), values: Float32Array.of(1, 1) });
  const gone = () => {
    const t = tensor([[1, 1]]);
    t.dispose();
    return t;
  };
  /** Two groups that have stepped once. */
  function stepped() {
    const params = [0, 1].map(() =>
      tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    );
    const optimizer = new SparseAdam(params.map((p) => ({ params: [p] })));
    optimizer.step([good(), good()]);
    const all = () => [...params, ...Object.values(optimizer.stateDict())].map(bits);
    return { params, optimizer, all };
  }
  const cases: [string, string, () => unknown][] = [
    ['an index beyond the rows', 'DT_INDEX_OUT_OF_RANGE', () => ({ ...good(), indices: Int32Array.of(3) })],
    ['a negative index', 'DT_INDEX_OUT_OF_RANGE', () => ({ ...good(), indices: BigInt64Array.of(-1n) })],
    [
      'a dense gradient',
      'DT_INVALID_ARGUMENT',
      () =>
        tensor([
          [1, 1],
          [1, 1],
          [1, 1],
        ]),
    ],
    ['a dense array', 'DT_INVALID_ARGUMENT', () => new Float32Array(6)],
    ['no gradient', 'DT_INVALID_ARGUMENT', () => undefined],
    ['no values', 'DT_INVALID_ARGUMENT', () => ({ indices: Int32Array.of(0) })],
    ['indices in an array', 'DT_INVALID_ARGUMENT', () => ({ ...good(), indices: [0] })],
    ['indices that are no integers', 'DT_DTYPE_MISMATCH', () => ({ ...good(), indices: Float32Array.of(0) })],
    [
      'indices of two dimensions',
      'DT_SHAPE_MISMATCH',
      () => ({ ...good(), indices: tensor([[0]], { dtype: 'i32' }) }),
    ],
    ['too few values', 'DT_SHAPE_MISMATCH', () => ({ ...good(), values: Float32Array.of(1) })],
    ['values of another shape', 'DT_SHAPE_MISMATCH', () => ({ ...good(), values: tensor([1, 1]) })],
    ['values of another dtype', 'DT_DTYPE_MISMATCH', () => ({ ...good(), values: Float64Array.of(1, 1) })],
    ['values that are gone', 'DT_DISPOSED', () => ({ ...good(), values: gone() })],
  ];
  test.each(cases)('%s, for the second group', (_, code, bad) => {
    const { optimizer, all } = stepped();
    const before = all();
    expect(refusalOf(() => optimizer.step([good(), bad() as SparseGradient])).code).toBe(code);
    expect(all()).toEqual(before);
  });

  test('too few gradients', () => {
    const { optimizer, all } = stepped();
    const before = all();
    for (const gradients of [[good()], undefined]) {
      expect(refusalOf(() => optimizer.step(gradients as SparseGradient[])).code).toBe('DT_SHAPE_MISMATCH');
    }
    expect(all()).toEqual(before);
  });

  test('a parameter of the second group in use by a run, or frozen', () => {
    const { params, optimizer, all } = stepped();
    const before = all();
    const { handle } = params[1]!.storage as SharedStorage;
    expect(binding.lock(handle, true)).toBe(true);
    try {
      expect(refusalOf(() => optimizer.step([good(), good()])).code).toBe('DT_TENSOR_BUSY');
    } finally {
      binding.unlock(handle, true);
    }
    params[1]!.storage.frozen = true;
    expect(refusalOf(() => optimizer.step([good(), good()])).code).toBe('DT_FROZEN');
    expect(all()).toEqual(before);
  });

  test('indices that are outside, by a recorded step, which changes nothing', async () => {
    const rows = [
      [1, 2],
      [3, 4],
      [5, 6],
    ];
    const params = [tensor(rows), tensor(rows)];
    const optimizer = new SparseAdam(params);
    const step = compile((indices: Tensor) => {
      optimizer.step([good(), { indices, values: tensor([[9, 9]]) }]);
    });
    step.runSync(tensor(Int32Array.of(2)));
    const all = () => [...params, ...Object.values(optimizer.stateDict())].map(bits);
    const before = all();
    for (const index of [3, -1]) {
      const bad = tensor(Int32Array.of(index));
      for (const refusal of [refusalOf(() => step.runSync(bad)), await rejectionOf(step(bad))]) {
        expect(refusal.code).toBe('DT_INDEX_OUT_OF_RANGE');
        expect(refusal.message).toContain(
          `Expected indices of gradient 1 of SparseAdam from 0 to 2, of 3 rows, but received ${index} at [0]: nothing was changed.`,
        );
      }
    }
    expect(all()).toEqual(before);
  });
});

test('parameters without rows, of 16 bits, and options out of range are refused', () => {
  expect(refusalOf(() => new SparseAdam([tensor(1)])).code).toBe('DT_SHAPE_MISMATCH');
  expect(refusalOf(() => new SparseAdam([tensor([[1]], { dtype: 'f16' })])).code).toBe('DT_DTYPE_MISMATCH');
  for (const options of [{ lr: -1 }, { betas: [0.9, 1] }, { eps: NaN }, { weightDecay: 0.1 }]) {
    expect(refusalOf(() => new SparseAdam([tensor([[1]])], options as SparseAdamOptions)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
  }
});

test('findLearningRate tries rates out, and puts table and moments back', async () => {
  const table = tensor(Float32Array.from(randomNumbers(12, 1, 'f32')), { shape: [4, 3] });
  const target = tensor(new Float32Array(6), { shape: [2, 3] });
  const optimizer = new SparseAdam([table]);
  const step = compile((indices: Tensor) => {
    const rows = embedding(table, indices);
    const loss = mseLoss(rows, target);
    optimizer.step([{ indices, values: grad(loss, [rows])[0]! }]);
    return loss;
  });
  const before = bits(table);
  const curve = await findLearningRate(optimizer, () => step.runSync(tensor(Int32Array.of(2, 0))).item());
  expect(curve.points.length).toBeGreaterThan(10);
  expect(bits(table)).toBe(before);
  expect(optimizer.steps).toBe(0);
});
