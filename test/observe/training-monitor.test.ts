import {
  AdamW,
  clone,
  compile,
  crossEntropy,
  defaultPool,
  defaultRegistry,
  GradientAccumulator,
  globalNorm,
  grad,
  Linear,
  MemoryPool,
  mseLoss,
  type Optimizer,
  ones,
  Registry,
  ReLU,
  randn,
  Sequential,
  SGD,
  type Tensor,
  TrainingMonitor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { OPTIMIZERS } from '../optim/support.js';
import { failure, turn, watchPool } from '../program/support.js';
import { samplesOf } from './support.js';

const norm = (...arrays: readonly ArrayLike<number>[]) =>
  Math.sqrt(arrays.flatMap((array) => Array.from(array, (x) => x * x)).reduce((a, b) => a + b, 0));
const difference = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a, (x, i) => x - b[i]!);

/** Sums of squares of at most 2^18 f32 in double, their root and that of a few of them rounded to f32. */
const CLOSE = 1e-6;
const near = (received: number | undefined, expected: number) =>
  expect(Math.abs(received! - expected)).toBeLessThanOrEqual(CLOSE * Math.abs(expected) + 1e-30);

function classifier() {
  const model = new Sequential(new Linear(8, 16), new ReLU(), new Linear(16, 3));
  const optimizer = new AdamW(model.namedParameters(), { lr: 0.01 });
  const step = compile((x: Tensor, labels: Tensor) => {
    const loss = crossEntropy(model.forward(x), labels);
    const gradients = grad(loss, model.parameters());
    optimizer.step(gradients);
    return { loss, gradNorm: globalNorm(gradients) };
  });
  const labels = tensor(
    Array.from({ length: 32 }, (_, i) => i % 3),
    { dtype: 'i32' },
  );
  return { model, optimizer, step, x: randn([32, 8]), labels };
}

