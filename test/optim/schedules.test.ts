import {
  AdamW,
  ChainedScheduler,
  ConstantLR,
  CosineAnnealingLR,
  CosineAnnealingWarmRestarts,
  CyclicLR,
  compile,
  ExponentialLR,
  InverseSquareRootLR,
  LambdaLR,
  Linear,
  LinearLR,
  type LRScheduler,
  layerwiseDecay,
  MultiStepLR,
  OneCycleLR,
  PolynomialLR,
  ReduceLROnPlateau,
  ReLU,
  SequentialLR,
  SGD,
  StepLR,
  WarmupCosineLR,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { golden, refusalOf } from '../ops/support.js';

interface Case {
  readonly optimizer: 'SGD' | 'Adam';
  readonly lr: readonly number[];
  /** Of each group, before the first step and after each. */
  readonly rates: readonly (readonly number[])[];
  /** Momentum or the first of the betas of the first group. */
  readonly momentum: readonly number[];
  readonly metrics?: readonly number[];
}

type Optimizer = SGD | AdamW;
type Schedule = LRScheduler | ReduceLROnPlateau;

function optimizerOf(rates: readonly number[], kind: Case['optimizer'] = 'SGD'): Optimizer {
  const groups = rates.map((lr) => ({ params: [new Float32Array(1)], lr }));
  return kind === 'SGD' ? new SGD(groups, { lr: 1, momentum: 0.9 }) : new AdamW(groups, { lr: 1 });
}

const SCHEDULES: Record<string, (o: Optimizer) => Schedule> = {
  ConstantLR: (o) => new ConstantLR(o),
  'ConstantLR, options': (o) => new ConstantLR(o, { factor: 0.5, totalIters: 3 }),
  LinearLR: (o) => new LinearLR(o),
  'LinearLR, options': (o) => new LinearLR(o, { startFactor: 0.9, endFactor: 0.2, totalIters: 7 }),
  PolynomialLR: (o) => new PolynomialLR(o),
  'PolynomialLR, options': (o) => new PolynomialLR(o, { totalIters: 9, power: 2.5 }),
  ExponentialLR: (o) => new ExponentialLR(o, { gamma: 0.9 }),
  StepLR: (o) => new StepLR(o, { stepSize: 3 }),
  'StepLR, options': (o) => new StepLR(o, { stepSize: 4, gamma: 0.7 }),
  MultiStepLR: (o) => new MultiStepLR(o, { milestones: [2, 5, 9] }),
  'MultiStepLR, options': (o) => new MultiStepLR(o, { milestones: [1, 4], gamma: 0.5 }),
  CosineAnnealingLR: (o) => new CosineAnnealingLR(o, { tMax: 10 }),
  'CosineAnnealingLR, options': (o) => new CosineAnnealingLR(o, { tMax: 7, etaMin: 0.01 }),
  CosineAnnealingWarmRestarts: (o) => new CosineAnnealingWarmRestarts(o, { t0: 5 }),
  'CosineAnnealingWarmRestarts, options': (o) =>
    new CosineAnnealingWarmRestarts(o, { t0: 3, tMult: 2, etaMin: 1e-4 }),
  CyclicLR: (o) => new CyclicLR(o, { baseLr: 0.001, maxLr: 0.1, stepSizeUp: 4 }),
  'CyclicLR, triangular2': (o) =>
    new CyclicLR(o, {
      baseLr: [0.001, 0.01],
      maxLr: [0.1, 0.05],
      stepSizeUp: 3,
      stepSizeDown: 5,
      mode: 'triangular2',
      baseMomentum: 0.6,
      maxMomentum: 0.95,
    }),
  'CyclicLR, expRange': (o) =>
    new CyclicLR(o, {
      baseLr: 0.001,
      maxLr: 0.1,
      stepSizeUp: 4,
      mode: 'expRange',
      gamma: 0.97,
      cycleMomentum: false,
    }),
  OneCycleLR: (o) => new OneCycleLR(o, { maxLr: 0.1, totalSteps: 20 }),
  'OneCycleLR, Adam': (o) =>
    new OneCycleLR(o, {
      maxLr: [0.1, 0.2],
      totalSteps: 13,
      pctStart: 0.4,
      annealStrategy: 'linear',
      divFactor: 10,
      finalDivFactor: 50,
      baseMomentum: 0.7,
      maxMomentum: 0.9,
    }),
  'OneCycleLR, three phases': (o) =>
    new OneCycleLR(o, { maxLr: 0.1, totalSteps: 30, threePhase: true, pctStart: 0.25 }),
  ReduceLROnPlateau: (o) => new ReduceLROnPlateau(o, { patience: 1 }),
  'ReduceLROnPlateau, options': (o) =>
    new ReduceLROnPlateau(o, {
      mode: 'max',
      factor: 0.5,
      patience: 2,
      threshold: 0.1,
      thresholdMode: 'abs',
      cooldown: 2,
      minLr: [0.01, 0.0001],
    }),
  SequentialLR: (o) =>
    new SequentialLR(o, {
      schedulers: [
        new LinearLR(o, { startFactor: 0.1, totalIters: 4 }),
        new CosineAnnealingLR(o, { tMax: 10 }),
        new ConstantLR(o, { factor: 0.25, totalIters: 99 }),
      ],
      milestones: [4, 12],
    }),
  ChainedScheduler: (o) =>
    new ChainedScheduler(o, {
      schedulers: [
        new ConstantLR(o, { factor: 0.1, totalIters: 2 }),
        new ExponentialLR(o, { gamma: 0.9 }),
        new StepLR(o, { stepSize: 5 }),
      ],
    }),
  LambdaLR: (o) => new LambdaLR(o, { lrLambda: [(t) => 0.95 ** t, (t) => 1 / (1 + t)] }),
  WarmupCosineLR: (o) => new WarmupCosineLR(o, { warmupSteps: 4, totalSteps: 15, floor: 0.1 }),
  'WarmupCosineLR, defaults': (o) => new WarmupCosineLR(o, { totalSteps: 50 }),
  InverseSquareRootLR: (o) => new InverseSquareRootLR(o, { warmupSteps: 6 }),
};

const cases = golden<Record<string, Case>>('optim/schedules.json');
const ratesOf = (optimizer: Optimizer) => optimizer.paramGroups.map(({ lr }) => lr);
const momentumOf = ({ paramGroups: [group] }: Optimizer) =>
  'betas' in group! ? group.betas[0] : group!.momentum;

test('every case of PyTorch has a schedule here', () => {
  expect(Object.keys(SCHEDULES).sort()).toEqual(Object.keys(cases).sort());
});

describe.each(Object.entries(cases))('%s', (name, one) => {
  test('sets PyTorch’s learning rates and momenta, for every group', () => {
    const optimizer = optimizerOf(one.lr, one.optimizer);
    const schedule = SCHEDULES[name]!(optimizer);
    one.rates.forEach((rates, step) => {
      // PyTorch's recurrences gather some roundings of the largest rate at every step.
      ratesOf(optimizer).forEach((lr, i) => {
        expect(Math.abs(lr - rates[i]!)).toBeLessThan(1e-13 * Math.max(...one.lr, 0.2));
      });
      expect(momentumOf(optimizer)).toBeCloseTo(one.momentum[step]!, 13);
      if (step < one.rates.length - 1) schedule.step(one.metrics?.[step] as number);
    });
  });

  test('goes on from its state as if it had never stopped', () => {
    const metricAt = (step: number) => one.metrics?.[step] as number;
    for (let stop = 0; stop < one.rates.length - 1; stop += 3) {
      const [first, second] = [optimizerOf(one.lr, one.optimizer), optimizerOf(one.lr, one.optimizer)];
      const [schedule, resumed] = [SCHEDULES[name]!(first), SCHEDULES[name]!(second)];
      for (let i = 0; i < stop; i++) schedule.step(metricAt(i));
      (resumed as LRScheduler).loadStateDict(JSON.parse(JSON.stringify(schedule.stateDict())));
      for (let i = stop; i < one.rates.length - 1; i++) {
        expect(ratesOf(second)).toEqual(ratesOf(first));
        expect(momentumOf(second)).toBe(momentumOf(first));
        schedule.step(metricAt(i));
        resumed.step(metricAt(i));
      }
    }
  });
});

test('a warm-up of no steps begins at the full rate', () => {
  const optimizer = optimizerOf([0.5]);
  new WarmupCosineLR(optimizer, { warmupSteps: 0, totalSteps: 10 });
  expect(optimizer.paramGroups[0]!.lr).toBe(0.5);
});

test.each([
  [50, 3],
  [51, 4],
  [100, 6],
  [1, 0],
  [2, 1],
])('of %i steps %i are warm-up by default', (totalSteps, warm) => {
  const optimizer = optimizerOf([1]);
  const schedule = new WarmupCosineLR(optimizer, { totalSteps });
  const rates = Array.from({ length: totalSteps + 3 }, (_, t) => schedule.rateAt(t, 1));
  expect(rates.indexOf(1)).toBe(Math.max(0, warm - 1));
  expect(rates[totalSteps]).toBeCloseTo(0.01, 15);
});

test('a rate that was assigned by hand is a new beginning', () => {
  const optimizer = optimizerOf([1]);
  const first = new ExponentialLR(optimizer, { gamma: 0.5 });
  first.step();
  optimizer.paramGroups[0]!.lr = 0.3;
  const second = new ExponentialLR(optimizer, { gamma: 0.5 });
  second.step();
  expect(optimizer.paramGroups[0]!.lr).toBeCloseTo(0.15, 15);
});

test('rates stay within what a cycle of any length may have', () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 60 }), share, fc.boolean(), (totalSteps, pctStart, threePhase) => {
      const optimizer = optimizerOf([1]);
      const schedule = new OneCycleLR(optimizer, { maxLr: 2, totalSteps, pctStart, threePhase });
      for (let t = 0; t < totalSteps; t++) {
        const { lr } = optimizer.paramGroups[0]!;
        expect(lr).toBeGreaterThan(0);
        expect(lr).toBeLessThanOrEqual(2);
        schedule.step();
      }
    }),
  );
});

