import { describe, expect, test, vi } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { Batcher } from '../../dist/scheduling/index.js';
import { defaultPool, type Tensor, wrap } from '../../dist/tensor/index.js';
import { Gate, row, sampleOf, sleep, turns } from './support.js';

const double = async (batch: Tensor) =>
  wrap(
    (batch.toArray() as Float32Array).map((value) => value * 2),
    batch.shape,
  );

const rejected = (code: string) => expect.objectContaining({ name: 'DrivetrainError', code });

function gated(options: ConstructorParameters<typeof Batcher>[1] = {}) {
  const gate = new Gate();
  return { gate, batcher: new Batcher(gate.run, { registry: new Registry(), ...options }) };
}

describe('an answer', () => {
  test('holds the rows of its own request, in a shape like the input', async () => {
    const batcher = new Batcher(double, { registry: new Registry() });
    const answers = await Promise.all([
      batcher.run(row(1, 2)),
      batcher.run(wrap(row(3, 4, 5, 6), [2, 2])),
      batcher.run(wrap(row(7, 8), [1, 2])),
    ]);
    expect(answers.map(({ shape }) => shape)).toEqual([
      [1, 2],
      [2, 2],
      [1, 2],
    ]);
    expect(answers.map((answer) => [...(answer.toArray() as Float32Array)])).toEqual([
      [2, 4],
      [6, 8, 10, 12],
      [14, 16],
    ]);
  });

  test('is memory of its own: no neighbour shows in its buffer', async () => {
    const batcher = new Batcher(double, { registry: new Registry() });
    const answers = await Promise.all([batcher.run(row(1)), batcher.run(row(2)), batcher.run(row(3))]);
    for (const answer of answers) expect(answer.borrow().buffer.byteLength).toBe(4);
    expect(new Set(answers.map((answer) => answer.borrow().buffer)).size).toBe(3);
  });

  test('does not change when the caller writes to the input after run() returned', async () => {
    const batcher = new Batcher(double, { registry: new Registry() });
    const input = row(1);
    const first = batcher.run(input);
    input[0] = 10;
    const second = batcher.run(wrap(input, [1, 1]));
    input[0] = 100;
    expect([...(await Promise.all([first, second]))].map((answer) => answer.toArray()[0])).toEqual([2, 20]);
  });

  test('keeps the dtype of the output, whatever it is', async () => {
    const argmax = async (batch: Tensor) =>
      wrap(new BigInt64Array(batch.shape[0]!).fill(7n), [batch.shape[0]!]);
    const batcher = new Batcher(argmax, { registry: new Registry() });
    const [a, b] = await Promise.all([batcher.run(row(1, 2)), batcher.run(wrap(row(1, 2, 3, 4), [2, 2]))]);
    expect([a!.dtype, a!.shape, a!.toArray()]).toEqual(['i64', [1], BigInt64Array.of(7n)]);
    expect([b!.shape, b!.toArray()]).toEqual([[2], BigInt64Array.of(7n, 7n)]);
  });

  test('may have another row shape than the input', async () => {
    const sum = async (batch: Tensor) => wrap(new Float32Array(batch.shape[0]! * 6), [batch.shape[0]!, 3, 2]);
    const batcher = new Batcher(sum, { registry: new Registry() });
    const answers = await Promise.all([batcher.run(row(1)), batcher.run(row(1))]);
    expect(answers.map(({ shape }) => shape)).toEqual([
      [1, 3, 2],
      [1, 3, 2],
    ]);
  });

  test('is given for a Node Buffer, whose slices share memory, as for any other bytes', async () => {
    const echo = async (batch: Tensor) => wrap(batch.toArray(), batch.shape);
    const batcher = new Batcher(echo, { registry: new Registry() });
    const input = Buffer.from([1, 2, 3]);
    const answer = batcher.run(input);
    input.fill(9);
    expect([...((await answer).toArray() as Uint8Array)]).toEqual([1, 2, 3]);
  });
});

