import {
  AdamW,
  AveragedModel,
  CheckpointManager,
  CosineAnnealingLR,
  compile,
  crossEntropy,
  Dropout,
  Generator,
  GradientAccumulator,
  GradScaler,
  grad,
  Linear,
  Lookahead,
  ReLU,
  randn,
  Sequential,
  seed,
  type Tensor,
  tensor,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { rejectionOf } from '../../ops/support.js';
import { temporaryFolder } from '../support.js';

/** A classifier with dropout, trained on the same data each time. */
function training(start: number) {
  seed(start);
  const generator = new Generator(5);
  const model = new Sequential(
    new Linear(6, 16),
    new ReLU(),
    new Dropout(0.3, { generator }),
    new Linear(16, 3),
  );
  const optimizer = new Lookahead(new AdamW(model.namedParameters(), { lr: 0.01, maxGradNorm: 0.5 }), {
    k: 3,
  });
  const accumulator = new GradientAccumulator(optimizer, 3);
  const scaler = new GradScaler({ initScale: 2 ** 10, growthInterval: 2 });
  const average = new AveragedModel(model, { decay: 0.9 });
  const schedule = new CosineAnnealingLR(optimizer, { tMax: 20 });
  const [x, y] = [
    randn([32, 6], { generator: new Generator(1) }),
    tensor(Int32Array.from({ length: 32 }, (_, i) => i % 3)),
  ];
  const run = compile((a: Tensor, b: Tensor) => {
    const loss = crossEntropy(model.forward(a), b);
    scaler.step(accumulator, grad(scaler.scale(loss), model.parameters()));
    scaler.update();
    return loss;
  });
  const step = async () => {
    const loss = (await run(x, y)).item();
    schedule.step();
    average.update();
    return loss;
  };
  const parts = { model, optimizer, accumulator, scaler, average, schedule, generator };
  return { parts, step };
}

test('training that resumes gives the same bits as training that never stopped', async () => {
  const manager = new CheckpointManager(temporaryFolder());
  const whole = training(1);
  const losses: number[] = [];
  for (let i = 0; i < 20; i++) {
    if (i === 8)
      await manager.save(whole.parts, { step: i, metrics: { loss: losses.at(-1)! }, config: { lr: 0.01 } });
    losses.push(await whole.step());
  }
  const resumed = training(2);
  const checkpoint = (await manager.latest())!;
  expect([checkpoint.step, checkpoint.metrics, checkpoint.config]).toEqual([
    8,
    { loss: losses[7] },
    { lr: 0.01 },
  ]);
  await checkpoint.load(resumed.parts);
  for (let i = 8; i < 20; i++) expect(await resumed.step()).toBe(losses[i]);
  const bits = ({ parts: { schedule: _, ...parts } }: typeof whole) =>
    Object.values(parts).map((part) =>
      Object.entries(part.stateDict()).map(([name, one]) => [name, [...(one as Tensor).toArray()]]),
    );
  expect(bits(resumed)).toEqual(bits(whole));
  expect(resumed.parts.optimizer.paramGroups[0]!.lr).toBe(whole.parts.optimizer.paramGroups[0]!.lr);
});

test('loads some of the parts, and refuses those it does not have', async () => {
  const manager = new CheckpointManager(temporaryFolder());
  const { parts } = training(1);
  await manager.save(parts, { step: 3 });
  const checkpoint = (await manager.latest())!;
  expect(checkpoint.parts).toEqual(Object.keys(parts));
  const { model } = training(2).parts;
  await checkpoint.load({ model });
  expect(model.parameters()[0]!.toArray()).toEqual(parts.model.parameters()[0]!.toArray());
  const refusal = await rejectionOf(checkpoint.load({ network: model }));
  expect(refusal.message).toContain('network');
  const other = { model: new Linear(6, 16) };
  expect((await rejectionOf(checkpoint.load(other))).message).toContain('layers.0.weight');
});

test('what cannot be saved is refused, and nothing appears', async () => {
  const folder = temporaryFolder();
  const manager = new CheckpointManager(folder);
  const { parts } = training(1);
  for (const [bad, options] of [
    [parts, { step: -1 }],
    [{ 'a/b': parts.model }, { step: 1 }],
    [{ model: {} as never }, { step: 1 }],
    [parts, { step: 1, metrics: { loss: 'low' as unknown as number } }],
  ] as const) {
    expect((await rejectionOf(manager.save(bad, options))).code).toBe('DT_INVALID_ARGUMENT');
  }
  expect(await manager.list()).toEqual([]);
});