describe('norms and the update ratio are those of the step itself', () => {
  for (const [name, make] of Object.entries(OPTIMIZERS)) {
    test(`${name}, on typed arrays in groups of two dtypes`, () => {
      const parameters = [new Float32Array(5), new Float64Array(3)].map((array) =>
        array.map((_, i) => 1 + i),
      );
      const gradients = parameters.map((array) => array.map((x) => 0.1 * x - 0.3));
      const optimizer = make(parameters.map((parameter) => ({ params: [parameter] })));
      const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 2 });
      for (let i = 0; i < 4; i++) {
        const before = parameters.map((array) => array.slice());
        optimizer.step(gradients);
        monitor.recordSync({ gradients });
        const { gradientNorm, parameterNorm, updateRatio } = monitor.metrics;
        if (i === 0)
          expect([gradientNorm, parameterNorm, updateRatio]).toEqual([undefined, undefined, undefined]);
        if (i % 2 === 0) continue;
        near(gradientNorm, norm(...gradients));
        near(parameterNorm, norm(...parameters));
        const change = norm(...parameters.map((array, p) => difference(array, before[p]!)));
        near(updateRatio, change / norm(...parameters));
      }
      monitor.dispose();
    });
  }

  test('tensors of any size: none, odd ones, more than is compared at a time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(0, 1, 7, 65_535, 65_536, 65_537, 200_001), { minLength: 1, maxLength: 3 }),
        (sizes) => {
          const parameters = sizes.map((size) => ones([size]));
          const gradients = sizes.map((size) => new Float32Array(size).map((_, i) => Math.sin(i)));
          const optimizer = new SGD(parameters, { lr: 0.5 });
          const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 1 });
          optimizer.step(gradients);
          monitor.recordSync({ gradients });
          const now = parameters.map((parameter) => parameter.toArray() as Float32Array);
          const { gradientNorm, parameterNorm, updateRatio } = monitor.metrics;
          near(gradientNorm, norm(...gradients));
          near(parameterNorm, norm(...now));
          if (sizes.some((size) => size > 0)) {
            near(
              updateRatio,
              norm(
                ...now.map((array) =>
                  difference(
                    array,
                    array.map(() => 1),
                  ),
                ),
              ) / norm(...now),
            );
          }
          monitor.dispose();
          for (const parameter of parameters) parameter.dispose();
        },
      ),
      { numRuns: 30 },
    );
  });

  test('16-bit parameters: the change of what the model computes with', () => {
    const parameter = ones([4], { dtype: 'bf16' });
    const optimizer = new SGD([parameter], { lr: 1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 1 });
    const gradients = [tensor([0.5, 0.5, 1 / 1024, 0], { dtype: 'bf16' })];
    optimizer.step(gradients);
    monitor.recordSync({ gradients });
    // 1 - 1/1024 rounds to 1 in bf16: only two numbers have moved.
    near(monitor.metrics.updateRatio, norm([0.5, 0.5]) / norm([0.5, 0.5, 1, 1]));
    near(monitor.metrics.gradientNorm, norm([0.5, 0.5, 1 / 1024]));
    monitor.recordSync({ gradients: [Uint16Array.of(0x4000, 0, 0, 0)] });
    near(monitor.metrics.gradientNorm, 2);
  });

  for (const way of ['awaited', 'left alone', 'recordSync'] as const) {
    test(`a recorded step, with record ${way}`, async () => {
      const { model, optimizer, step, x, labels } = classifier();
      const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 3 });
      const pending: Promise<void>[] = [];
      let expected = Number.NaN;
      for (let i = 0; i < 9; i++) {
        const before = model.parameters().map((parameter) => parameter.toArray() as Float32Array);
        const { loss, gradNorm } = await step(x, labels);
        if (way === 'recordSync') monitor.recordSync({ loss, gradNorm });
        else pending.push(monitor.record({ loss, gradNorm }));
        if (way === 'awaited') await pending.at(-1);
        expect(monitor.metrics).toMatchObject({ loss: loss.item(), gradientNorm: gradNorm.item() });
        loss.dispose();
        const now = model.parameters().map((parameter) => parameter.toArray() as Float32Array);
        if (i === 8) expected = norm(...now.map((array, p) => difference(array, before[p]!))) / norm(...now);
      }
      await Promise.all(pending);
      near(monitor.metrics.updateRatio, expected);
    });
  }

  test('gradients of eager training', () => {
    const w = tensor([1, 2]);
    const optimizer = new SGD([w], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 1 });
    const { value, grads } = valueAndGrad((x: Tensor) => mseLoss(x, tensor([0, 0])), [w])(w);
    optimizer.step(grads);
    monitor.recordSync({ loss: value, gradients: grads });
    near(monitor.metrics.gradientNorm, norm(grads[0]!.toArray() as Float32Array));
  });
});

describe('rates', () => {
  const fixed = () => new SGD([new Float32Array([1])], { lr: 0.1 });
  const feed = (monitor: TrainingMonitor, optimizer: Optimizer<object>, losses: readonly number[]) => {
    for (const loss of losses) {
      optimizer.step([new Float32Array([0])]);
      monitor.recordSync({ loss });
    }
  };

  test('a loss that falls by a constant share has that improvement and convergence rate', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.9, max: 1.1, noNaN: true }),
        fc.integer({ min: 3, max: 40 }),
        (q, window) => {
          const optimizer = fixed();
          const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 5, window });
          const losses = Array.from({ length: 2 * window + 3 }, (_, i) => 5 * q ** i);
          feed(monitor, optimizer, losses);
          expect(monitor.metrics.improvementRate).toBeCloseTo(1 - q ** window, 9);
          expect(monitor.metrics.convergenceRate).toBeCloseTo(-Math.log(q), 9);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('losses below 0 have an improvement rate, and no convergence rate', () => {
    const optimizer = fixed();
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), window: 3 });
    feed(monitor, optimizer, [-1, -1, -1, -2, -2, -2]);
    expect(monitor.metrics).toMatchObject({ improvementRate: 1, convergenceRate: undefined });
  });

  test('losses that are not finite are counted, and do not hide the others', () => {
    const optimizer = fixed();
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), window: 3 });
    feed(monitor, optimizer, [4, 4, Number.NaN, 4, 2, 2, Infinity, 2]);
    expect(monitor.metrics).toMatchObject({ nonFiniteLosses: 2, improvementRate: 0.5, loss: 2 });
    expect(monitor.health().reasons.map(({ code }) => code)).not.toContain('loss-not-finite');
  });
});

