import { cast, compile, DPOptimizer, noiseMultiplierFor, SGD, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { refusalOf } from '../../ops/support.js';

const OPTIONS = { noiseMultiplier: 1, maxGradNorm: 1, datasetSize: 1000, batchSize: 10 };
const NO_NOISE = { ...OPTIONS, noiseMultiplier: 0, epsilon: Infinity };

test('without noise a step is the mean of the clipped gradients', () => {
  const gradient = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 5, maxLength: 5 });
  fc.assert(
    fc.property(fc.array(gradient, { maxLength: 6 }), (samples) => {
      const [a, b] = [new Float64Array(2), new Float64Array(3)];
      const dp = new DPOptimizer(new SGD([a, b], { lr: 1 }), { ...NO_NOISE, maxGradNorm: 2 });
      const expected = new Float64Array(5);
      for (const sample of samples) {
        dp.accumulate([Float64Array.from(sample.slice(0, 2)), tensor(sample.slice(2), { dtype: 'f64' })]);
        const norm = Math.hypot(...sample);
        for (let i = 0; i < 5; i++) expected[i]! -= (sample[i]! * Math.min(1, norm > 0 ? 2 / norm : 0)) / 10;
      }
      dp.step();
      [...a, ...b].forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i]!, 13);
      });
      const before = [...a, ...b];
      dp.step();
      expect([...a, ...b]).toEqual(before);
    }),
    { numRuns: 30 },
  );
});

test('noise is normal with the deviation that was asked for, and differs each time', () => {
  const n = 20_000;
  const noiseOf = () => {
    const parameter = new Float64Array(n);
    const options = { ...OPTIONS, noiseMultiplier: 3, maxGradNorm: 0.5, epsilon: 10 };
    const dp = new DPOptimizer(new SGD([parameter], { lr: 1 }), options);
    dp.accumulate([new Float64Array(n)]);
    dp.step();
    return parameter;
  };
  const [first, second] = [noiseOf(), noiseOf()];
  expect(first).not.toEqual(second);
  const deviation = (3 * 0.5) / 10;
  const mean = first.reduce((sum, x) => sum + x, 0) / n;
  const variance = first.reduce((sum, x) => sum + x * x, 0) / n;
  // Six standard errors: one run in 500 million is wrong.
  expect(Math.abs(mean)).toBeLessThan((6 * deviation) / Math.sqrt(n));
  expect(Math.abs(variance / deviation ** 2 - 1)).toBeLessThan(6 * Math.sqrt(2 / n));
});

test('stops at the budget and leaves everything as it was', () => {
  const parameter = new Float32Array(4);
  const noiseMultiplier = noiseMultiplierFor({ epsilon: 1, delta: 1e-5 }, { sampleRate: 0.01, steps: 20 });
  const dp = new DPOptimizer(new SGD([parameter], { lr: 0.1 }), { ...OPTIONS, noiseMultiplier });
  let steps = 0;
  const refusal = refusalOf(() => {
    for (; steps < 1000; steps++) {
      dp.accumulate([new Float32Array([1, 2, 3, 4])]);
      dp.step();
    }
  });
  expect(refusal.code).toBe('DT_PRIVACY_BUDGET');
  expect(steps).toBeGreaterThanOrEqual(20);
  expect(dp.epsilon).toBeLessThanOrEqual(1);
  const before = [...parameter];
  expect(refusalOf(() => dp.step()).code).toBe('DT_PRIVACY_BUDGET');
  expect([...parameter]).toEqual(before);
  expect(dp.accountant.history[0]!.steps).toBe(steps);
});

test('inside a compiled function a step is refused before it costs anything', () => {
  const dp = new DPOptimizer(new SGD([new Float32Array(4)], { lr: 0.1 }), OPTIONS);
  expect(refusalOf(() => compile(() => dp.step()).runSync()).code).toBe('DT_INVALID_ARGUMENT');
  expect(dp.epsilon).toBe(0);
});

test('a sample whose gradient is not finite is refused, and nothing of it is added', () => {
  const parameter = new Float64Array(2);
  const dp = new DPOptimizer(new SGD([parameter], { lr: 1 }), NO_NOISE);
  dp.accumulate([new Float64Array([0.5, 0])]);
  for (const bad of [NaN, Infinity]) {
    expect(refusalOf(() => dp.accumulate([new Float64Array([0.25, bad])])).code).toBe('DT_NON_FINITE');
  }
  dp.step();
  expect([...parameter]).toEqual([-0.05, 0]);
});

