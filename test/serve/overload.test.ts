import { expect, test, vi } from 'vitest';
import { DrivetrainError } from '../../dist/native/index.js';
import type { Tensor } from '../../dist/tensor/index.js';
import { wrap } from '../../dist/tensor/index.js';
import { doubler, inferUrl, Latch, latched, post, start, x } from './support.js';

const turnsOut = (server: { engine: { registry: { expose(): string } } }, sample: RegExp) =>
  vi.waitFor(() => expect(server.engine.registry.expose()).toMatch(sample));

const waiting = (count: number) => new RegExp(`nv_inference_pending_request_count\\{.*\\} ${count}\\n`);

test('requests that come together share a run of the model, and each gets its own rows', async () => {
  const batches: number[] = [];
  const watched = {
    ...doubler,
    predict: async (batch: Tensor) => {
      batches.push(batch.shape[0]!);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return doubler.predict(batch);
    },
  };
  const { url } = await start([watched]);
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => post(inferUrl(url), x([i, -i]))));
  for (const [i, { body }] of answers.entries()) {
    expect((body as { outputs: { data: number[] }[] }).outputs[0]!.data).toEqual([
      2 * i,
      i === 0 ? 0 : -2 * i,
    ]);
  }
  expect(batches.length).toBeLessThan(20);
  expect(batches.reduce((sum, rows) => sum + rows)).toBe(40);
});

test('a full queue answers 503 at once, with Retry-After', async () => {
  const latch = new Latch();
  const { definition, state } = latched(latch, { maxBatchSize: 1, maxQueueSize: 1 });
  const server = await start([definition]);
  const first = post(inferUrl(server.url), x([1, 2]));
  await vi.waitFor(() => expect(state.started).toBe(1));
  const second = post(inferUrl(server.url), x([1, 2]));
  await turnsOut(server, waiting(1));
  const third = await post(inferUrl(server.url), x([1, 2]));
  expect([third.status, third.headers.get('retry-after'), third.body]).toEqual([
    503,
    '1',
    expect.objectContaining({ code: 'DT_QUEUE_FULL' }),
  ]);
  latch.open();
  expect([(await first).status, (await second).status]).toEqual([200, 200]);
});

test.each([
  ['of the model', { timeoutMs: 20 }, undefined],
  ['of the request, in microseconds', {}, 20_000],
  ['of the request, which cannot lengthen that of the model', { timeoutMs: 20 }, 60_000_000],
])('a request that waits past the timeout %s is answered with 504', async (_, batching, timeout) => {
  const latch = new Latch();
  const { definition, state } = latched(latch, batching);
  const { url } = await start([definition]);
  const first = post(inferUrl(url), x([1, 2]));
  await vi.waitFor(() => expect(state.started).toBe(1));
  const second = await post(inferUrl(url), { ...x([1, 2]), parameters: { timeout } });
  expect([second.status, second.body]).toEqual([504, expect.objectContaining({ code: 'DT_DEADLINE' })]);
  latch.open();
  expect((await first).status).toBe(200);
});

test('a client that disconnects takes its waiting request out of the queue', async () => {
  const latch = new Latch();
  const { definition, state } = latched(latch);
  const server = await start([definition]);
  const first = post(inferUrl(server.url), x([1, 2]));
  await vi.waitFor(() => expect(state.started).toBe(1));
  const controller = new AbortController();
  const body = JSON.stringify(x([1, 2]));
  const second = fetch(inferUrl(server.url), { method: 'POST', body, signal: controller.signal });
  await turnsOut(server, waiting(1));
  controller.abort();
  await expect(second).rejects.toThrow();
  await turnsOut(server, waiting(0));
  await turnsOut(server, /requests_total\{model="doubler",version="1",outcome="aborted"\} 1/);
  latch.open();
  expect((await first).status).toBe(200);
  expect(state.started).toBe(1);
});

test('a model that throws is a 500 that keeps the reason for the log, and the server goes on', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  let fails = true;
  const fragile = {
    ...doubler,
    predict: async (batch: Tensor) => {
      if (fails) throw new Error('secret of the house');
      return doubler.predict(batch);
    },
  };
  const { url } = await start([fragile]);
  const answer = await post(inferUrl(url), x([1, 2]));
  expect([answer.status, answer.body]).toEqual([500, expect.objectContaining({ code: 'DT_MODEL_FAILED' })]);
  expect(JSON.stringify(answer.body)).not.toContain('secret');
  expect(String(log.mock.calls[0]![0])).toContain('secret of the house');
  log.mockRestore();
  fails = false;
  expect((await post(inferUrl(url), x([1, 2]))).status).toBe(200);
});

test('a model can refuse its input', async () => {
  const picky = {
    ...doubler,
    predict: async () => {
      throw new DrivetrainError('DT_INVALID_REQUEST', 'Expected something else.');
    },
  };
  const { url } = await start([picky]);
  const answer = await post(inferUrl(url), x([1, 2]));
  expect([answer.status, answer.body]).toEqual([
    400,
    { error: 'Expected something else.', code: 'DT_INVALID_REQUEST' },
  ]);
});

test.each<[string, () => Tensor]>([
  ['another dtype', () => wrap(new Float64Array(2), [1, 2])],
  ['another shape', () => wrap(new Float32Array(3), [1, 3])],
  ['other rows', () => wrap(new Float32Array(4), [2, 2])],
  ['no tensor', () => 1 as never],
])('a model that returns %s than it declared is a 500', async (_, output) => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const { url } = await start([{ ...doubler, predict: async () => output() }]);
  expect((await post(inferUrl(url), x([1, 2]))).status).toBe(500);
  log.mockRestore();
});
