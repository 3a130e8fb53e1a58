import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { Batcher } from '../../dist/scheduling/index.js';
import { type Tensor, wrap } from '../../dist/tensor/index.js';
import { sleep } from './support.js';

const MAX_BATCH = 5;
const MAX_QUEUE = 12;

const request = fc.record({
  rows: fc.integer({ min: 1, max: MAX_BATCH + 1 }),
  width: fc.constantFrom(1, 3),
  pauseMs: fc.constantFrom(0, 0, 0, 1),
  abort: fc.constantFrom('never', 'never', 'never', 'at once', 'later'),
  timeoutMs: fc.constantFrom(undefined, undefined, 0, 1),
  fails: fc.constantFrom(false, false, false, true),
});

/** Rows of request `id` hold id, row number, and then nothing; a negative id makes its batch fail. */
test('whatever happens, each request is answered once with its own rows, in order, within the bounds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { maxLength: 40 }),
      fc.constantFrom(0, 2),
      fc.constantFrom(1, 2),
      async (requests, maxWaitMs, concurrency) => {
        const batches: { width: number; ids: number[] }[] = [];
        let running = 0;
        const run = async (batch: Tensor) => {
          const [rows, width] = batch.shape as [number, number];
          const values = batch.toArray() as Float64Array;
          batches.push({ width, ids: Array.from({ length: rows }, (_, i) => values[i * width]!) });
          expect(rows).toBeLessThanOrEqual(MAX_BATCH);
          expect(++running).toBeLessThanOrEqual(concurrency);
          await sleep(rows % 2);
          running--;
          if (values.some((value) => value < 0)) throw new Error('failed on purpose');
          return wrap(
            values.map((value) => value + 0.5),
            [rows, width],
          );
        };
        const registry = new Registry();
        const batcher = new Batcher(run, {
          maxBatchSize: MAX_BATCH,
          maxQueueSize: MAX_QUEUE,
          maxWaitMs,
          concurrency,
          registry,
        });
        const outcomes: Promise<string>[] = [];
        let waitingRows = 0;
        for (const [i, { rows, width, pauseMs, abort, timeoutMs, fails }] of requests.entries()) {
          const id = fails ? -(i + 1) : i + 1;
          const controller = new AbortController();
          if (abort === 'at once') controller.abort();
          const answer = batcher.run(wrap(new Float64Array(rows * width).fill(id), [rows, width]), {
            signal: controller.signal,
            ...(timeoutMs !== undefined && { timeoutMs }),
          });
          let settled = 0;
          outcomes.push(
            answer.then(
              (output) => {
                settled++;
                expect(output.shape).toEqual([rows, width]);
                expect([...(output.toArray() as Float64Array)]).toEqual(
                  new Array(rows * width).fill(id + 0.5),
                );
                return 'ok';
              },
              (error: Error & { code?: string }) => {
                settled++;
                return error.code ?? error.message;
              },
            ),
          );
          void answer.catch(() => {}).then(() => expect(settled).toBe(1));
          waitingRows = Number(/drivetrain_queue_size_rows\{.*\} (\d+)/.exec(registry.expose())![1]);
          expect(waitingRows).toBeLessThanOrEqual(MAX_QUEUE);
          if (abort === 'later') setImmediate(() => controller.abort());
          if (pauseMs > 0) await sleep(pauseMs);
        }
        await batcher.close();
        const seen = await Promise.all(outcomes);
        expect([batcher.size, batcher.inFlight]).toEqual([0, 0]);

        const ran = new Set(batches.flatMap(({ ids }) => ids.map(Math.abs)));
        for (const [i, { rows, abort, timeoutMs, fails }] of requests.entries()) {
          if (rows > MAX_BATCH && abort !== 'at once') expect(seen[i]).toBe('DT_BATCH_TOO_LARGE');
          if (abort === 'at once') expect(seen[i]).toBe('DT_ABORTED');
          if (seen[i] === 'ok') expect([fails, ran.has(i + 1)]).toEqual([false, true]);
          if (seen[i] === 'DT_ABORTED') expect(abort).not.toBe('never');
          if (seen[i] === 'DT_DEADLINE') expect(timeoutMs).toBeDefined();
          if (['DT_QUEUE_FULL', 'DT_DEADLINE', 'DT_BATCH_TOO_LARGE'].includes(seen[i]!)) {
            expect(ran.has(i + 1)).toBe(false);
          }
          expect([
            'ok',
            'DT_ABORTED',
            'DT_DEADLINE',
            'DT_QUEUE_FULL',
            'DT_BATCH_TOO_LARGE',
            'failed on purpose',
          ]).toContain(seen[i]);
        }
        for (const width of [1, 3]) {
          const order = batches
            .filter((batch) => batch.width === width)
            .flatMap(({ ids }) => ids.map(Math.abs));
          expect(order).toEqual([...order].sort((a, b) => a - b));
        }
        const counted = [...registry.expose().matchAll(/drivetrain_batcher_requests_total\{.*\} (\d+)/g)];
        expect(counted.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(requests.length);
      },
    ),
    { numRuns: 150 },
  );
});

test('a steady stream of one shape does not starve another', async () => {
  let batches = 0;
  const run = async (batch: Tensor) => {
    batches++;
    await sleep(1);
    return wrap(batch.toArray(), batch.shape);
  };
  const batcher = new Batcher(run, { maxBatchSize: 4, registry: new Registry() });
  let streaming = true;
  const caller = async () => {
    while (streaming) await batcher.run(new Float32Array(1));
  };
  const callers = Array.from({ length: 32 }, caller);
  await sleep(10);
  const before = batches + Math.ceil(batcher.size / 4);
  await batcher.run(new Float32Array(2));
  // It may find one batch in flight, and the batches of what had come before it, but no more.
  expect(batches - before).toBeLessThanOrEqual(2);
  streaming = false;
  await Promise.all(callers);
});
