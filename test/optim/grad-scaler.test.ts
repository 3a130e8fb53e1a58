import {
  AdamW,
  cast,
  compile,
  defaultPool,
  GradientAccumulator,
  GradScaler,
  grad,
  Linear,
  mseLoss,
  SGD,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, randomNumbers, refusalOf } from '../ops/support.js';

const f32 = (n: number, seed: number) => Float32Array.from(randomNumbers(n, seed, 'f32'));

test('a step divides by the scale: with a power of 2 the bits are those without', () => {
  const [plain, scaled] = [f32(50, 1), f32(50, 1)];
  const [a, b] = [new AdamW([plain]), new AdamW([scaled])];
  const scaler = new GradScaler({ initScale: 1024 });
  for (let k = 0; k < 5; k++) {
    const g = f32(50, 10 + k);
    a.step([g]);
    scaler.step(b, [g.map((x) => x * 1024)]);
    scaler.update();
  }
  expect(bitsOf(scaled)).toBe(bitsOf(plain));
  expect(b.lastStep!.norm).toBeCloseTo(Math.hypot(...f32(50, 14)), 4);
});

test('clipping is of the gradients without the scale', () => {
  const weights = Float32Array.of(0, 0);
  const optimizer = new SGD([weights], { lr: 1, maxGradNorm: 1 });
  const scaler = new GradScaler({ initScale: 256 });
  scaler.step(optimizer, [Float32Array.of(3 * 256, 4 * 256)]);
  expect(optimizer.lastStep!.norm).toBe(5);
  expect(weights[0]).toBeCloseTo(-0.6, 6);
});

/** What PyTorch's documentation says of `update`. */
class Model {
  tracker = 0;
  constructor(
    public scale: number,
    readonly interval: number,
  ) {}
  update(overflow: boolean): void {
    this.tracker = overflow ? 0 : this.tracker + 1;
    if (overflow) this.scale *= 0.5;
    else if (this.tracker === this.interval) [this.scale, this.tracker] = [this.scale * 2, 0];
  }
}

test('the scale backs off and grows, and steps that overflow are left out, eager and recorded', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 20 }),
      fc.integer({ min: 1, max: 4 }),
      (overflows, interval) => {
        const make = () => {
          const weights = tensor(Float32Array.of(1, 2));
          const scaler = new GradScaler({ initScale: 8, growthInterval: interval });
          return { weights, scaler, optimizer: new AdamW([weights], { lr: 0.1 }) };
        };
        const [eager, recorded] = [make(), make()];
        const stepOf =
          ({ scaler, optimizer }: typeof eager) =>
          (g: Tensor) => {
            scaler.step(optimizer, [g]);
            scaler.update();
          };
        const step = compile(stepOf(recorded));
        const model = new Model(8, interval);
        for (const overflow of overflows) {
          const g = tensor(Float32Array.of(overflow ? Infinity : 1, -1));
          stepOf(eager)(g);
          step.runSync(g);
          model.update(overflow);
        }
        for (const { weights, scaler, optimizer } of [eager, recorded]) {
          expect(scaler.lossScale).toBe(model.scale);
          expect(scaler.stateDict().growthTracker!.item()).toBe(model.tracker);
          expect(optimizer.steps).toBe(overflows.filter((overflow) => !overflow).length);
          expect(bitsOf(weights.toArray())).toBe(bitsOf(eager.weights.toArray()));
        }
      },
    ),
    { numRuns: 30 },
  );
});

test('the scale stays finite in f32', () => {
  const scaler = new GradScaler({ initScale: 2 ** 125, growthInterval: 1 });
  const optimizer = new SGD([new Float32Array(1)], { lr: 0 });
  for (let k = 0; k < 5; k++) {
    scaler.step(optimizer, [new Float32Array(1)]);
    scaler.update();
  }
  expect(scaler.lossScale).toBe(2 ** 125);
});

test('the scale never falls to 0', () => {
  const optimizer = new SGD([new Float32Array(1)], { lr: 1 });
  const scaler = new GradScaler({ initScale: 2 ** -120 });
  for (let i = 0; i < 10; i++) {
    scaler.step(optimizer, [Float32Array.of(Infinity)]);
    scaler.update();
  }
  expect(scaler.lossScale).toBe(2 ** -126);
});

