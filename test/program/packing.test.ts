import {
  add,
  assign,
  broadcastTo,
  compile,
  defaultPool,
  GELU,
  Generator,
  Linear,
  linear,
  MemoryPool,
  matmul,
  randn,
  relu,
  Sequential,
  slice,
  softmax,
  type Tensor,
  tensor,
  transpose,
  wrap,
  zeros,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { contentOf, expectWithin, numbersOf, UNIT } from '../ops/support.js';
import { bits, failure, watchPool } from './support.js';

const generator = new Generator(6);
const random = (...shape: number[]) => randn(shape, { generator });
const numbers = (t: Tensor) => numbersOf(contentOf(t));

/** How many blocks more (or fewer) the pool has in use after `act`. */
function blocksOf(act: () => unknown): number {
  const before = defaultPool.statistics.blocks;
  act();
  return defaultPool.statistics.blocks - before;
}

/** x [m, k] · weightᵀ for weight [n, k], in double, with the sums of magnitudes that its error is measured against. */
function product(x: Tensor, weight: Tensor): { values: number[]; magnitudes: number[] } {
  const [m, k, n] = [x.shape[0]!, x.shape[1]!, weight.shape[0]!];
  const [a, b] = [numbers(x), numbers(weight)];
  const at = Array.from({ length: m * n }, (_, i) => [Math.floor(i / n), i % n] as const);
  const terms = at.map(([i, j]) => Array.from({ length: k }, (_, p) => a[i * k + p]! * b[j * k + p]!));
  return {
    values: terms.map((all) => all.reduce((sum, term) => sum + term, 0)),
    magnitudes: terms.map((all) => all.reduce((sum, term) => sum + Math.abs(term), 0)),
  };
}

describe('a product by a frozen matrix', () => {
  test('is right for all sizes, layouts and dtypes', async () => {
    for (const dtype of ['f32', 'f64'] as const) {
      for (const k of [0, 1, 3, 16, 300]) {
        for (const n of [0, 1, 7, 16, 33, 100]) {
          const values = numbers(random(n, k));
          const data = dtype === 'f32' ? Float32Array.from(values) : Float64Array.from(values);
          const weight = tensor(data, { shape: [n, k] }).freeze();
          const turned = tensor(data, { shape: [n, k] });
          const rowMajor = zeros([k, n], { dtype });
          assign(rowMajor, transpose(turned));
          rowMajor.freeze();
          for (const m of [0, 1, 2, 5, 17, 60]) {
            const x = tensor(new (dtype === 'f32' ? Float32Array : Float64Array)(numbers(random(m, k))), {
              shape: [m, k],
            });
            const { values: want, magnitudes } = product(x, weight);
            const bound = (i: number) => (k + 2) * (UNIT[dtype] + UNIT.f64) * magnitudes[i]!;
            const f = compile((a: Tensor) => [linear(a, weight), matmul(a, rowMajor)]);
            for (const y of await f(x)) expectWithin(contentOf(y), want, bound, `${dtype} ${m}×${k}×${n}`);
          }
        }
      }
    }
  });

  test('takes scale, bias, activation and residual', async () => {
    const [x, weight, bias, residual] = [random(20, 48), random(50, 48), random(50), random(20, 50)];
    const fn = (a: Tensor) => add(relu(linear(a, weight, bias)), residual);
    const want = numbers(fn(x));
    const { magnitudes } = product(x, weight);
    weight.freeze();
    const f = compile(fn);
    expect(f.program(x).instructions).toBe(1);
    const bound = (i: number) => 2 * (48 + 4) * UNIT.f32 * (magnitudes[i]! + 5 + Math.abs(want[i]!));
    expectWithin(contentOf(await f(x)), want, bound);
  });

  test('takes batches, which share it', async () => {
    const [x, weight] = [random(6, 5, 48), random(48, 50).freeze()];
    const f = compile((a: Tensor) => matmul(a, weight));
    const y = numbers(await f(x));
    const one = compile((a: Tensor) => matmul(a, broadcastTo(weight, [1, 48, 50])));
    for (let i = 0; i < 6; i++) {
      const part = slice(x, 0, i, i + 1);
      const { magnitudes } = product(part.viewAs([5, 48]), transpose(weight));
      const bound = (at: number) => 2 * (48 + 2) * UNIT.f32 * magnitudes[at]!;
      expectWithin(contentOf(await one(part)), y.slice(i * 250, (i + 1) * 250), bound);
    }
  });

  test('leaves matrices that differ within a batch as they are', async () => {
    const [x, weights] = [random(3, 5, 8), random(3, 8, 9).freeze()];
    const f = compile((a: Tensor) => matmul(a, weights));
    expect(blocksOf(() => f.program(x))).toBe(0);
    expect(bits(await f(x))).toBe(bits(matmul(x, weights)));
  });
});

describe('a frozen matrix is packed', () => {
  test('once, whatever the number of shapes, recordings and runs', async () => {
    const model = new Sequential(
      new Linear(30, 40, { generator }),
      new GELU(),
      new Linear(40, 10, { generator }),
    );
    const [x, longer] = [random(4, 30), random(9, 30)];
    const before = compile((a: Tensor) => model.forward(a));
    expect(blocksOf(() => before.program(x))).toBe(0);
    model.freeze();
    const predict = compile((a: Tensor) => softmax(model.forward(a)));
    const other = compile((a: Tensor) => model.forward(a));
    expect(blocksOf(() => predict.program(x))).toBe(2);
    const more = blocksOf(() => {
      predict.program(longer);
      other.program(x);
      for (let i = 0; i < 3; i++) predict.runSync(x).dispose();
    });
    expect(more).toBe(0);
    (await predict(longer)).dispose();
    expect(bits(await other(x))).toBe(bits(other.runSync(x)));
  });

  test('once for each of its parts that products read', () => {
    const weight = random(90, 30).freeze();
    const heads = compile((a: Tensor) =>
      [0, 1, 2].map((i) => linear(a, slice(weight, 0, 30 * i, 30 * i + 30))),
    );
    const [x, longer] = [random(4, 30), random(5, 30)];
    expect(blocksOf(() => heads.program(x))).toBe(3);
    expect(blocksOf(() => heads.program(longer))).toBe(0);
  });

  test('apart from the scope that is open when a program is recorded', async () => {
    const weight = random(20, 30).freeze();
    const x = random(4, 30);
    const f = compile((a: Tensor) => linear(a, weight));
    const pool = new MemoryPool();
    pool.scope(() => f.program(x));
    pool.dispose();
    const { values, magnitudes } = product(x, weight);
    expectWithin(contentOf(await f(x)), values, (i) => 32 * UNIT.f32 * magnitudes[i]!);
  });

  test.each([
    ['array', new ArrayBuffer(16)],
    ['array on shared memory', new SharedArrayBuffer(16)],
  ])('not where it is a caller’s %s, which may change', async (_, buffer) => {
    const array = new Float32Array(buffer);
    array.set([1, 2, 3, 4]);
    const weight = wrap(array, [2, 2]).freeze();
    const f = compile((a: Tensor) => matmul(a, weight));
    const x = tensor([[1, 1]]);
    expect(numbers(await f(x))).toEqual([4, 6]);
    array[0] = 11;
    expect(numbers(await f(x))).toEqual([14, 6]);
  });
});

test('the packed copy is freed with the matrix, even while a run reads it', async () => {
  const expectNoMore = watchPool();
  const [x, weight] = [random(64, 300), random(200, 300).freeze()];
  const f = compile((a: Tensor) => linear(a, weight));
  const want = f.runSync(x);
  const run = f(x);
  weight.dispose();
  const y = await run;
  expect(bits(y)).toBe(bits(want));
  await failure('DT_DISPOSED', () => f(x));
  await failure('DT_DISPOSED', () => f.runSync(x));
  for (const t of [x, y, want]) t.dispose();
  expectNoMore();
});

describe('a frozen tensor refuses', () => {
  test('writes, of its views as well', () => {
    const weight = random(3, 4);
    const view = transpose(weight);
    expect(weight.freeze()).toBe(weight);
    const source = zeros([4, 3]);
    return failure('DT_FROZEN', () => assign(view, source));
  });

  test('programs that write it and were recorded before', async () => {
    const [weight, x] = [random(3, 4), random(3, 4)];
    const step = compile((a: Tensor) => assign(weight, add(weight, a)));
    await step(x);
    const before = bits(weight.freeze());
    await failure('DT_FROZEN', () => step(x));
    await failure('DT_FROZEN', () => step.runSync(x));
    expect(bits(weight)).toBe(before);
  });

  test('to be frozen where it was disposed', () => {
    const weight = random(3, 4);
    weight.dispose();
    return failure('DT_DISPOSED', () => weight.freeze());
  });
});

test('a frozen model refuses to be loaded into, and keeps its values', async () => {
  const model = new Sequential(new Linear(3, 4, { generator }), new Linear(4, 2, { generator }));
  const before = Object.values(model.stateDict()).map(bits);
  const state = Object.fromEntries(
    Object.entries(model.stateDict()).map(([name, t]) => [name, zeros(t.shape)]),
  );
  expect(model.freeze()).toBe(model);
  await failure('DT_FROZEN', () => model.loadStateDict(state));
  expect(Object.values(model.stateDict()).map(bits)).toEqual(before);
});
