import { expect, test } from 'vitest';
import { embedding, matmul, softmax } from '../../dist/ops/index.js';
import { compile } from '../../dist/program/index.js';
import { type Tensor, tensor } from '../../dist/tensor/index.js';
import { inferUrl, post, start } from './support.js';

test('a compiled program is a model as it is, batched, and with several inputs and outputs', async () => {
  const weights = tensor([
    [1, 0, -1],
    [0, 2, 0],
  ]);
  const classify = compile((x: Tensor) => softmax(matmul(x, weights)));
  const both = compile((a: Tensor, b: Tensor) => [matmul(a, b), matmul(b, a)]);
  const { url } = await start([
    {
      name: 'classify',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'p', datatype: 'FP32', shape: [-1, 3] }],
      predict: classify,
    },
    {
      name: 'both',
      inputs: [
        { name: 'a', datatype: 'FP32', shape: [2, -1] },
        { name: 'b', datatype: 'FP32', shape: [-1, 2] },
      ],
      outputs: [
        { name: 'ab', datatype: 'FP32', shape: [2, 2] },
        { name: 'ba', datatype: 'FP32', shape: [-1, -1] },
      ],
      predict: both,
    },
  ]);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      post(inferUrl(url, 'classify'), {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [i / 10, 0.5] }],
      }),
    ),
  );
  for (const [i, { body }] of answers.entries()) {
    const logits = [i / 10, 1, -i / 10].map(Math.exp);
    const sum = logits.reduce((a, b) => a + b);
    const { data } = (body as { outputs: { data: number[] }[] }).outputs[0]!;
    for (const [j, logit] of logits.entries()) expect(data[j]).toBeCloseTo(logit / sum, 5);
  }
  const a = { name: 'a', datatype: 'FP32', shape: [2, 1], data: [2, 3] };
  const b = { name: 'b', datatype: 'FP32', shape: [1, 2], data: [5, 7] };
  const answer = await post(inferUrl(url, 'both'), { inputs: [a, b] });
  expect(answer.body).toHaveProperty('outputs', [
    { name: 'ab', datatype: 'FP32', shape: [2, 2], data: [10, 14, 15, 21] },
    { name: 'ba', datatype: 'FP32', shape: [1, 1], data: [31] },
  ]);
});

test('a token that a model does not have is the mistake of the client who sent it', async () => {
  const table = tensor([[1], [2], [3]]);
  const { url } = await start([
    {
      name: 'look',
      inputs: [{ name: 'ids', datatype: 'INT32', shape: [-1, 1] }],
      outputs: [{ name: 'rows', datatype: 'FP32', shape: [-1, 1, 1] }],
      predict: compile((ids: Tensor) => embedding(table, ids)),
    },
  ]);
  const ask = (id: number) =>
    post(inferUrl(url, 'look'), { inputs: [{ name: 'ids', datatype: 'INT32', shape: [1, 1], data: [id] }] });
  const [good, bad, another] = await Promise.all([ask(0), ask(3), ask(2)]);
  expect([good.status, bad.status, another.status]).toEqual([200, 400, 200]);
  expect(bad.body).toMatchObject({ code: 'DT_INDEX_OUT_OF_RANGE' });
  expect((bad.body as { error: string }).error).toContain('received 3 at [0, 0]');
  expect(another.body).toHaveProperty('outputs.0.data', [3]);
});