describe('the registry', () => {
  test('has every series of a training run, and they read back as what happened', async () => {
    const registry = new Registry();
    const { model, step, x, labels } = classifier();
    const [first, ...rest] = model.parameters();
    const optimizer = new AdamW([{ params: [first!], lr: 0.5 }, { params: rest }], { lr: 0.25 });
    const pool = new MemoryPool();
    const monitor = new TrainingMonitor(optimizer, {
      registry,
      every: 10,
      window: 10,
      name: 'digits',
      pools: { default: defaultPool, own: pool },
    });
    for (let i = 0; i < 30; i++) {
      const out = await monitor.time('forward and backward', () => step(x, labels));
      optimizer.step(model.parameters().map((parameter) => ones(parameter.shape)));
      await monitor.record({ ...out, samples: 32 });
    }
    const samples = samplesOf(registry.expose());
    const { metrics } = monitor;
    const value = (name: string, labels = '') =>
      samples.get(`drivetrain_optimizer_${name}{optimizer="digits"${labels}}`);
    expect(
      Object.fromEntries(
        ['steps', 'samples', 'skipped_steps', 'nonfinite_losses'].map((name) => [
          name,
          value(`${name}_total`),
        ]),
      ),
    ).toEqual({
      steps: 30,
      samples: 960,
      skipped_steps: 0,
      nonfinite_losses: 0,
    });
    expect(value('step_duration_seconds_count')).toBe(29);
    expect(value('step_duration_seconds_sum')).toBeCloseTo(metrics.seconds, 9);
    expect(value('step_duration_seconds_bucket', ',le="+Inf"')).toBe(29);
    for (const [name, expected] of [
      ['loss', metrics.loss],
      ['gradient_norm', metrics.gradientNorm],
      ['parameter_norm', metrics.parameterNorm],
      ['update_ratio', metrics.updateRatio],
      ['improvement_rate', metrics.improvementRate],
      ['convergence_rate', metrics.convergenceRate],
      ['samples_per_second', metrics.samplesPerSecond],
      ['processors', metrics.processors],
    ] as const) {
      expect(expected, name).toEqual(expect.any(Number));
      expect(value(name), name).toBe(expected);
    }
    expect(value('learning_rate', ',group="0"')).toBe(0.5);
    expect(value('learning_rate', ',group="1"')).toBe(0.25);
    expect(value('phase_seconds_total', ',phase="forward and backward"')).toBeGreaterThan(0);
    expect(value('memory_bytes', ',pool="default"')).toBeGreaterThan(0);
    expect(value('memory_reserved_bytes', ',pool="own"')).toBe(0);
    expect([...samples.keys()].every((name) => name.startsWith('drivetrain_optimizer_'))).toBe(true);
  });

  test('is the default one, under the name of the class, unless given', () => {
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const count = () =>
      samplesOf(defaultRegistry.expose()).get('drivetrain_optimizer_steps_total{optimizer="SGD"}') ?? 0;
    const before = count();
    const monitor = new TrainingMonitor(optimizer, { every: 1 });
    monitor.recordSync();
    expect(count()).toBe(before + 1);
    monitor.recordSync();
    monitor.dispose();
    expect(count()).toBe(before + 2);
  });

  test('keeps still about what was never known', () => {
    const registry = new Registry();
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry, every: 1 });
    monitor.recordSync();
    const names = [...samplesOf(registry.expose()).keys()].join('\n');
    expect(names).toContain('drivetrain_optimizer_parameter_norm');
    expect(names).not.toMatch(/_loss\{|gradient_norm|convergence_rate|samples_per_second/);
  });
});

