import {
  AdamW,
  cast,
  clone,
  compile,
  defaultPool,
  GradientAccumulator,
  SGD,
  SparseAdam,
  type Tensor,
  tensor,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOf, FLOATS, randomNumbers, refusalOf } from '../ops/support.js';
import { arrayOf, type FloatArray } from './support.js';

const make = (sizes: readonly number[], seed: number, dtype: 'f32' | 'f64') =>
  sizes.map((n, i) => tensor(arrayOf(randomNumbers(n, seed + i, 'f32'), dtype)));
const bits = (tensors: readonly Tensor[]) => tensors.map((t) => bitsOf(t.toArray()));

test('steps once in so many batches with their mean, eager and recorded', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(40), fc.constant(20_000)), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom(...FLOATS),
      (sizes, batches, dtype) => {
        const [eager, recorded, plain] = [0, 1, 2].map(() => make(sizes, 1, dtype)) as [
          Tensor[],
          Tensor[],
          Tensor[],
        ];
        const accumulator = new GradientAccumulator(new AdamW(eager), batches);
        const inProgram = new GradientAccumulator(new AdamW(recorded), batches);
        const step = compile((...g: Tensor[]) => inProgram.step(g));
        const optimizer = new AdamW(plain);
        for (let k = 0; k < 2; k++) {
          let sums: FloatArray[] | undefined;
          const scale = dtype === 'f32' ? Math.fround(1 / batches) : 1 / batches;
          for (let b = 0; b < batches; b++) {
            const g = make(sizes, 100 + 50 * k + 10 * b, dtype);
            accumulator.step(g);
            step.runSync(...g);
            expect([accumulator.pending, inProgram.pending]).toEqual(Array(2).fill((b + 1) % batches));
            const parts = g.map((t) => (t.toArray() as FloatArray).map((x) => x * scale));
            sums = parts.map((part, i) =>
              sums === undefined ? part : part.map((x, j) => sums![i]![j]! + x),
            );
          }
          optimizer.step(sums!);
        }
        expect(bits(eager)).toEqual(bits(plain));
        expect(bits(recorded)).toEqual(bits(plain));
        expect([accumulator.optimizer, inProgram.optimizer].map((o) => (o as AdamW).steps)).toEqual([2, 2]);
      },
    ),
    { numRuns: 25 },
  );
});

test('sums of bf16 gradients are kept in f32', () => {
  const half = cast(tensor([1, 1]), 'bf16');
  const accumulator = new GradientAccumulator(new SGD([half], { lr: 1 }), 256);
  const gradient = cast(tensor([1, 1 / 256]), 'bf16');
  for (let b = 0; b < 256; b++) accumulator.step([gradient]);
  expect(cast(half, 'f32').toArray()).toEqual(Float32Array.of(0, 1 - 1 / 256));
});

test('infinity in one batch does not stay in the next ones', () => {
  const weights = Float32Array.of(1);
  const accumulator = new GradientAccumulator(new SGD([weights], { lr: 1, nonFinite: 'skip' }), 2);
  for (const g of [Infinity, 1, 1, 3]) accumulator.step([Float32Array.of(g)]);
  expect(weights[0]).toBe(-1);
});

test('a batch that the optimizer refuses to step with is not taken, and those before it stay until reset', () => {
  const weights = Float32Array.of(1);
  const accumulator = new GradientAccumulator(new SGD([weights], { lr: 1, nonFinite: 'throw' }), 2);
  accumulator.step([Float32Array.of(1)]);
  expect(refusalOf(() => accumulator.step([Float32Array.of(NaN)])).code).toBe('DT_NON_FINITE');
  expect([weights[0], accumulator.pending]).toEqual([1, 1]);
  accumulator.step([Float32Array.of(3)]);
  expect([weights[0], accumulator.pending]).toEqual([-1, 0]);
  accumulator.step([Float32Array.of(NaN)]);
  accumulator.reset();
  for (const g of [1, 1]) accumulator.step([Float32Array.of(g)]);
  expect([weights[0], accumulator.steps]).toEqual([-2, 2]);
});

test('what a batch that is not the last one finds is not told as a skipped step', async () => {
  const weights = tensor([1]);
  const optimizer = new SGD([weights], { lr: 1, maxGradNorm: 10 });
  const accumulator = new GradientAccumulator(optimizer, 2);
  const step = compile((g: Tensor) => accumulator.step([g]));
  expect(accumulator.lastStep).toBeUndefined();
  const seen = [];
  for (let k = 0; k < 3; k++) {
    await step(tensor([k]));
    seen.push(optimizer.lastStep);
  }
  expect(seen[0]).toBeUndefined();
  expect(seen[1]).toMatchObject({ norm: 0.5, skipped: false, skippedSteps: 0 });
  expect(seen[2]).toEqual(seen[1]);
});

test('what does not fit is refused before anything is added', () => {
  const accumulator = new GradientAccumulator(
    new SGD([new Float32Array(2), new Float32Array(1)], { lr: 1 }),
    2,
  );
  for (const wrong of [[], [new Float32Array(2)], [new Float32Array(2), new Float32Array(2)]]) {
    expect(refusalOf(() => accumulator.step(wrong)).code).toBe('DT_SHAPE_MISMATCH');
  }
  const doubles = [new Float64Array(2), new Float64Array(1)];
  expect(refusalOf(() => accumulator.step(doubles)).code).toBe('DT_DTYPE_MISMATCH');
  expect(accumulator.pending).toBe(0);
  const sparse = new SparseAdam([tensor([[1]])]);
  for (const wrong of [undefined, {}, sparse]) {
    expect(refusalOf(() => new GradientAccumulator(wrong as never, 2)).code).toBe('DT_INVALID_ARGUMENT');
  }
  for (const batches of [0, 1.5, NaN, '2']) {
    expect(refusalOf(() => new GradientAccumulator(accumulator, batches as number)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
  }
});

test('a saved state goes on with the same bits', () => {
  const g = (k: number) => make([30], 10 + k, 'f32');
  const start = make([30], 1, 'f32');
  const [straight, resumed] = [start.map(clone), start.map(clone)];
  const [a, b] = [straight, resumed].map((p) => new GradientAccumulator(new AdamW(p), 3)) as [
    GradientAccumulator,
    GradientAccumulator,
  ];
  for (const k of [0, 1]) a.step(g(k));
  b.loadStateDict(a.stateDict());
  for (const one of [a, b]) one.step(g(2));
  expect(bits(resumed)).toEqual(bits(straight));
});

test('batches leave no memory behind', () => {
  const params = make([5000], 1, 'f32');
  const g = make([5000], 2, 'f32');
  const accumulator = new GradientAccumulator(new AdamW(params), 2);
  accumulator.step(g);
  const before = defaultPool.statistics.current;
  for (let k = 0; k < 50; k++) accumulator.step(g);
  expect(defaultPool.statistics.current).toBe(before);
});
