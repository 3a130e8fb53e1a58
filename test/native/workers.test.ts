import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { add, assign, compile, type DrivetrainError, matmul, ones, tensor, zeros } from 'drivetrain';
import { expect, test } from 'vitest';
import { fixture, runFixture } from './support.js';

const start = () => new Worker(fixture('worker.mjs'));

async function ask(worker: Worker, task: string, argument?: unknown): Promise<unknown> {
  worker.postMessage({ task, argument });
  const [answer] = await once(worker, 'message');
  return answer;
}

test('the main thread and four workers compute at once, with the same bits', async () => {
  const workers = Array.from({ length: 4 }, start);
  const f = compile((x, y) => matmul(x, y));
  const answers = workers.map((worker) => ask(worker, 'compute', 50));
  const x = ones([96, 96]);
  for (let i = 0; i < 100; i++) {
    const y = await f(x, x);
    expect(y.toArray()[17]).toBe(96);
    y.dispose();
  }
  const [first, ...others] = await Promise.all(answers);
  expect(others).toEqual([first, first, first]);
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test('workers are terminated in the middle of their runs while the main thread goes on', async () => {
  const f = compile((x) => matmul(add(x, 1), x));
  const x = ones([128, 128]);
  for (let round = 0; round < 12; round++) {
    const worker = start();
    await ask(worker, 'busy');
    const runs = Array.from({ length: 5 }, () => f(x));
    await new Promise((resolve) => setTimeout(resolve, (round % 6) * 3));
    const ended = worker.terminate();
    for (const run of runs) {
      const y = await run;
      expect(y.toArray()[5]).toBe(256);
      y.dispose();
    }
    expect(await ended).toBe(1);
  }
});

test("workers are terminated in the middle of eager calls on arrays of the caller's", async () => {
  for (let round = 0; round < 25; round++) {
    const worker = start();
    await ask(worker, 'optimise');
    await new Promise((resolve) => setTimeout(resolve, round % 3));
    expect(await worker.terminate()).toBe(1);
  }
});

test('what a terminated worker had locked is free again', async () => {
  const shared = tensor([1, 2, 3, 4]);
  const worker = start();
  expect(await ask(worker, 'write', shared.borrow())).toBe('begun');
  await worker.terminate();
  assign(shared, add(shared, 1));
  // The run ended before it wrote, or after it had written all.
  expect([
    [2, 3, 4, 5],
    [6, 7, 8, 9],
  ]).toContainEqual([...(shared.toArray() as Float32Array)]);
});

test('what a terminated worker had locked for a synchronous read is free again', async () => {
  const shared = zeros([1024, 1024]);
  const write = compile(() => assign(shared, add(shared, 1)));
  for (let round = 0; round < 15; round++) {
    const worker = start();
    expect(await ask(worker, 'read', shared.borrow())).toBe('begun');
    await new Promise((resolve) => setTimeout(resolve, round % 4));
    await worker.terminate();
    assign(shared, add(shared, 1));
    await write();
    expect((shared.toArray() as Float32Array)[7]).toBe(2 * round + 2);
  }
});

test("a view of a tensor that a worker's run writes: the lock is shared", async () => {
  const shared = tensor([1, 2, 3, 4]);
  const worker = start();
  expect(await ask(worker, 'write', shared.borrow())).toBe('begun');
  const written = once(worker, 'message');
  for (const use of [() => shared.toArray(), () => add(shared, 1), () => assign(shared, ones([4]))]) {
    let code: string | undefined;
    try {
      use();
    } catch (error) {
      code = (error as DrivetrainError).code;
    }
    expect(code).toBe('DT_TENSOR_BUSY');
  }
  // A run waits for the other thread's, and sees what it wrote.
  const later = await compile(() => add(shared, 1))();
  expect([...(later.toArray() as Float32Array)]).toEqual([6, 7, 8, 9]);
  expect(await written).toEqual(['written']);
  expect([...(shared.toArray() as Float32Array)]).toEqual([5, 6, 7, 8]);
  await worker.terminate();
});

test('a worker alone loads the addon and goes; the main thread and another worker load it again', async () => {
  const outcome = await runFixture('lone-worker.mjs');
  expect(outcome).toEqual({ code: 0, signal: null, stdout: 'worker worker main worker\n', stderr: '' });
});

test('the process ends while workers are in the middle of their runs', async () => {
  for (const way of ['exit', 'end']) {
    const { code, signal, stderr } = await runFixture('worker-at-exit.mjs', { args: [way] });
    expect({ code, signal, stderr }).toEqual({ code: way === 'exit' ? 3 : 0, signal: null, stderr: '' });
  }
});
