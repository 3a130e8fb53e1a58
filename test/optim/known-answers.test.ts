// Problems whose answers are known: a method that steps wrongly does not find them.
import { describe, expect, test } from 'vitest';
import { randomNumbers } from '../ops/support.js';
import { OPTIMIZERS, solve } from './support.js';

/** A learning rate that suits the problem, falling linearly to 0 unless `constant`, and other options. */
interface Setting {
  readonly lr: number;
  readonly constant?: boolean;
  readonly [option: string]: unknown;
}

function minimize(
  name: string,
  { lr, constant = false, ...options }: Setting,
  start: readonly number[],
  gradient: (x: Float64Array) => number[],
  steps: number,
): Float64Array {
  const x = Float64Array.from(start);
  const optimizer = OPTIMIZERS[name]!([x], { lr, ...options });
  for (let k = 0; k < steps; k++) {
    if (!constant) for (const group of optimizer.paramGroups) group.lr = lr * (1 - k / steps);
    optimizer.step([Float64Array.from(gradient(x))]);
  }
  return x;
}

/** f = Σ 10^(i − 2) (xᵢ − aᵢ)² / 2 for i = 0 … 4: a condition number of 10⁴. */
const CENTRE = [1, -2, 0.5, 3, -1];
const quadraticGradient = (x: Float64Array) => CENTRE.map((a, i) => 10 ** (i - 2) * (x[i]! - a));

const quadratic: Record<string, Setting> = {
  SGD: { lr: 0.01, constant: true, momentum: 0.99 },
  Adam: { lr: 0.1 },
  AdamW: { lr: 0.1, weightDecay: 0 },
  NAdam: { lr: 0.1 },
  RAdam: { lr: 0.1 },
  AdaBelief: { lr: 0.1 },
  Adamax: { lr: 0.1 },
  Adagrad: { lr: 1, constant: true },
  Adadelta: { lr: 20, constant: true },
  RMSprop: { lr: 0.02 },
  Lion: { lr: 0.01 },
  LAMB: { lr: 0.05 },
  Adafactor: { lr: 0.1, relativeStep: false, scaleParameter: false },
};

describe.each(Object.keys(quadratic))('%s', (name) => {
  test('finds the least of a quadratic of condition 10⁴', () => {
    const x = minimize(name, quadratic[name]!, [0.1, 0.1, 0.1, 0.1, 0.1], quadraticGradient, 4000);
    x.forEach((value, i) => {
      expect(Math.abs(value - CENTRE[i]!), `element ${i}`).toBeLessThan(0.01);
    });
  });
});

test('LARS finds the least of a quadratic', () => {
  const setting = { lr: 1, momentum: 0.9, trustCoefficient: 0.01 };
  const gradient = (x: Float64Array) => CENTRE.map((a, i) => x[i]! - a);
  const x = minimize('LARS', setting, [0.1, 0.1, 0.1, 0.1, 0.1], gradient, 4000);
  x.forEach((value, i) => {
    expect(Math.abs(value - CENTRE[i]!)).toBeLessThan(0.01);
  });
});

/** Rosenbrock's valley, with its least at [1, 1]. */
const rosenbrock = ([x, y]: Float64Array): number[] => [
  -2 * (1 - x!) - 400 * x! * (y! - x! * x!),
  200 * (y! - x! * x!),
];

const valley: Record<string, Setting> = {
  SGD: { lr: 2e-4, constant: true, momentum: 0.98 },
  Adam: { lr: 0.02 },
  AdamW: { lr: 0.02, weightDecay: 0 },
  NAdam: { lr: 0.02 },
  AdaBelief: { lr: 0.02 },
  Adamax: { lr: 0.02 },
  RMSprop: { lr: 0.005 },
  Adafactor: { lr: 0.01, relativeStep: false, scaleParameter: false },
};

test.each(Object.keys(valley))('%s goes down Rosenbrock’s valley', (name) => {
  const x = minimize(name, valley[name]!, [-1.5, 2], rosenbrock, 10_000);
  expect(Math.hypot(x[0]! - 1, x[1]! - 1)).toBeLessThan(0.02);
});

test.each([
  'SGD',
  'Adam',
  'AdamW',
  'NAdam',
  'RAdam',
  'AdaBelief',
  'Adamax',
  'Adagrad',
  'RMSprop',
  'Adafactor',
])('%s finds the optimum of logistic regression that Newton’s method finds', (name) => {
  const [n, penalty] = [60, 0.1];
  const features = Array.from({ length: n }, (_, i) => [1, ...randomNumbers(2, i + 1)]);
  const labels = features.map(([, a, b], i) => (a! - 0.5 * b! + 0.3 + (i % 3) - 1 > 0 ? 1 : 0));
  const dot = (a: ArrayLike<number>, b: readonly number[]) => b.reduce((sum, x, i) => sum + x * a[i]!, 0);
  const chance = (w: ArrayLike<number>, x: readonly number[]) => 1 / (1 + Math.exp(-dot(w, x)));
  const gradient = (w: ArrayLike<number>) =>
    [0, 1, 2].map(
      (j) =>
        features.reduce((sum, x, i) => sum + ((chance(w, x) - labels[i]!) * x[j]!) / n, 0) + penalty * w[j]!,
    );
  let optimum = [0, 0, 0];
  for (let k = 0; k < 20; k++) {
    const hessian = [0, 1, 2].map((j) =>
      [0, 1, 2].map(
        (l) =>
          features.reduce((sum, x) => {
            const p = chance(optimum, x);
            return sum + (p * (1 - p) * x[j]! * x[l]!) / n;
          }, 0) + (j === l ? penalty : 0),
      ),
    );
    const step = solve(hessian, gradient(optimum));
    optimum = optimum.map((w, j) => w - step[j]!);
  }
  expect(Math.hypot(...gradient(optimum))).toBeLessThan(1e-12);
  const settings: Record<string, Setting> = {
    SGD: { lr: 0.5, constant: true, momentum: 0.5 },
    Adagrad: { lr: 0.5, constant: true },
    Adafactor: { lr: 0.05, relativeStep: false, scaleParameter: false },
  };
  const own = settings[name] ?? { lr: 0.05, weightDecay: 0 };
  const found = minimize(name, own, [0, 0, 0], gradient, 3000);
  found.forEach((w, j) => {
    expect(Math.abs(w - optimum[j]!)).toBeLessThan(1e-3);
  });
});
