import {
  AdamW,
  add,
  assign,
  compile,
  Generator,
  grad,
  mean,
  mul,
  ones,
  rand,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { big, bits, failure, slowly, turn, watchPool } from './support.js';

/** A step of a tenth of a second or more that changes parameters, moments, the step count and a generator. */
function slowTrainer() {
  const w = ones([64]);
  const generator = new Generator(3);
  const adam = new AdamW([w], { lr: 0.1 });
  const step = compile((x: Tensor) => {
    const noise = rand([64], { generator });
    const slow = mean(slowly(x, 500));
    const loss = add(mean(mul(w, noise)), slow);
    adam.step(grad(loss, [w]));
    return loss;
  });
  const state = () => [w, generator.state, ...Object.values(adam.stateDict())].map(bits);
  return { step, state, w, adam };
}

test('a run cancelled half-way leaves parameters, moments, step count and generator as they were, bit for bit', async () => {
  const { step, state, adam } = slowTrainer();
  const x = big();
  (await step(x)).dispose();
  const before = state();
  for (let i = 0; i < 3; i++) {
    const controller = new AbortController();
    const run = step.run([x], { signal: controller.signal });
    await turn();
    controller.abort();
    const { message } = await failure('DT_ABORTED', () => run);
    expect(message).toContain('as they were');
    expect(state()).toEqual(before);
  }
  expect(adam.steps).toBe(1);
  await step(x);
  expect(adam.steps).toBe(2);
  expect(state()).not.toEqual(before);
});

test('the same step in the end gives the same bits whether others were cancelled before it or not', async () => {
  const [plain, disturbed] = [slowTrainer(), slowTrainer()];
  const x = big();
  const controller = new AbortController();
  const lost = disturbed.step.run([x], { signal: controller.signal });
  await turn();
  controller.abort();
  await failure('DT_ABORTED', () => lost);
  await disturbed.step(x);
  await plain.step(x);
  expect(disturbed.state()).toEqual(plain.state());
});

test('a signal that has been aborted already: nothing runs', async () => {
  const { step, state } = slowTrainer();
  const before = state();
  const reason = new Error('enough');
  const { cause } = await failure('DT_ABORTED', () =>
    step.run([big()], { signal: AbortSignal.abort(reason) }),
  );
  expect(cause).toBe(reason);
  await failure('DT_INVALID_ARGUMENT', () => step.run([big()], { Signal: AbortSignal.abort() } as never));
  expect(state()).toEqual(before);
});

test('a run cancelled while it waits for a lock never begins, and lets those behind it go on', async () => {
  const { step, state, w } = slowTrainer();
  const before = state();
  const x = big();
  const reading = compile((y) => [slowly(y, 300), add(w, 0)] as const)(x);
  const controller = new AbortController();
  const waiting = step.run([x], { signal: controller.signal });
  const behind = compile(() => add(w, 1))();
  controller.abort();
  await failure('DT_ABORTED', () => waiting);
  expect((await behind).toArray()[0]).toBe(2);
  await reading;
  expect(state()).toEqual(before);
});

test('a signal that comes too late changes nothing: the run has committed wholly', async () => {
  const { step, adam } = slowTrainer();
  const controller = new AbortController();
  const loss = await step.run([big()], { signal: controller.signal });
  controller.abort();
  await turn();
  expect(loss.disposed).toBe(false);
  expect(adam.steps).toBe(1);
});

test('whenever the signal comes, all of the writes have happened or none', async () => {
  const targets = Array.from({ length: 24 }, () => zeros([20_000]));
  const one = tensor([1]);
  const step = compile((x: Tensor) => {
    const value = add(mean(slowly(x, 4)), one);
    for (const target of targets) assign(target, add(target, value));
  });
  const x = zeros([2 ** 16]);
  let [committed, aborted] = [0, 0];
  for (let i = 0; i < 150; i++) {
    const controller = new AbortController();
    const run = step.run([x], { signal: controller.signal }).then(
      () => true,
      () => false,
    );
    for (let spin = 0; spin < (i % 30) * 3; spin++) await Promise.resolve();
    if (i % 3 === 0) await turn();
    controller.abort();
    if (await run) committed++;
    else aborted++;
    const values = targets.map((target) => target.toArray()[0]);
    expect(new Set(values)).toEqual(new Set([5 * committed]));
  }
  expect(committed + aborted).toBe(150);
});

test('what a cancelled run had allocated is free again', async () => {
  const { step } = slowTrainer();
  const x = big();
  const expectNoMore = watchPool();
  const controller = new AbortController();
  const run = step.run([x], { signal: controller.signal });
  controller.abort();
  await failure('DT_ABORTED', () => run);
  expectNoMore();
});