test('gradients that do not fit are refused whole', () => {
  const parameters = [new Float64Array(2), new Float64Array(3)];
  const dp = new DPOptimizer(new SGD(parameters, { lr: 1 }), NO_NOISE);
  const ones = (n: number) => new Float64Array(n).fill(1);
  refusalOf(() => dp.accumulate([ones(2)]));
  refusalOf(() => dp.accumulate([ones(2), ones(4)]));
  refusalOf(() => dp.accumulate([ones(2), new Float32Array(3)]));
  refusalOf(() => dp.accumulate([ones(2), tensor([1], { dtype: 'f64' })]));
  dp.step();
  expect(parameters.flatMap((array) => [...array])).toEqual([0, 0, 0, 0, 0]);
});

test('every sample is drawn with the same chance', () => {
  const dp = new DPOptimizer(new SGD([new Float32Array(1)], { lr: 1 }), {
    ...OPTIONS,
    datasetSize: 500,
    batchSize: 100,
  });
  const counts = new Float64Array(500);
  const [rounds, p] = [400, 0.2];
  const sizes = new Set<number>();
  for (let i = 0; i < rounds; i++) {
    const batch = dp.sampleBatch();
    sizes.add(batch.length);
    for (const index of batch) counts[index]!++;
  }
  expect(sizes.size).toBeGreaterThan(10);
  // Pearson's statistic of 500 binomials: mean 500, deviation √1000.
  const statistic = counts.reduce(
    (sum, count) => sum + (count - rounds * p) ** 2 / (rounds * p * (1 - p)),
    0,
  );
  expect(Math.abs(statistic - 500)).toBeLessThan(6 * Math.sqrt(1000));
});

test.each<[string, object]>([
  ['a norm of 0', { maxGradNorm: 0 }],
  ['batches larger than the data', { batchSize: 1001 }],
  ['half a sample', { datasetSize: 10.5 }],
  ['an epsilon of 0', { epsilon: 0 }],
  ['a delta of 1', { delta: 1 }],
  ['negative noise', { noiseMultiplier: -1 }],
])('%s is refused', (_, options) => {
  const make = () => new DPOptimizer(new SGD([new Float32Array(1)], { lr: 1 }), { ...OPTIONS, ...options });
  expect(refusalOf(make).code).toBe('DT_INVALID_ARGUMENT');
});

test('goes on within its budget after it was saved and loaded', () => {
  const parameter = new Float32Array(2);
  const make = () => new DPOptimizer(new SGD([parameter], { lr: 0.1 }), OPTIONS);
  const [first, second] = [make(), make()];
  first.accumulate([Float32Array.of(3, 4)]);
  first.step();
  first.accumulate([Float32Array.of(3, 4)]);
  const state = first.stateDict();
  expect(refusalOf(() => second.loadStateDict({ ...state, history: 'x' as never })).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
  expect(refusalOf(() => second.loadStateDict({ history: state.history! })).code).toBe('DT_INVALID_ARGUMENT');
  expect(second.epsilon).toBe(0);
  second.loadStateDict(structuredCloneOf(state));
  expect(second.epsilon).toBe(first.epsilon);
  expect((second.stateDict()['0.sum'] as Tensor).toArray()).toEqual((state['0.sum'] as Tensor).toArray());
  expect([second.steps, second.paramGroups[0]!.lr, second.lastStep]).toEqual([0, 0.1, undefined]);
});

/** As a checkpoint keeps it: tensors as they are, the rest as JSON. */
const structuredCloneOf = (state: ReturnType<DPOptimizer['stateDict']>): typeof state =>
  Object.fromEntries(
    Object.entries(state).map(([key, value]) => [
      key,
      Array.isArray(value) ? JSON.parse(JSON.stringify(value)) : value,
    ]),
  );

test('refuses misspelt options, what takes no steps, and 16 bits', () => {
  const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
  expect(
    refusalOf(() => new DPOptimizer(optimizer, { ...OPTIONS, epsilonn: 0.1 } as never)).message,
  ).toContain('epsilonn');
  expect(refusalOf(() => new DPOptimizer(undefined as never, OPTIONS)).code).toBe('DT_INVALID_ARGUMENT');
  const half = new SGD([cast(tensor([1]), 'bf16')], { lr: 0.1 });
  expect(refusalOf(() => new DPOptimizer(half, OPTIONS)).message).toContain('bf16');
});
