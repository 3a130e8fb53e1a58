import { noiseMultiplierFor, RdpAccountant } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sampledGaussianRdp } from '../../../dist/optim/privacy/sampled-gaussian.js';
import { refusalOf } from '../../ops/support.js';

// The values that google/differential-privacy and tensorflow/privacy publish in their tests.
test('Rényi divergences are the published ones', () => {
  const published = { 1.5: 6.5007e-4, 2.5: 1.0854e-3, 5: 2.1808e-3, 50: 2.3846e-2, 100: 1.6742e2 };
  for (const [order, value] of Object.entries(published)) {
    expect((50 * sampledGaussianRdp(0.01, 2.5, Number(order))) / value).toBeCloseTo(1, 4);
  }
});

test.each([
  [60_000, 150, 1.3, 15, 1e-5, 0.7242234026109595],
  [100_000, 100, 1, 30, 1e-7, 1.4154988495444845],
])(
  'of %i samples, batches of %i, noise %f and %i epochs, ε is the published one',
  (n, batch, noise, epochs, delta, epsilon) => {
    const accountant = new RdpAccountant();
    const steps = Math.ceil((epochs * n) / batch);
    accountant.record({ noiseMultiplier: noise, sampleRate: batch / n, steps });
    expect(accountant.epsilon(delta)).toBeCloseTo(epsilon, 10);
  },
);

test('whole orders agree with the binomial sum', () => {
  // Equation 4 of arXiv:1908.10530, in logarithms.
  const exact = (q: number, noise: number, order: number) => {
    const terms: number[] = [];
    let logChoose = 0;
    for (let k = 0; k <= order; k++) {
      terms.push(logChoose + k * Math.log(q) + (order - k) * Math.log1p(-q) + (k * k - k) / (2 * noise ** 2));
      logChoose += Math.log((order - k) / (k + 1));
    }
    const largest = Math.max(...terms);
    return (largest + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - largest), 0))) / (order - 1);
  };
  const rate = fc.double({ min: 1e-4, max: 0.99, noNaN: true });
  const noise = fc.double({ min: 0.01, max: 10, noNaN: true });
  fc.assert(
    fc.property(rate, noise, fc.integer({ min: 2, max: 128 }), (q, sigma, order) => {
      const expected = exact(q, sigma, order);
      // ln A of an A near 1 carries the roundings of some thousand terms around 1.
      expect(Math.abs(sampledGaussianRdp(q, sigma, order) - expected)).toBeLessThan(1e-11 * expected + 1e-12);
    }),
    { numRuns: 60 },
  );
});

test('without sampling it is the Gaussian mechanism', () => {
  expect(sampledGaussianRdp(1, 2, 8)).toBe(1);
  expect(sampledGaussianRdp(0, 2, 8)).toBe(0);
  expect(sampledGaussianRdp(0.5, 0, 8)).toBe(Infinity);
});

test('privacy spent begins at nothing and grows with steps', () => {
  const accountant = new RdpAccountant();
  expect(accountant.epsilon(1e-5)).toBe(0);
  let before = 0;
  for (let i = 0; i < 5; i++) {
    accountant.record({ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 100 });
    const now = accountant.epsilon(1e-5);
    expect(now).toBeGreaterThan(before);
    before = now;
  }
  expect(accountant.history).toEqual([{ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 500 }]);
});

test('goes on from its state', () => {
  const [first, second] = [new RdpAccountant(), new RdpAccountant()];
  first.record({ noiseMultiplier: 1, sampleRate: 0.02, steps: 7 });
  first.record({ noiseMultiplier: 2, sampleRate: 0.01, steps: 9 });
  second.record({ noiseMultiplier: 5, sampleRate: 0.5, steps: 1 });
  second.loadStateDict(JSON.parse(JSON.stringify(first.stateDict())));
  expect(second.epsilon(1e-6)).toBe(first.epsilon(1e-6));
});

test('planned noise keeps the budget, and a little less would not', () => {
  const training = { sampleRate: 0.004, steps: 3000 };
  for (const epsilon of [0.3, 1, 8]) {
    const planned = noiseMultiplierFor({ epsilon, delta: 1e-5 }, training);
    const spent = (noiseMultiplier: number) =>
      new RdpAccountant().epsilon(1e-5, { ...training, noiseMultiplier });
    expect(spent(planned)).toBeLessThanOrEqual(epsilon);
    expect(spent(planned / 1.002)).toBeGreaterThan(epsilon);
  }
});

test.each<[string, () => unknown]>([
  ['negative noise', () => new RdpAccountant().record({ noiseMultiplier: -1, sampleRate: 0.1, steps: 1 })],
  ['a rate above 1', () => new RdpAccountant().record({ noiseMultiplier: 1, sampleRate: 1.1, steps: 1 })],
  ['half a step', () => new RdpAccountant().record({ noiseMultiplier: 1, sampleRate: 0.1, steps: 0.5 })],
  ['a delta of 0', () => new RdpAccountant().epsilon(0)],
  [
    'a budget of nothing',
    () => noiseMultiplierFor({ epsilon: 0, delta: 1e-5 }, { sampleRate: 0.1, steps: 1 }),
  ],
])('%s is refused', (_, run) => {
  expect(refusalOf(run).code).toBe('DT_INVALID_ARGUMENT');
});