describe('skipped steps', () => {
  test('are those that the optimizer has not counted, when a step is sampled', () => {
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), window: 10, every: 5 });
    for (let i = 0; i < 10; i++) {
      if (i % 5 !== 0) optimizer.step([new Float32Array(1)]);
      monitor.recordSync();
    }
    // A count that was loaded tells nothing of steps.
    const state = optimizer.stateDict();
    for (const count of [0, 1000]) {
      state['0.step']!.borrow().fill(count as never);
      for (let i = 0; i < 5; i++) monitor.recordSync();
    }
    for (let i = 0; i < 5; i++) {
      optimizer.step([new Float32Array(1)]);
      monitor.recordSync();
    }
    expect(monitor.metrics).toMatchObject({ steps: 25, skippedSteps: 2 });
  });

  test('are judged by their share of the last window', () => {
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), window: 10, every: 1 });
    for (let i = 0; i < 25; i++) {
      if (i % 5 !== 0) optimizer.step([new Float32Array(1)]);
      monitor.recordSync();
    }
    expect(monitor.metrics.skippedSteps).toBe(5);
    expect(monitor.health()).toMatchObject({
      status: 'warning',
      reasons: [{ code: 'steps-skipped', status: 'warning', value: 0.2 }],
    });
  });

  test('are what the optimizer says, with norm and count, where it looks at its gradients', () => {
    const { paramGroups } = new SGD([new Float32Array(1)], { lr: 0.1 });
    const watched = { paramGroups, steps: 0, lastStep: { norm: 2, notFinite: 0, skipped: false } };
    const registry = new Registry();
    const monitor = new TrainingMonitor(watched, { registry, name: 'own' });
    monitor.recordSync();
    expect(monitor.metrics).toMatchObject({ skippedSteps: 0, gradientNorm: 2 });
    watched.lastStep = { norm: Number.NaN, notFinite: 3, skipped: true };
    monitor.recordSync();
    expect(monitor.metrics).toMatchObject({ skippedSteps: 1, nonFiniteGradients: 3 });
    expect(
      samplesOf(registry.expose()).get('drivetrain_optimizer_nonfinite_gradients_total{optimizer="own"}'),
    ).toBe(3);
    expect(monitor.health().reasons.map(({ code }) => code)).toContain('gradients-not-finite');
  });
});

describe('an accumulator', () => {
  const gradient = (k: number) => (k === 3 ? Float32Array.of(NaN) : new Float32Array(1));

  test('is well, though most batches are no step', () => {
    const accumulator = new GradientAccumulator(new SGD([new Float32Array(1)], { lr: 0.1 }), 4);
    const monitor = new TrainingMonitor(accumulator, { registry: new Registry(), window: 10, every: 10 });
    for (let k = 0; k < 40; k++) {
      accumulator.step([new Float32Array(1)]);
      monitor.recordSync();
    }
    expect(monitor.metrics).toMatchObject({ steps: 40, skippedSteps: 0 });
    expect(monitor.health().status).toBe('healthy');
  });

  test('that skips a step has skipped one, eager and recorded', async () => {
    for (const recorded of [false, true]) {
      const accumulator = new GradientAccumulator(
        new SGD([tensor([0])], { lr: 0.1, nonFinite: 'skip', maxGradNorm: 1 }),
        4,
      );
      const step = compile((g: Tensor) => accumulator.step([g]));
      const monitor = new TrainingMonitor(accumulator, { registry: new Registry(), window: 10, every: 10 });
      for (let k = 0; k < 40; k++) {
        if (recorded) await step(tensor(gradient(k)));
        else accumulator.step([gradient(k)]);
        monitor.recordSync();
      }
      expect(monitor.metrics).toMatchObject({ skippedSteps: 1, nonFiniteGradients: 1 });
    }
  });
});