test('lower layers get smaller rates', () => {
  const layers = [new Linear(2, 3), new ReLU(), new Linear(3, 3), new Linear(3, 1)];
  const groups = layerwiseDecay(layers, { lr: 0.8, decay: 0.5 });
  const optimizer = new SGD(groups, { lr: 1 });
  expect(optimizer.paramGroups.map(({ lr, params }) => [lr, params.length])).toEqual([
    [0.2, 2],
    [0.4, 2],
    [0.8, 2],
  ]);
});

test.each<[string, (optimizer: Optimizer) => unknown]>([
  ['tMax of 0', (o) => new CosineAnnealingLR(o, { tMax: 0 })],
  ['a fractional tMax', (o) => new CosineAnnealingLR(o, { tMax: 1.5 })],
  ['etaMin of NaN', (o) => new CosineAnnealingLR(o, { tMax: 5, etaMin: NaN })],
  ['a negative etaMin', (o) => new CosineAnnealingLR(o, { tMax: 5, etaMin: -1 })],
  ['a negative warm-up', (o) => new WarmupCosineLR(o, { warmupSteps: -1, totalSteps: 10 })],
  ['a warm-up as long as everything', (o) => new WarmupCosineLR(o, { warmupSteps: 10, totalSteps: 10 })],
  ['a floor of NaN', (o) => new WarmupCosineLR(o, { totalSteps: 10, floor: NaN })],
  ['a floor above 1', (o) => new WarmupCosineLR(o, { totalSteps: 10, floor: 1.5 })],
  ['milestones that fall', (o) => new MultiStepLR(o, { milestones: [3, 2] })],
  ['a missing gamma', (o) => new ExponentialLR(o, {} as { gamma: number })],
  ['a rate too many', (o) => new CyclicLR(o, { baseLr: [1, 2, 3], maxLr: 1 })],
  ['an unknown mode', (o) => new CyclicLR(o, { baseLr: 0, maxLr: 1, mode: 'square' as 'triangular' })],
  ['a plateau’s factor of 1', (o) => new ReduceLROnPlateau(o, { factor: 1 })],
  ['an endless rate', (o) => new LambdaLR(o, { lrLambda: () => Infinity })],
  [
    'too few milestones',
    (o) => new SequentialLR(o, { schedulers: [new StepLR(o, { stepSize: 1 })], milestones: [1] }),
  ],
  [
    'a plateau among others',
    (o) => new ChainedScheduler(o, { schedulers: [new ReduceLROnPlateau(o) as unknown as LRScheduler] }),
  ],
])('%s is refused and leaves the rates alone', (_, make) => {
  const optimizer = optimizerOf([0.1, 0.2]);
  expect(refusalOf(() => make(optimizer)).code).toBe('DT_INVALID_ARGUMENT');
  expect(ratesOf(optimizer)).toEqual([0.1, 0.2]);
});

