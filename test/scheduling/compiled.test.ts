import { expect, test } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { add, matmul, relu } from '../../dist/ops/index.js';
import { compile } from '../../dist/program/index.js';
import { Batcher } from '../../dist/scheduling/index.js';
import { defaultPool, type Tensor, tensor, wrap } from '../../dist/tensor/index.js';

// Small whole numbers: every way of adding them up gives the same bits.
const weights = tensor(
  Float32Array.from({ length: 12 }, (_, i) => i - 5),
  { shape: [4, 3] },
);
const bias = tensor([1, -2, 3]);
const forward = (x: Tensor) => relu(add(matmul(x, weights), bias));

test('a compiled program behind a batcher answers each request as the program alone would', async () => {
  const predict = compile(forward);
  const batcher = new Batcher(predict, { maxBatchSize: 16, registry: new Registry() });
  const inputs = Array.from({ length: 100 }, (_, i) => {
    const rows = 1 + (i % 5);
    return wrap(
      Float32Array.from({ length: rows * 4 }, (_, j) => ((i * 7 + j * 3) % 19) - 9),
      [rows, 4],
    );
  });
  const answers = await Promise.all(inputs.map((input) => batcher.run(input)));
  for (const [i, input] of inputs.entries()) {
    const alone = await predict(input);
    expect(answers[i]!.shape).toEqual([input.shape[0], 3]);
    expect(answers[i]!.toArray()).toEqual(alone.toArray());
    alone.dispose();
  }
});

test('what a compiled program returns goes back to its pool', async () => {
  const batcher = new Batcher(compile(forward), { maxBatchSize: 4, registry: new Registry() });
  const round = () => Promise.all(Array.from({ length: 10 }, () => batcher.run(new Float32Array(4))));
  await round();
  const before = defaultPool.statistics.current;
  for (let i = 0; i < 20; i++) await round();
  expect(defaultPool.statistics.current).toBe(before);
});
