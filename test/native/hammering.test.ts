import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { device } from 'drivetrain';
import { afterAll, expect, test } from 'vitest';
import { rounds } from './fixtures/workload.mjs';
import { fixture } from './support.js';

const { threads, sanitized } = device.info();
afterAll(() => device.setThreads(threads));

// The address sanitizer, which sees each round alike, makes one take twenty times as long; races are the other one's.
const ROUNDS = sanitized ? 2 : 6;

test('two workers and the main thread hammer the pool, with the bits of one thread alone', async () => {
  device.setThreads(1);
  const serial = await rounds(ROUNDS);
  const workers = [1, 2].map(() => new Worker(fixture('hammer.mjs')));
  for (const count of [2, 3, 8]) {
    device.setThreads(count);
    const answers = workers.map(async (worker) => {
      worker.postMessage(ROUNDS);
      return (await once(worker, 'message'))[0];
    });
    expect(await rounds(ROUNDS)).toBe(serial);
    expect(await Promise.all(answers)).toEqual([serial, serial]);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test('workers are terminated while they and the main thread hammer the pool', async () => {
  device.setThreads(2);
  const serial = await rounds(1);
  for (let round = 0; round < 6; round++) {
    const worker = new Worker(fixture('hammer.mjs'));
    await once(worker, 'online');
    worker.postMessage(1000);
    const own = rounds(1);
    await new Promise((resolve) => setTimeout(resolve, round * 7));
    const ended = worker.terminate();
    expect(await own).toBe(serial);
    expect(await ended).toBe(1);
  }
});