describe('the result of run', () => {
  test('is disposed once it is copied', async () => {
    const disposed = vi.fn();
    const watched = async (batch: Tensor) => {
      const output = await double(batch);
      output.storage.dispose = disposed;
      return output;
    };
    await new Batcher(watched, { registry: new Registry() }).run(row(1));
    expect(disposed).toHaveBeenCalledTimes(1);
  });

  test.each<[string, (batch: Tensor) => unknown, string]>([
    ['fewer rows than the batch', () => wrap(row(1), [1, 1]), 'DT_SHAPE_MISMATCH'],
    ['a scalar', () => wrap(row(1), []), 'DT_SHAPE_MISMATCH'],
    ['nothing', () => undefined, 'DT_INVALID_ARGUMENT'],
  ])('fails the requests of the batch when it is %s', async (_, result, code) => {
    const batcher = new Batcher(async (batch) => result(batch) as Tensor, { registry: new Registry() });
    const answers = await Promise.allSettled([batcher.run(row(1)), batcher.run(row(2))]);
    expect(answers.map((answer) => (answer as PromiseRejectedResult).reason)).toEqual([
      rejected(code),
      rejected(code),
    ]);
  });
});

describe('a batch', () => {
  test('is sent alone and at once when nothing else is there', async () => {
    const { gate, batcher } = gated({ maxWaitMs: 10_000 });
    const answer = batcher.run(row(1));
    await turns(1);
    expect(gate.batches).toEqual([[1]]);
    await gate.release();
    await answer;
  });

  test('takes everything that came in one turn of the event loop', async () => {
    const { gate, batcher } = gated();
    for (const value of [1, 2, 3]) {
      void batcher.run(row(value));
      await Promise.resolve();
      await new Promise<void>((resolve) => process.nextTick(resolve));
    }
    await turns(1);
    expect(gate.batches).toEqual([[1, 2, 3]]);
    await gate.release();
  });

  test('gathers while another is in flight, in the order of arrival, up to maxBatchSize rows', async () => {
    const { gate, batcher } = gated({ maxBatchSize: 3 });
    void batcher.run(row(0));
    await turns();
    for (const value of [1, 2, 3, 4]) {
      void batcher.run(row(value));
      await turns(1);
    }
    expect(gate.batches).toEqual([[0]]);
    await gate.release();
    await gate.release();
    expect(gate.batches).toEqual([[0], [1, 2, 3], [4]]);
    await gate.release();
  });

  test('never splits a request, and nobody of the same shape overtakes one that does not fit', async () => {
    const { gate, batcher } = gated({ maxBatchSize: 3 });
    void batcher.run(wrap(row(1, 1), [2, 1]));
    void batcher.run(wrap(row(2, 2), [2, 1]));
    void batcher.run(row(3));
    await turns();
    await gate.release();
    expect(gate.batches).toEqual([
      [1, 1],
      [2, 2, 3],
    ]);
    await gate.release();
  });

  test('holds one row shape and one dtype, and the oldest request decides which comes next', async () => {
    const { gate, batcher } = gated();
    void batcher.run(row(0));
    await turns();
    void batcher.run(row(1, 1));
    await sleep(2);
    void batcher.run(row(2));
    await sleep(2);
    void batcher.run(row(3, 3));
    void batcher.run(Float64Array.of(4, 4));
    for (let i = 0; i < 4; i++) await gate.release();
    expect(gate.batches).toEqual([[0], [1, 3], [2], [4]]);
  });

  test('takes back callers who send their next request as soon as they are answered', async () => {
    const { gate, batcher } = gated();
    const caller = async (value: number) => {
      for (let i = 0; i < 3; i++) await batcher.run(row(value));
    };
    const callers = [caller(1)];
    await turns();
    callers.push(caller(2), caller(3));
    for (let i = 0; i < 4; i++) await gate.release();
    expect(gate.batches).toEqual([[1], [2, 3, 1], [2, 3, 1], [2, 3]]);
    await Promise.all(callers);
  });

  test('runs beside others, up to concurrency', async () => {
    const { gate, batcher } = gated({ concurrency: 2, maxBatchSize: 1 });
    for (const value of [1, 2, 3]) void batcher.run(row(value));
    await turns();
    expect(gate.batches).toEqual([[1], [2]]);
    expect([batcher.inFlight, batcher.size]).toEqual([2, 1]);
    for (let i = 0; i < 3; i++) await gate.release();
    expect([gate.most, batcher.inFlight, batcher.size]).toEqual([2, 0, 0]);
  });
});

