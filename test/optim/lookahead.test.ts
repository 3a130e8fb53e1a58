import {
  AdamW,
  CosineAnnealingLR,
  cast,
  compile,
  GradientAccumulator,
  Lookahead,
  SGD,
  type Stepper,
  type Tensor,
  tensor,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOf, FLOATS, randomNumbers, refusalOf, UNIT } from '../ops/support.js';
import { arrayOf, type FloatArray } from './support.js';

const numbers = (n: number, seed: number, dtype: 'f32' | 'f64') =>
  arrayOf(randomNumbers(n, seed, 'f32'), dtype);

test('is the paper’s algorithm, eager and recorded', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(40), fc.constant(9000)), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 4 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.constantFrom(...FLOATS),
      (sizes, k, alpha, dtype) => {
        const start = () => sizes.map((n, i) => numbers(n, i, dtype));
        const gradients = (t: number) => sizes.map((n, i) => numbers(n, 20 + 5 * t + i, dtype));
        const eager = start();
        const params = start().map((array) => tensor(array));
        const plain = start().map((array) => Float64Array.from(array));
        const slow = plain.map((array) => array.slice());
        const lookahead = new Lookahead(new SGD(eager, { lr: 0.1 }), { k, alpha });
        const recorded = new Lookahead(new SGD(params, { lr: 0.1 }), { k, alpha });
        const step = compile((...g: Tensor[]) => recorded.step(g));
        for (let t = 1; t <= 9; t++) {
          const g = gradients(t);
          lookahead.step(g);
          step.runSync(...g.map((array) => tensor(array)));
          plain.forEach((p, i) => {
            for (let j = 0; j < p.length; j++) {
              p[j]! -= 0.1 * g[i]![j]!;
              if (t % k !== 0) continue;
              slow[i]![j]! += alpha * (p[j]! - slow[i]![j]!);
              p[j] = slow[i]![j]!;
            }
          });
        }
        // Each of 9 steps rounds the rate, a product and a sum; each slow one four times more; all stay below 2.
        const bound = 9 * 8 * 2 * UNIT[dtype];
        plain.forEach((want, i) => {
          expect(bitsOf(params[i]!.toArray() as FloatArray)).toBe(bitsOf(eager[i]!));
          for (let j = 0; j < want.length; j++)
            expect(Math.abs(eager[i]![j]! - want[j]!)).toBeLessThanOrEqual(bound);
        });
      },
    ),
    { numRuns: 12 },
  );
});

test('a saved state goes on with the same bits, and one that does not fit changes nothing', () => {
  const make = () => {
    const weights = numbers(30, 1, 'f32') as Float32Array;
    return { weights, optimizer: new Lookahead(new AdamW(new Map([['w', weights]])), { k: 3 }) };
  };
  const [a, b] = [make(), make()];
  for (let t = 0; t < 4; t++) a.optimizer.step([numbers(30, t, 'f32')]);
  const state = a.optimizer.stateDict();
  expect(Object.keys(state)).toEqual(['w.step', 'w.m', 'w.v', 'lookahead.w.step', 'lookahead.w.slow']);
  const { 'lookahead.w.slow': slow, ...rest } = state;
  expect(refusalOf(() => b.optimizer.loadStateDict(rest)).message).toContain('lookahead.w.slow');
  expect(refusalOf(() => b.optimizer.loadStateDict({ ...rest, 'lookahead.w.slow': tensor([1]) })).code).toBe(
    'DT_SHAPE_MISMATCH',
  );
  expect(b.optimizer.steps).toBe(0);
  b.weights.set(a.weights);
  b.optimizer.loadStateDict({ ...rest, 'lookahead.w.slow': slow! });
  for (let t = 4; t < 9; t++) for (const one of [a, b]) one.optimizer.step([numbers(30, t, 'f32')]);
  expect(bitsOf(b.weights)).toBe(bitsOf(a.weights));
  expect(b.optimizer.steps).toBe(9);
});

test('has a learning rate that schedules set', () => {
  const optimizer = new Lookahead(new SGD([new Float32Array(1)], { lr: 1 }));
  const schedule = new CosineAnnealingLR(optimizer, { tMax: 2 });
  optimizer.step([Float32Array.of(1)]);
  schedule.step();
  expect(optimizer.paramGroups[0]!.lr).toBeCloseTo(0.5, 12);
});

test('slow weights follow the steps that were taken, not those that were left out or not due', () => {
  const run = (recorded: boolean, wrap: (o: Stepper) => Stepper, gradients: number[], options: object) => {
    const weights = tensor([0]);
    const lookahead = new Lookahead(new SGD([weights], { lr: 1, ...options }), { k: 2 });
    const optimizer = wrap(lookahead);
    const step = compile((g: Tensor) => optimizer.step([g]));
    const seen = gradients.map((g) => {
      if (recorded) step.runSync(tensor([g]));
      else optimizer.step([tensor([g])]);
      return weights.item();
    });
    return { seen, calls: lookahead.stateDict()['lookahead.0.step']!.item(), steps: lookahead.steps };
  };
  const same = (optimizer: Stepper) => optimizer;
  const inPairs = (optimizer: Stepper) => new GradientAccumulator(optimizer, 2);
  for (const recorded of [false, true]) {
    expect(run(recorded, same, [1, NaN, 1, 1], { nonFinite: 'skip' })).toEqual({
      seen: [-1, -1, -1, -2],
      calls: 3,
      steps: 3,
    });
    expect(run(recorded, inPairs, [1, 1, 1, 1, 1, 1], {})).toEqual({
      seen: [0, -1, -1, -1, -1, -2],
      calls: 3,
      steps: 3,
    });
  }
});

test('refuses what it cannot do', () => {
  const optimizer = new SGD([new Float32Array(1)], { lr: 1 });
  for (const options of [{ k: 0 }, { k: 1.5 }, { alpha: -1 }, { alpha: 2 }, { steps: 2 }]) {
    expect(refusalOf(() => new Lookahead(optimizer, options as never)).code).toBe('DT_INVALID_ARGUMENT');
  }
  for (const wrong of [undefined, {}, new GradientAccumulator(optimizer, 2)]) {
    expect(refusalOf(() => new Lookahead(wrong as never)).code).toBe('DT_INVALID_ARGUMENT');
  }
  const half = new SGD([cast(tensor([1]), 'f16')], { lr: 1 });
  expect(refusalOf(() => new Lookahead(half)).code).toBe('DT_DTYPE_MISMATCH');
});
