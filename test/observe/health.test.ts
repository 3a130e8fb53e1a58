import {
  Adam,
  compile,
  crossEntropy,
  globalNorm,
  grad,
  type HealthCode,
  Linear,
  MemoryPool,
  mseLoss,
  Registry,
  randn,
  SGD,
  seed,
  type Tensor,
  TrainingMonitor,
  type TrainingMonitorOptions,
  tensor,
} from 'drivetrain';
import { describe, expect, test, vi } from 'vitest';

const make = (optimizer: SGD, options: TrainingMonitorOptions = {}) =>
  new TrainingMonitor(optimizer, { registry: new Registry(), every: 1, window: 20, ...options });
const codes = (monitor: TrainingMonitor): HealthCode[] => monitor.health().reasons.map(({ code }) => code);

/** Minimises w² / 2, whose gradient is w, from 1 on: each step makes w (1 − lr) times as large. */
function descend(lr: number, steps: number, options: TrainingMonitorOptions = {}): TrainingMonitor {
  const w = new Float32Array([1]);
  const optimizer = new SGD([w], { lr });
  const monitor = make(optimizer, options);
  for (let i = 0; i < steps; i++) {
    const gradients = [w.slice()];
    optimizer.step(gradients);
    monitor.recordSync({ loss: w[0]! ** 2 / 2, gradients });
  }
  return monitor;
}

describe('training runs', () => {
  test('a classifier that learns is healthy all the way', async () => {
    seed(3);
    const model = new Linear(4, 2);
    const optimizer = new Adam(model.parameters(), { lr: 0.02 });
    const x = randn([64, 4]);
    const labels = tensor(
      Array.from(x.toArray() as Float32Array, (_, i) => i)
        .filter((i) => i % 4 === 0)
        .map((i) => ((x.toArray()[i] as number) > 0 ? 1 : 0)),
      { dtype: 'i32' },
    );
    const step = compile((input: Tensor, target: Tensor) => {
      const loss = crossEntropy(model.forward(input), target);
      const gradients = grad(loss, model.parameters());
      optimizer.step(gradients);
      return { loss, gradNorm: globalNorm(gradients) };
    });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 5, window: 20 });
    for (let i = 0; i < 200; i++) {
      await monitor.record({ ...(await step(x, labels)), samples: 64 });
      expect(monitor.health()).toEqual({ status: 'healthy', reasons: [] });
    }
  });

  test('a quadratic that is minimised is healthy', () => {
    expect(descend(0.1, 60).health()).toEqual({ status: 'healthy', reasons: [] });
  });

  test('before the first step there is nothing to say', () => {
    expect(descend(0.1, 0).health()).toEqual({ status: 'healthy', reasons: [] });
  });

  test('too high a rate explodes: first a warning, then critical, and the norm is high', () => {
    const mild = descend(2.03, 15);
    expect(mild.health()).toMatchObject({ status: 'warning', reasons: [{ code: 'exploding' }] });
    const wild = descend(2.5, 12);
    expect(wild.health().status).toBe('critical');
    expect(codes(wild)).toEqual(['exploding', 'exploding', 'gradient-norm-high']);
  });

  test('and further on loss, gradients and parameters are not finite', () => {
    const monitor = descend(1e3, 40);
    expect(monitor.health().status).toBe('critical');
    expect(codes(monitor)).toEqual(
      expect.arrayContaining(['parameters-not-finite', 'loss-not-finite', 'gradients-not-finite']),
    );
  });

  test('a rate of 0 stalls, after three windows beyond the first', () => {
    expect(codes(descend(0, 79))).toEqual([]);
    expect(descend(0, 80).health()).toMatchObject({
      status: 'warning',
      reasons: [{ code: 'stalled', value: 60 }],
    });
  });

  test('gradients vanish where everything is learnt', () => {
    expect(codes(descend(0.99, 5))).toEqual(['gradient-norm-low']);
  });

  test('noise round a constant loss does not explode', () => {
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const monitor = make(optimizer, { window: 50 });
    let alarms = 0;
    for (let i = 0; i < 3000; i++) {
      optimizer.step([new Float32Array(1)]);
      monitor.recordSync({ loss: Math.exp(random() - 0.5) });
      if (codes(monitor).includes('exploding')) alarms++;
    }
    expect(alarms).toBe(0);
  });

  test('a fit whose loss grows at its end is told', async () => {
    const w = tensor([0]);
    const optimizer = new SGD([w], { lr: 0.2 });
    const step = compile((target: Tensor) => {
      const loss = mseLoss(w, target);
      optimizer.step(grad(loss, [w]));
      return loss;
    });
    const monitor = make(optimizer);
    for (let i = 0; i < 40; i++) await monitor.record({ loss: await step(tensor([1])) });
    expect(codes(monitor)).toEqual([]);
    optimizer.paramGroups[0]!.lr = 1.3;
    for (let i = 0; i < 15; i++) await monitor.record({ loss: await step(tensor([1])) });
    expect(codes(monitor)).toContain('exploding');
  });
});