describe('maxWaitMs', () => {
  /** Leaves the batcher idle after a batch of two requests: load is evident. */
  async function underLoad(maxWaitMs: number) {
    const { gate, batcher } = gated({ maxWaitMs, maxBatchSize: 3 });
    void batcher.run(row(0));
    void batcher.run(row(0));
    await turns();
    await gate.release();
    return { gate, batcher };
  }

  test('lets a batch wait for company under load, that long from its oldest request', async () => {
    const { gate, batcher } = await underLoad(400);
    const startedAt = performance.now();
    void batcher.run(row(1));
    await sleep(20);
    void batcher.run(row(2));
    expect(gate.batches).toHaveLength(1);
    await vi.waitFor(
      () =>
        expect(gate.batches).toEqual([
          [0, 0],
          [1, 2],
        ]),
      { interval: 1, timeout: 5000 },
    );
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(399);
    await gate.release();
  });

  test('does not hold back a full batch', async () => {
    const { gate, batcher } = await underLoad(10_000);
    for (const value of [1, 2, 3]) void batcher.run(row(value));
    await turns();
    expect(gate.batches[1]).toEqual([1, 2, 3]);
    await gate.release();
  });

  test('does not hold back a full batch behind an older one that waits', async () => {
    const { gate, batcher } = await underLoad(10_000);
    void batcher.run(row(9, 9));
    await sleep(2);
    for (const value of [1, 2, 3]) void batcher.run(row(value));
    await turns();
    expect(gate.batches[1]).toEqual([1, 2, 3]);
    void batcher.close();
    await gate.release();
    await gate.release();
    expect(gate.batches[2]).toEqual([9]);
  });

  test('ends with the load: after a batch of one nothing waits', async () => {
    const { gate, batcher } = await underLoad(5);
    void batcher.run(row(1));
    await vi.waitFor(() => expect(gate.batches).toHaveLength(2));
    await gate.release();
    void batcher.run(row(2));
    await turns(1);
    expect(gate.batches).toHaveLength(3);
    await gate.release();
  });

  test('ends with close()', async () => {
    const { gate, batcher } = await underLoad(10_000);
    void batcher.run(row(1));
    await turns();
    expect(gate.batches).toHaveLength(1);
    const closed = batcher.close();
    await turns();
    await gate.release();
    await closed;
  });
});

describe('the queue', () => {
  test('is bounded in rows: past maxQueueSize a request is refused at once', async () => {
    const { gate, batcher } = gated({ maxBatchSize: 2, maxQueueSize: 3 });
    void batcher.run(row(0));
    await turns();
    const accepted = [batcher.run(wrap(row(1, 1), [2, 1])), batcher.run(row(2))];
    await expect(batcher.run(row(3))).rejects.toEqual(rejected('DT_QUEUE_FULL'));
    await gate.release();
    accepted.push(batcher.run(row(4)));
    while (gate.batches.length < 3) await gate.release();
    await gate.release();
    await Promise.all(accepted);
    expect(gate.batches).toEqual([[0], [1, 1], [2, 4]]);
  });

  test('refuses a request that no batch can hold', async () => {
    const { batcher } = gated({ maxBatchSize: 2 });
    await expect(batcher.run(wrap(row(1, 2, 3), [3, 1]))).rejects.toEqual(rejected('DT_BATCH_TOO_LARGE'));
  });

  test.each([
    ['a scalar', wrap(row(1), [])],
    ['no rows', wrap(row(), [0, 4])],
  ])('refuses %s', async (_, input) => {
    await expect(gated().batcher.run(input)).rejects.toEqual(rejected('DT_SHAPE_MISMATCH'));
  });

  test('refuses what is neither a tensor nor a typed array', async () => {
    await expect(gated().batcher.run([1, 2] as never)).rejects.toEqual(rejected('DT_INVALID_ARGUMENT'));
  });

  test('refuses bare 16-bit elements, which do not say whether they are f16 or bf16', async () => {
    await expect(gated().batcher.run(new Uint16Array(2))).rejects.toEqual(rejected('DT_DTYPE_MISMATCH'));
  });
});

