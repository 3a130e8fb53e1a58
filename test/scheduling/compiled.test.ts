import { expect, test } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { add, embedding, matmul, relu } from '../../dist/ops/index.js';
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

test('an index that is out of range fails its own request: those that share the batch are answered', async () => {
  const table = tensor([[1], [2], [3]]);
  let runs = 0;
  const look = compile((ids: Tensor) => embedding(table, ids));
  const run = (batch: Tensor) => {
    runs++;
    return look(batch);
  };
  const batcher = new Batcher(run, { registry: new Registry() });
  const said = (id: number) =>
    batcher.run(Int32Array.of(id)).then(
      (answer) => answer.toArray()[0],
      ({ code, message }) => `${code} ${/received (.*?):/.exec(message)![1]}`,
    );
  expect(await Promise.all([0, 3, 2, -1, 1].map(said))).toEqual([
    1,
    'DT_INDEX_OUT_OF_RANGE 3 at [0, 0]',
    3,
    'DT_INDEX_OUT_OF_RANGE -1 at [0, 0]',
    2,
  ]);
  expect(runs).toBe(9);
  expect(await said(7)).toBe('DT_INDEX_OUT_OF_RANGE 7 at [0, 0]');
  expect([runs, batcher.inFlight, batcher.size]).toEqual([10, 0, 0]);
  await batcher.close();
});

test('one bad index among many is found by halves', async () => {
  const table = tensor([[1], [2], [3]]);
  let runs = 0;
  const look = compile((ids: Tensor) => embedding(table, ids));
  const run = (batch: Tensor) => {
    runs++;
    return look(batch);
  };
  const batcher = new Batcher(run, { maxBatchSize: 64, registry: new Registry() });
  const ids = Array.from({ length: 64 }, (_, i) => (i === 41 ? 3 : i % 3));
  const ends = await Promise.allSettled(ids.map((id) => batcher.run(Int32Array.of(id))));
  const answers = ends.map((end) => (end.status === 'fulfilled' ? end.value.toArray()[0] : end.reason.code));
  expect(answers).toEqual(ids.map((id) => (id === 3 ? 'DT_INDEX_OUT_OF_RANGE' : id + 1)));
  expect(runs).toBe(1 + 2 * Math.log2(64));
  await batcher.close();
});