describe('round training', () => {
  test('most steps skipped is critical', () => {
    const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
    const monitor = make(optimizer);
    for (let i = 0; i < 20; i++) monitor.recordSync();
    expect(monitor.health()).toMatchObject({
      status: 'critical',
      reasons: [{ code: 'steps-skipped', status: 'critical', value: 1 }],
    });
  });

  test('more than a second without a step is told while training runs, ten times as much is critical', () => {
    let now = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    try {
      const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
      const monitor = make(optimizer);
      const train = (milliseconds: number) => {
        now += milliseconds;
        optimizer.step([new Float32Array([1])]);
        monitor.recordSync();
      };
      now += 5000;
      expect(codes(monitor)).toEqual([]);
      train(0);
      train(10);
      now += 1000;
      expect(codes(monitor)).toEqual([]);
      now += 1;
      expect(monitor.health()).toMatchObject({ status: 'warning', reasons: [{ code: 'no-steps' }] });
      now += 10_000;
      expect(monitor.health().status).toBe('critical');
      monitor.pause();
      expect(codes(monitor)).toEqual([]);
      // Where steps take their time, more of it may pass.
      train(0);
      for (let i = 0; i < 30; i++) train(2000);
      now += 9000;
      expect(codes(monitor)).toEqual([]);
      now += 1001;
      expect(codes(monitor)).toEqual(['no-steps']);
    } finally {
      clock.mockRestore();
    }
  });

  test('a pool that is nearly full, or has refused memory since, is told by its name', () => {
    const pool = new MemoryPool({ limit: 1000 * 64 });
    expect(() => pool.allocate(10 ** 6)).toThrow();
    const monitor = make(new SGD([new Float32Array(1)], { lr: 0.1 }), { pools: { mine: pool } });
    const held = pool.allocate(900 * 64);
    expect(codes(monitor)).toEqual([]);
    const more = pool.allocate(64);
    expect(monitor.health().reasons).toMatchObject([
      { code: 'memory', message: expect.stringContaining("'mine' is 90.1 %") },
    ]);
    more.dispose();
    expect(codes(monitor)).toEqual([]);
    expect(() => pool.allocate(200 * 64)).toThrow();
    expect(monitor.health().reasons).toMatchObject([
      { code: 'memory', message: expect.stringContaining('refused 1 allocation') },
    ]);
    held.dispose();
  });

  test('reasons stand worst first, and each says what to do', () => {
    const { reasons } = descend(2.5, 30, { window: 5 }).health();
    const ranks = reasons.map(({ status }) => (status === 'critical' ? 0 : 1));
    expect(ranks).toEqual([...ranks].sort());
    for (const { message } of reasons) expect(message).toMatch(/^[A-Z0-9].*\. .*\.$/);
  });
});
