import { AdamW, compile, Dropout, grad, mean, mul, ones, SGD, type Tensor, tensor } from 'drivetrain';
import { expect, test } from 'vitest';

test('a learning rate changed between runs takes effect without another recording', async () => {
  const w = tensor([1]);
  const sgd = new SGD([w], { lr: 1 });
  let recordings = 0;
  const step = compile(() => {
    recordings++;
    sgd.step(grad(mean(mul(w, 2)), [w]));
  });
  const rates = [1, 0.5, 0, 0.25];
  let expected = 1;
  for (const lr of rates) {
    sgd.paramGroups[0]!.lr = lr;
    await step();
    expected -= 2 * lr;
    expect(w.item()).toBe(expected);
  }
  expect(recordings).toBe(1);
});

test('the rate at the time of the call counts, for a run that begins later', async () => {
  const w = tensor([0]);
  const sgd = new SGD([w], { lr: 1 });
  const step = compile(() => sgd.step(grad(mean(w), [w])));
  const runs = [];
  for (const lr of [1, 10, 100]) {
    sgd.paramGroups[0]!.lr = lr;
    runs.push(step());
  }
  sgd.paramGroups[0]!.lr = 1000;
  await Promise.all(runs);
  expect(w.item()).toBe(-111);
});

test('step counts advance inside the program', async () => {
  const adam = new AdamW([ones([3])]);
  const step = compile((g: Tensor) => adam.step([g]));
  for (let i = 1; i <= 5; i++) {
    await step(ones([3]));
    expect(adam.steps).toBe(i);
  }
});

test("dropout's mode changed between runs takes effect, with one recording for each of the two", async () => {
  const dropout = new Dropout(0.5);
  let recordings = 0;
  const f = compile((x: Tensor) => {
    recordings++;
    return dropout.forward(x);
  });
  const zerosIn = async () => (await f(ones([4096]))).toArray().filter((value) => value === 0).length;
  expect(await zerosIn()).toBeGreaterThan(1800);
  dropout.eval();
  expect(await zerosIn()).toBe(0);
  dropout.train();
  expect(await zerosIn()).toBeGreaterThan(1800);
  expect(recordings).toBe(2);
});