test('momentum cannot cycle where there is none', () => {
  const without = { paramGroups: [{ lr: 0.1 }] };
  expect(refusalOf(() => new OneCycleLR(without, { maxLr: 1, totalSteps: 5 })).message).toContain(
    'cycleMomentum',
  );
  new OneCycleLR(without, { maxLr: 1, totalSteps: 5, cycleMomentum: false });
  expect(without.paramGroups[0]!.lr).toBeCloseTo(0.04, 15);
});

test('there is no rate beyond the one cycle', () => {
  const optimizer = optimizerOf([0.1]);
  const schedule = new OneCycleLR(optimizer, { maxLr: 1, totalSteps: 2 });
  schedule.step();
  schedule.step();
  const { lr } = optimizer.paramGroups[0]!;
  expect(lr / (1 / 25 / 1e4)).toBeCloseTo(1, 9);
  expect(refusalOf(() => schedule.step()).message).toContain('2 steps');
  expect(optimizer.paramGroups[0]!.lr).toBe(lr);
});

test('the state of another number of groups is refused', () => {
  const schedule = new ExponentialLR(optimizerOf([1]), { gamma: 0.5 });
  expect(refusalOf(() => schedule.loadStateDict({ steps: 1, initial: [1, 2] })).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
  expect(schedule.steps).toBe(0);
});

test.each<[string, object]>([
  ['no step', { steps: -1, initial: [1, 1] }],
  ['rates that are none', { steps: 3, initial: [1, 'a'] }],
  ['rates that are not finite', { steps: 3, initial: [1, NaN] }],
])('a state with %s is refused, and nothing is changed', (_, state) => {
  const optimizer = optimizerOf([1, 1]);
  const schedule = new StepLR(optimizer, { stepSize: 2 });
  expect(refusalOf(() => schedule.loadStateDict(state as never)).code).toBe('DT_INVALID_ARGUMENT');
  expect(schedule.stateDict()).toEqual({ steps: 0, initial: [1, 1] });
  expect(ratesOf(optimizer)).toEqual([1, 1]);
});

test.each<[string, object]>([
  ['no best', { rates: [1] }],
  ['a rate below 0', { rates: [-1], best: 1, badCalls: 0, cooldownLeft: 0 }],
  ['half a call', { rates: [1], best: null, badCalls: 0.5, cooldownLeft: 0 }],
])('a state of ReduceLROnPlateau with %s is refused, and nothing is changed', (_, state) => {
  const optimizer = optimizerOf([0.5]);
  const schedule = new ReduceLROnPlateau(optimizer);
  expect(refusalOf(() => schedule.loadStateDict(state as never)).code).toBe('DT_INVALID_ARGUMENT');
  expect(ratesOf(optimizer)).toEqual([0.5]);
  expect(schedule.stateDict()).toEqual({ rates: [0.5], best: null, badCalls: 0, cooldownLeft: 0 });
});

test('a metric that is infinite is no best one, and so its state is JSON', () => {
  const schedule = new ReduceLROnPlateau(optimizerOf([1]), { mode: 'max', patience: 0 });
  schedule.step(1);
  schedule.step(Infinity);
  expect(schedule.stateDict()).toMatchObject({ rates: [0.1], best: 1 });
});

test('a step inside compile(fn), which would be taken once, is refused', () => {
  const optimizer = optimizerOf([1]);
  const schedules = [() => new StepLR(optimizer, { stepSize: 1 }), () => new ReduceLROnPlateau(optimizer)];
  for (const make of schedules) {
    const schedule = make();
    const refusal = refusalOf(() => compile(() => schedule.step(1)).runSync());
    expect([refusal.code, refusal.message]).toEqual([
      'DT_INVALID_ARGUMENT',
      expect.stringContaining('compile(fn)'),
    ]);
  }
  expect(ratesOf(optimizer)).toEqual([1]);
});

test('a rate that is refused for one group changes none', () => {
  const optimizer = optimizerOf([1, 1]);
  const lrLambda = [() => 0.5, (steps: number) => (steps === 1 ? NaN : 1)];
  const schedule = new LambdaLR(optimizer, { lrLambda });
  expect(refusalOf(() => schedule.step()).code).toBe('DT_INVALID_ARGUMENT');
  expect(ratesOf(optimizer)).toEqual([0.5, 1]);
  expect(schedule.steps).toBe(0);
});

test('a momentum that an ended part of a sequence left behind is there again after resuming', () => {
  const make = (optimizer: Optimizer) => {
    const cyclic = new CyclicLR(optimizer, { baseLr: 0.1, maxLr: 1, stepSizeUp: 4 });
    const constant = new ConstantLR(optimizer);
    const inner = { schedulers: [cyclic, constant], milestones: [3] };
    return new ChainedScheduler(optimizer, { schedulers: [new SequentialLR(optimizer, inner)] });
  };
  const [first, second] = [optimizerOf([1]), optimizerOf([1])];
  const schedule = make(first);
  for (let i = 0; i < 5; i++) schedule.step();
  expect(momentumOf(first)).toBeCloseTo(0.85, 13);
  make(second).loadStateDict(JSON.parse(JSON.stringify(schedule.stateDict())));
  expect(momentumOf(second)).toBe(momentumOf(first));
  expect(ratesOf(second)).toEqual(ratesOf(first));
});

describe('misspelt options, and what is no optimizer, are refused by', () => {
  const optimizer = new SGD([new Float32Array(1)], { lr: 1 });
  const valid: readonly (readonly [string, (of: never, more: object) => unknown])[] = [
    ['ConstantLR', (of, more) => new ConstantLR(of, { factor: 0.5, ...more })],
    ['LinearLR', (of, more) => new LinearLR(of, { totalIters: 2, ...more })],
    ['PolynomialLR', (of, more) => new PolynomialLR(of, { power: 2, ...more })],
    ['ExponentialLR', (of, more) => new ExponentialLR(of, { gamma: 0.9, ...more })],
    ['StepLR', (of, more) => new StepLR(of, { stepSize: 2, ...more })],
    ['MultiStepLR', (of, more) => new MultiStepLR(of, { milestones: [2], ...more })],
    ['InverseSquareRootLR', (of, more) => new InverseSquareRootLR(of, { warmupSteps: 2, ...more })],
    ['LambdaLR', (of, more) => new LambdaLR(of, { lrLambda: () => 1, ...more })],
    ['CosineAnnealingLR', (of, more) => new CosineAnnealingLR(of, { tMax: 2, ...more })],
    ['CosineAnnealingWarmRestarts', (of, more) => new CosineAnnealingWarmRestarts(of, { t0: 2, ...more })],
    ['WarmupCosineLR', (of, more) => new WarmupCosineLR(of, { totalSteps: 20, ...more })],
    ['CyclicLR', (of, more) => new CyclicLR(of, { baseLr: 0.1, maxLr: 1, ...more })],
    ['OneCycleLR', (of, more) => new OneCycleLR(of, { maxLr: 1, totalSteps: 9, ...more })],
    ['ReduceLROnPlateau', (of, more) => new ReduceLROnPlateau(of, { patience: 2, ...more })],
    [
      'ChainedScheduler',
      (of, more) => new ChainedScheduler(of, { schedulers: [new ConstantLR(optimizer)], ...more }),
    ],
    [
      'SequentialLR',
      (of, more) =>
        new SequentialLR(of, { schedulers: [new ConstantLR(optimizer)], milestones: [], ...more }),
    ],
  ];

  test.each(valid)('%s', (name, make) => {
    make(optimizer as never, {});
    const refusal = refusalOf(() => make(optimizer as never, { gama: 0.5 }));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toMatch(new RegExp(`options of ${name} but received gama`));
    for (const wrong of [undefined, {}, [1]]) {
      expect(refusalOf(() => make(wrong as never, {})).code).toBe('DT_INVALID_ARGUMENT');
    }
  });

  test('layerwiseDecay', () => {
    const layers = [{ parameters: () => [new Float32Array(1)] }];
    expect(
      refusalOf(() => layerwiseDecay(layers, { lr: 1, decay: 0.5, rate: 2 } as never)).message,
    ).toContain('rate');
  });
});
