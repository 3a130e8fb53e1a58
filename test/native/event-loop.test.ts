import { add, compile, type Tensor, zeros } from 'drivetrain';
import { expect, test } from 'vitest';

const slow = compile((x: Tensor) => {
  let y = x;
  for (let i = 0; i < 800; i++) y = add(y, 1);
  return y;
});

test('the event loop turns while awaited runs are under way', async () => {
  const x = zeros([2 ** 20]);
  let over = false;
  const runs = Promise.all([slow(x), slow(x)]).finally(() => {
    over = true;
  });
  let [turns, longest] = [0, 0];
  for (let last = performance.now(); !over; turns++) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  for (const y of await runs) expect(y.toArray()[1]).toBe(800);
  expect(turns).toBeGreaterThan(100);
  expect(longest).toBeLessThan(2000);
});

test('timers fire and files are read while runs fill every thread', async () => {
  const { readFile } = await import('node:fs/promises');
  const x = zeros([2 ** 20]);
  let over = false;
  const runs = Promise.all(Array.from({ length: 6 }, () => slow(x))).finally(() => {
    over = true;
  });
  let [timers, files] = [0, 0];
  while (!over) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    timers++;
    await readFile(new URL(import.meta.url));
    files++;
  }
  await runs;
  expect(timers).toBeGreaterThan(10);
  expect(files).toBeGreaterThan(10);
});
