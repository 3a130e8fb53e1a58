import {
  AdamW,
  add,
  arange,
  compile,
  Dropout,
  defaultPool,
  Linear,
  quantize,
  Sequential,
  tensor,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';

test('constants of a function that is first called inside a scope last as long as its program', async () => {
  const fn = compile((x) => add(x, arange(3)));
  const x = tensor([1, 1, 1]);
  defaultPool.scope(() => void fn.runSync(x));
  expect((await fn(x)).toArray()).toEqual(Float32Array.of(1, 2, 3));
});

test('a scope that returns a model or an optimizer keeps all that belongs to it', () => {
  const x = zeros([1, 4]);
  const { model, small, optimizer } = defaultPool.scope(() => {
    const inner = new Sequential(new Linear(4, 2), new Dropout());
    return { model: inner, small: quantize(inner), optimizer: new AdamW(inner.parameters()) };
  });
  expect(small.eval().forward(x).shape).toEqual([1, 2]);
  optimizer.step(model.parameters().map((parameter) => zeros(parameter.shape)));
  expect(optimizer.steps).toBe(1);
});
