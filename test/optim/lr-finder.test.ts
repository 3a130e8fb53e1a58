import {
  AdamW,
  compile,
  findLearningRate,
  grad,
  Linear,
  mseLoss,
  randn,
  SGD,
  seed,
  type Tensor,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { rejectionOf } from '../ops/support.js';

/** A regression on 64 samples of 4 features, and one step of its training. */
function problem() {
  seed(7);
  const model = new Linear(4, 1);
  const [x, y] = [randn([64, 4]), randn([64, 1])];
  const optimizer = new AdamW(model.parameters(), { lr: 0.02 });
  const step = compile((a: Tensor, b: Tensor) => {
    const loss = mseLoss(model.forward(a), b);
    optimizer.step(grad(loss, model.parameters()));
    return loss;
  });
  return { model, optimizer, step: async () => (await step(x, y)).item() };
}

const bytesOf = (...tensors: Tensor[]) => tensors.map((tensor) => [...(tensor.toArray() as Float32Array)]);

test('finds a rate, and leaves parameters, state and rates as they were', async () => {
  const { model, optimizer, step } = problem();
  for (let i = 0; i < 3; i++) await step();
  const before = bytesOf(...model.parameters(), ...Object.values(optimizer.stateDict()));
  const curve = await findLearningRate(optimizer, step, { startLr: 1e-5, endLr: 10, numIter: 60 });
  expect(bytesOf(...model.parameters(), ...Object.values(optimizer.stateDict()))).toEqual(before);
  expect(optimizer.paramGroups[0]!.lr).toBe(0.02);
  expect(curve.points[0]!.lr).toBe(1e-5);
  curve.points.forEach(({ lr }, i) => {
    expect(lr / (1e-5 * 1e6 ** (i / 59))).toBeCloseTo(1, 12);
  });
  expect(curve.suggestion).toBeGreaterThan(1e-4);
  expect(curve.suggestion).toBeLessThan(10);
});

test('ends when the loss runs away, and the picture shows what was seen', async () => {
  const parameter = new Float64Array([1]);
  const optimizer = new SGD([parameter], { lr: 0.1 });
  const curve = await findLearningRate(
    optimizer,
    () => {
      const [w] = parameter;
      optimizer.step([new Float64Array([2 * w!])]);
      return w! * w!;
    },
    { startLr: 1e-3, endLr: 1e3, numIter: 200 },
  );
  expect(curve.points.length).toBeLessThan(200);
  // w shrinks by 1 − 2 lr at each step: fastest at 0.5, and grows from 1 on.
  expect(curve.suggestion).toBeLessThan(0.5);
  expect(curve.points.at(-1)!.lr).toBeGreaterThan(1);
  expect(parameter[0]).toBe(1);
  const svg = curve.toSvg();
  expect(svg.match(/<circle /g)).toHaveLength(curve.points.length);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

test('puts everything back when a step throws or is cancelled', async () => {
  const { model, optimizer, step } = problem();
  const before = bytesOf(...model.parameters());
  let calls = 0;
  const failing = async () => {
    if (++calls > 5) throw new Error('no more data');
    return step();
  };
  await expect(findLearningRate(optimizer, failing)).rejects.toThrow('no more data');
  expect(bytesOf(...model.parameters())).toEqual(before);
  const controller = new AbortController();
  const cancelling = async () => {
    controller.abort();
    return step();
  };
  await expect(findLearningRate(optimizer, cancelling, { signal: controller.signal })).rejects.toThrow(
    'abort',
  );
  expect(bytesOf(...model.parameters())).toEqual(before);
  expect(optimizer.paramGroups[0]!.lr).toBe(0.02);
});

test('says what it wants', async () => {
  const { optimizer, step } = problem();
  expect((await rejectionOf(findLearningRate(optimizer, step, { startLr: 0 }))).message).toContain('startLr');
  expect((await rejectionOf(findLearningRate(optimizer, step, { startLr: 1, endLr: 1 }))).message).toContain(
    'endLr',
  );
  const tensors = (async () => randn([])) as unknown as () => Promise<number>;
  expect((await rejectionOf(findLearningRate(optimizer, tensors))).message).toContain('number');
});

test('goes by losses below 0 as by others', async () => {
  const pointsOf = async (offset: number) => {
    const weights = Float64Array.of(0);
    const optimizer = new SGD([weights], { lr: 1 });
    const curve = await findLearningRate(optimizer, () => {
      optimizer.step([Float64Array.of(2 * (weights[0]! - 3))]);
      return (weights[0]! - 3) ** 2 + offset;
    });
    return curve.points.length;
  };
  expect(await pointsOf(-100)).toBeGreaterThan(50);
});

test('suggests nothing where the loss stays where it is', async () => {
  const optimizer = new SGD([new Float32Array(1)], { lr: 0.1 });
  for (const numIter of [5, 20, 100]) {
    expect((await findLearningRate(optimizer, () => 1, { numIter })).suggestion).toBeUndefined();
  }
});