describe('a deadline', () => {
  test('fails a request that waits too long, by timer, and frees its place', async () => {
    const { gate, batcher } = gated({ maxBatchSize: 1, maxQueueSize: 1, timeoutMs: 10 });
    void batcher.run(row(0), { timeoutMs: 60_000 });
    await turns();
    await expect(batcher.run(row(1))).rejects.toEqual(rejected('DT_DEADLINE'));
    expect(batcher.size).toBe(0);
    const next = batcher.run(row(2), { timeoutMs: 10_000 });
    await gate.release();
    await gate.release();
    await next;
    expect(gate.batches).toEqual([[0], [2]]);
  });

  test('is checked on the way into a batch, even when no timer could fire before', async () => {
    const { gate, batcher } = gated();
    void batcher.run(row(0));
    await turns();
    const late = batcher.run(row(1), { timeoutMs: 5 });
    const patient = batcher.run(row(2));
    const until = performance.now() + 10;
    while (performance.now() < until);
    void gate.release();
    await expect(late).rejects.toEqual(rejected('DT_DEADLINE'));
    await turns();
    await gate.release();
    await patient;
    expect(gate.batches).toEqual([[0], [2]]);
  });

  test('no longer counts once the request is in flight', async () => {
    const { gate, batcher } = gated();
    const answer = batcher.run(row(1), { timeoutMs: 200 });
    await turns();
    await sleep(250);
    await gate.release();
    await answer;
  });

  test('beyond the longest timer is none at all', async () => {
    const { gate, batcher } = gated();
    const answer = batcher.run(row(1), { timeoutMs: 1e12 });
    await sleep(5);
    await gate.release();
    await answer;
  });
});

describe('an AbortSignal', () => {
  test('takes a waiting request out of the queue', async () => {
    const { gate, batcher } = gated();
    void batcher.run(row(0));
    await turns();
    const controller = new AbortController();
    const answer = batcher.run(row(1), { signal: controller.signal });
    expect(batcher.size).toBe(1);
    controller.abort('enough');
    expect(batcher.size).toBe(0);
    await expect(answer).rejects.toEqual(rejected('DT_ABORTED'));
    await expect(answer).rejects.toHaveProperty('cause', 'enough');
    await gate.release();
    expect(gate.batches).toEqual([[0]]);
  });

  test('ends the wait for a request in flight, whose batch goes on', async () => {
    const { gate, batcher } = gated();
    const controller = new AbortController();
    const answer = batcher.run(row(1), { signal: controller.signal });
    const other = batcher.run(row(2));
    await turns();
    controller.abort();
    await expect(answer).rejects.toEqual(rejected('DT_ABORTED'));
    await gate.release();
    expect((await other).toArray()[0]).toBe(2);
  });

  test('that was aborted before refuses the request', async () => {
    await expect(gated().batcher.run(row(1), { signal: AbortSignal.abort() })).rejects.toEqual(
      rejected('DT_ABORTED'),
    );
  });

  test('shared by many requests leaves no listener and no warning behind', async () => {
    const { signal } = new AbortController();
    const remove = vi.spyOn(signal, 'removeEventListener');
    const warned = vi.fn();
    process.on('warning', warned);
    const batcher = new Batcher(double, { registry: new Registry() });
    await Promise.all(Array.from({ length: 50 }, () => batcher.run(row(1), { signal })));
    await turns();
    process.off('warning', warned);
    expect(remove).toHaveBeenCalledTimes(50);
    expect(warned).not.toHaveBeenCalled();
  });
});

describe('a run that fails', () => {
  test.each([
    ['rejects', async () => Promise.reject(new Error('boom'))],
    [
      'throws',
      () => {
        throw new Error('boom');
      },
    ],
  ])('because it %s rejects every request of its batch, and the batcher goes on', async (_, fail) => {
    let fails = true;
    const batcher = new Batcher((batch) => (fails ? fail() : double(batch)), { registry: new Registry() });
    const answers = await Promise.allSettled([batcher.run(row(1)), batcher.run(row(2))]);
    expect(answers.map((answer) => String((answer as PromiseRejectedResult).reason))).toEqual([
      'Error: boom',
      'Error: boom',
    ]);
    fails = false;
    expect((await batcher.run(row(3))).toArray()[0]).toBe(6);
  });
});

describe('close', () => {
  test('refuses new requests, and resolves when all that were accepted are answered', async () => {
    const { gate, batcher } = gated({ maxBatchSize: 1 });
    const answered: number[] = [];
    for (const value of [1, 2]) void batcher.run(row(value)).then(() => answered.push(value));
    await turns();
    const closed = batcher.close().then(() => answered.push(0));
    await expect(batcher.run(row(3))).rejects.toEqual(rejected('DT_CLOSED'));
    await gate.release();
    expect(answered).toEqual([1]);
    await gate.release();
    await closed;
    expect(answered).toEqual([1, 2, 0]);
  });

  test('without drain rejects what waits, and still waits for what is in flight', async () => {
    const { gate, batcher } = gated();
    const inFlight = batcher.run(row(1));
    await turns();
    const waiting = expect(batcher.run(row(2))).rejects.toEqual(rejected('DT_CLOSED'));
    let done = false;
    const closed = batcher.close({ drain: false }).then(() => {
      done = true;
    });
    await waiting;
    await turns();
    expect(done).toBe(false);
    await gate.release();
    await Promise.all([inFlight, closed]);
  });

  test('resolves at once when there is nothing to do, and as often as it is called', async () => {
    const { batcher } = gated();
    await Promise.all([batcher.close(), batcher.close()]);
    await batcher.close();
  });
});