test('a norm that is not finite counts as a gradient that is not', () => {
  const monitor = new TrainingMonitor(new SGD([new Float32Array(1)], { lr: 0.1 }), {
    registry: new Registry(),
    every: 10,
  });
  for (const gradNorm of [1, NaN, Infinity]) monitor.recordSync({ gradNorm });
  expect(monitor.metrics.nonFiniteGradients).toBe(2);
});

describe('time', () => {
  test('is split by phase, sync and awaited, also where a phase fails; the pauses are left out', async () => {
    let now = 1000;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    try {
      const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
      const registry = new Registry();
      const monitor = new TrainingMonitor(optimizer, { registry, every: 2 });
      monitor.recordSync({ samples: 10 });
      expect(monitor.time('forward', () => (now += 100))).toBe(1100);
      expect(() =>
        monitor.time('forward', () => {
          now += 50;
          throw new Error('no');
        }),
      ).toThrow('no');
      expect(
        await monitor.time('backward', async () => {
          await turn();
          now += 200;
          return 'done';
        }),
      ).toBe('done');
      now += 50;
      monitor.recordSync({ samples: 10 });
      expect(monitor.metrics).toMatchObject({ seconds: 0.4, stepSeconds: 0.4, samplesPerSecond: 25 });
      expect(monitor.metrics.phases).toEqual({ forward: expect.closeTo(0.15, 9), backward: 0.2 });
      monitor.pause();
      monitor.time('evaluation', () => (now += 5000));
      monitor.recordSync({ samples: 10 });
      now += 100;
      monitor.recordSync({ samples: 10 });
      expect(monitor.metrics).toMatchObject({ seconds: 0.5, stepSeconds: 0.25, samplesPerSecond: 40 });
      expect(monitor.metrics.phases).toEqual({ forward: expect.closeTo(0.15, 9), backward: 0.2 });
      const samples = samplesOf(registry.expose());
      expect(samples.get('drivetrain_optimizer_phase_seconds_total{optimizer="SGD",phase="backward"}')).toBe(
        0.2,
      );
    } finally {
      clock.mockRestore();
    }
  });
});

describe('looks at the parameters', () => {
  /** Looks in 5,000 steps of `duration` ms, by a clock on which whatever asks for the time takes another one. */
  function looks(duration: number, every?: number): number {
    let now = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now++);
    try {
      const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
      const options = every === undefined ? {} : { every };
      const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), ...options });
      const norms = new Set<number | undefined>();
      for (let i = 0; i < 5000; i++) {
        now += duration;
        optimizer.step([new Float32Array([-1])]);
        monitor.recordSync();
        norms.add(monitor.metrics.parameterNorm);
      }
      monitor.dispose();
      return norms.size - 1;
    } finally {
      clock.mockRestore();
    }
  }

  test('take a quarter of a per cent of the time at most, unless told how often', () => {
    // A look takes 2 ms: copying, and comparing. A hundred steps of 11 ms are enough for one, of 2 ms are four hundred.
    expect(looks(10)).toBe(50);
    expect(looks(1)).toBe(13);
    expect(looks(1, 100)).toBe(50);
  });
});