test('two optimizers share a scaler: each leaves out its own overflow, and one lowers the scale', () => {
  const [a, b] = [Float32Array.of(1), Float32Array.of(1)];
  const [first, second] = [new SGD([a], { lr: 1 }), new SGD([b], { lr: 1 })];
  const scaler = new GradScaler({ initScale: 4 });
  scaler.step(first, [Float32Array.of(NaN)]);
  scaler.step(second, [Float32Array.of(4)]);
  scaler.update();
  expect([a[0], b[0], scaler.lossScale]).toEqual([1, 0, 2]);
  scaler.update();
  expect(scaler.lossScale).toBe(2);
});

test('trains bf16 parameters in a compiled step, through an overflow', async () => {
  const model = new Linear(4, 1);
  const half = cast(model.parameters()[0]!, 'bf16');
  const optimizer = new SGD([half], { lr: 0.05 });
  const scaler = new GradScaler({ initScale: 2 ** 20 });
  const step = compile((x: Tensor, y: Tensor, blowUp: Tensor) => {
    const loss = mseLoss(model.forward(x), y);
    const [gradient] = grad(scaler.scale(loss), [model.parameters()[0]!]) as [Tensor];
    scaler.step(optimizer, [cast(gradient, 'bf16')]);
    scaler.update();
    return [loss, blowUp];
  });
  const [x, y] = [tensor(f32(32, 1), { shape: [8, 4] }), zeros([8, 1])];
  await step(x, y, zeros([1]));
  expect(optimizer.steps).toBe(1);
  await step(
    tensor(
      f32(32, 1).map((v) => v * 1e30),
      { shape: [8, 4] },
    ),
    y,
    zeros([1]),
  );
  expect([optimizer.steps, scaler.lossScale]).toEqual([1, 2 ** 19]);
});

test('an accumulator steps scaled gradients, and only its steps count', () => {
  const weights = Float32Array.of(1);
  const accumulator = new GradientAccumulator(new SGD([weights], { lr: 1 }), 2);
  const scaler = new GradScaler({ initScale: 16, growthInterval: 1 });
  scaler.step(accumulator, [Float32Array.of(16)]);
  scaler.update();
  expect([weights[0], scaler.lossScale]).toEqual([1, 16]);
  scaler.step(accumulator, [Float32Array.of(48)]);
  scaler.update();
  expect([weights[0], scaler.lossScale]).toEqual([-1, 32]);
});

test('its state can be saved and loaded', () => {
  const [a, b] = [new GradScaler({ initScale: 4, growthInterval: 3 }), new GradScaler({ growthInterval: 3 })];
  const optimizer = new SGD([new Float32Array(1)], { lr: 0 });
  for (let k = 0; k < 2; k++) {
    a.step(optimizer, [new Float32Array(1)]);
    a.update();
  }
  b.loadStateDict(a.stateDict());
  b.step(optimizer, [new Float32Array(1)]);
  b.update();
  expect(b.lossScale).toBe(8);
});

describe('refusals', () => {
  test.each([
    { initScale: 0 },
    { initScale: Infinity },
    { growthFactor: 1 },
    { backoffFactor: 1 },
    { growthInterval: 0.5 },
    { initialScale: 2 },
  ])('%o', (options) => {
    expect(refusalOf(() => new GradScaler(options as never)).code).toBe('DT_INVALID_ARGUMENT');
  });
});

test('steps without update cost the same each time, and leave nothing behind', () => {
  const scaler = new GradScaler();
  const optimizer = new SGD([new Float32Array(1)], { lr: 0 });
  const { blocks } = defaultPool.statistics;
  for (let k = 0; k < 100; k++) scaler.step(optimizer, [new Float32Array(1)]);
  expect(defaultPool.statistics.blocks - blocks).toBeLessThanOrEqual(2);
  scaler.update();
  expect(defaultPool.statistics.blocks).toBe(blocks);
});

test('refuses what takes no steps', () => {
  const scaler = new GradScaler();
  expect(refusalOf(() => scaler.step(undefined as never, [])).code).toBe('DT_INVALID_ARGUMENT');
  const optimizer = new SGD([new Float32Array(1)], { lr: 0 });
  for (const options of [{ scalar: scaler }, { scaler: {} }, { when: false }, { when: tensor([0]) }]) {
    expect(refusalOf(() => optimizer.step([new Float32Array(1)], options as never)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
  }
});