test.each([
  [{ maxBatchSize: 0 }],
  [{ maxBatchSize: 1.5 }],
  [{ maxQueueSize: 10 }],
  [{ maxWaitMs: -1 }],
  [{ maxWaitMs: Number.NaN }],
  [{ timeoutMs: -1 }],
  [{ concurrency: 0 }],
])('the options %o are refused', (options) => {
  expect(() => new Batcher(double, options)).toThrow(rejected('DT_INVALID_ARGUMENT'));
});

test('the metrics tell sizes, ages, reasons, rows waiting, outcomes and durations', async () => {
  const registry = new Registry();
  const { gate, batcher } = gated({
    registry,
    name: 'digits',
    maxBatchSize: 2,
    maxWaitMs: 5,
    maxQueueSize: 3,
  });
  const value = (name: string, labels = '') =>
    sampleOf(registry.expose(), `${name}{batcher="digits"${labels}}`);
  const answers = [batcher.run(row(1))];
  await turns();
  answers.push(batcher.run(row(2)), batcher.run(row(3)), batcher.run(row(4)));
  expect(value('drivetrain_queue_size_rows')).toBe(3);
  await expect(batcher.run(row(5))).rejects.toEqual(rejected('DT_QUEUE_FULL'));
  await gate.release();
  await gate.release();
  await vi.waitFor(() => expect(gate.batches).toHaveLength(3));
  await gate.release();
  await Promise.all(answers);
  expect(value('drivetrain_queue_size_rows')).toBe(0);
  expect(value('drivetrain_batch_size_rows_bucket', ',le="1"')).toBe(2);
  expect(value('drivetrain_batch_size_rows_sum')).toBe(4);
  expect(value('drivetrain_batch_dispatches_total', ',reason="idle"')).toBe(1);
  expect(value('drivetrain_batch_dispatches_total', ',reason="full"')).toBe(1);
  expect(value('drivetrain_batch_dispatches_total', ',reason="wait"')).toBe(1);
  expect(value('drivetrain_queue_age_seconds_count')).toBe(4);
  expect(value('drivetrain_batch_execution_seconds_count')).toBe(3);
  expect(value('drivetrain_request_execution_seconds_total')).toBeGreaterThan(0);
  expect(value('drivetrain_batcher_requests_total', ',outcome="ok"')).toBe(4);
  expect(value('drivetrain_batcher_requests_total', ',outcome="queue_full"')).toBe(1);
});

describe('near the limit of the default pool', () => {
  test('batches are smaller, never split a request, and are whole again when there is room', async () => {
    const { limit } = defaultPool;
    const sizes: number[] = [];
    const registry = new Registry();
    const batcher = new Batcher(
      (batch) => {
        sizes.push(batch.shape[0]!);
        return double(batch);
      },
      { maxBatchSize: 8, registry },
    );
    /** The sizes of batches of requests of so many rows, with so much of the pool in use; and what the metric said. */
    const batchesAt = async (share: number, rows: readonly number[]) => {
      defaultPool.limit = Math.ceil((defaultPool.statistics.current + 2 ** 20) / share);
      const held = defaultPool.allocate(2 ** 20);
      sizes.length = 0;
      await Promise.all(rows.map((count) => batcher.run(wrap(new Float32Array(count), [count, 1]))));
      held.dispose();
      return [sampleOf(registry.expose(), 'drivetrain_batch_limit_rows{batcher="default"}'), ...sizes];
    };
    try {
      expect(await batchesAt(0.5, [2, 2, 2, 2])).toEqual([8, 8]);
      expect(await batchesAt(0.85, [2, 2, 2, 2])).toEqual([4, 4, 4]);
      expect(await batchesAt(0.97, [1, 1, 5, 1])).toEqual([2, 2, 5, 1]);
      expect(await batchesAt(0.5, [2, 2, 2, 2])).toEqual([8, 8]);
    } finally {
      defaultPool.limit = limit;
    }
  });
});