describe('memory and the event loop', () => {
  test('a thousand steps hold what the first one did, and dispose gives all of it back', async () => {
    const w = ones([1000]);
    const optimizer = new SGD([w], { lr: 0.1 });
    const gradients = [ones([1000])];
    const before = defaultPool.statistics;
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 7 });
    const steps = async (count: number) => {
      for (let i = 0; i < count; i++) {
        optimizer.step(gradients);
        if (i % 2 === 0) monitor.recordSync({ loss: 1, gradients });
        else await monitor.record({ loss: 1, gradients });
      }
    };
    await steps(20);
    const { current } = defaultPool.statistics;
    const noMore = watchPool();
    await steps(1000);
    noMore();
    monitor.dispose();
    monitor.dispose();
    expect(defaultPool.statistics.current).toBeLessThan(current);
    expect(current - defaultPool.statistics.current).toBeGreaterThanOrEqual(4000);
    // Programs have a constant or two, which go with them.
    expect(defaultPool.statistics.current - before.current).toBeLessThan(1000);
    await failure('DT_DISPOSED', () => monitor.record());
    expect(() => monitor.recordSync()).toThrow(/disposed/);
  });

  test('an awaited look at many parameters lets the event loop turn', async () => {
    const w = ones([2 ** 22]);
    const optimizer = new SGD([w], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 1 });
    const gradients = [ones([2 ** 22])];
    optimizer.step(gradients);
    // A look that holds the thread has exactly one; another process may hold it for as long as one look takes.
    const looks = 20;
    let turns = 0;
    for (let i = 0; i < looks; i++) {
      let done = false;
      const looked = monitor.record({ gradients }).then(() => {
        done = true;
      });
      while (!done) {
        await turn();
        turns++;
      }
      await looked;
    }
    expect(turns).toBeGreaterThan(looks);
    near(monitor.metrics.gradientNorm, 2 ** 11);
    monitor.dispose();
    for (const t of [w, ...gradients]) t.dispose();
  });

  test('a scope that ends does not take the copy of the parameters along', () => {
    const w = ones([10]);
    const optimizer = new SGD([w], { lr: 0.1 });
    let monitor!: TrainingMonitor;
    defaultPool.scope(() => {
      monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 1 });
    });
    optimizer.step([new Float32Array(10).fill(1)]);
    monitor.recordSync();
    near(monitor.metrics.updateRatio, 0.1 / 0.9);
  });

  test('watching changes no bit of training', async () => {
    const { model, optimizer, step, x, labels } = classifier();
    const other = new Sequential(new Linear(8, 16), new ReLU(), new Linear(16, 3));
    other.loadStateDict(model.stateDict());
    const alone = new AdamW(other.namedParameters(), { lr: 0.01 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 2 });
    const plain = compile((input: Tensor, target: Tensor) => {
      const loss = crossEntropy(other.forward(input), target);
      alone.step(grad(loss, other.parameters()));
      return loss;
    });
    for (let i = 0; i < 7; i++) {
      await monitor.record(await step(x, labels));
      await plain(x, labels);
    }
    const bits = (parameters: readonly Tensor[]) => parameters.map((parameter) => clone(parameter).toArray());
    expect(bits(model.parameters())).toEqual(bits(other.parameters()));
  });
});

describe('what is wrong is refused, and nothing is counted', () => {
  const optimizer = () => new SGD([new Float32Array(2)], { lr: 0.1 });

  test('options', async () => {
    for (const options of [{ every: 0 }, { every: 1.5 }, { window: 2 }, { windows: 10 }]) {
      await failure('DT_INVALID_ARGUMENT', () => new TrainingMonitor(optimizer(), options as object));
    }
    await failure('DT_INVALID_ARGUMENT', () => new TrainingMonitor({} as never));
  });

  test('steps', async () => {
    const registry = new Registry();
    const monitor = new TrainingMonitor(optimizer(), { registry, every: 1 });
    const wrong = [
      { losses: 1 },
      { loss: '1' },
      { loss: Promise.resolve(1) },
      { samples: -1 },
      { gradNorm: null },
    ];
    for (const step of wrong) await failure('DT_INVALID_ARGUMENT', () => monitor.record(step as object));
    await failure('DT_SHAPE_MISMATCH', () => monitor.record({ loss: tensor([1, 2]) }));
    await failure('DT_SHAPE_MISMATCH', () => monitor.record({ gradients: [] }));
    expect(monitor.metrics.steps).toBe(0);
    expect(samplesOf(registry.expose()).get('drivetrain_optimizer_steps_total{optimizer="SGD"}')).toBe(0);
  });
});
