import {
  AdamW,
  clipGradNorm,
  compile,
  crossEntropy,
  Dropout,
  device,
  GELU,
  Generator,
  grad,
  LayerNorm,
  Linear,
  randn,
  Sequential,
  type Tensor,
  tensor,
} from 'drivetrain';
import { afterAll, expect, test } from 'vitest';
import { bitsOf, contentOf, numbersOf, randomSource } from '../ops/support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

/** Fifty steps of a small network, large enough that its products and sums are cut into chunks. */
async function train(count: number): Promise<{ losses: number[]; bits: string[] }> {
  device.setThreads(count);
  expect(device.info().threads).toBe(count);
  const generator = new Generator(11);
  const model = new Sequential(
    new Linear(200, 257, { generator }),
    new LayerNorm(257),
    new GELU(),
    new Dropout(0.2, { generator }),
    new Linear(257, 10, { generator }),
  );
  const optimizer = new AdamW(model.parameters(), { lr: 1e-3 });
  const step = compile((x: Tensor, labels: Tensor) => {
    const loss = crossEntropy(model.forward(x), labels);
    const { gradients, norm } = clipGradNorm(grad(loss, model.parameters()), 1);
    optimizer.step(gradients);
    return [loss, norm];
  });
  const x = randn([150, 200], { generator });
  const next = randomSource(5);
  const labels = tensor(
    Array.from({ length: 150 }, () => Math.floor(next() * 10)),
    { dtype: 'i32' },
  );
  const losses: number[] = [];
  const bits: string[] = [];
  for (let i = 0; i < 50; i++) {
    const outputs = await step(x, labels);
    losses.push(outputs[0]!.item());
    for (const output of outputs) {
      bits.push(bitsOf(output.toArray()));
      output.dispose();
    }
  }
  for (const t of Object.values({ ...model.stateDict(), ...optimizer.stateDict() }))
    bits.push(bitsOf(t.toArray()));
  expect(numbersOf(contentOf(model.parameters()[0]!)).every(Number.isFinite)).toBe(true);
  return { losses, bits };
}

test('fifty training steps give the same bits with one, two and three threads', async () => {
  const one = await train(1);
  expect(one.losses[49]!).toBeLessThan(one.losses[0]! / 2); // it does learn
  for (const count of [2, 3]) {
    const more = await train(count);
    expect(more.losses).toEqual(one.losses);
    expect(more.bits).toEqual(one.bits);
  }
});
