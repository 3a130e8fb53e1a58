import { add, compile, defaultPool, matmul, ones, relu, type Tensor, zeros } from 'drivetrain';
import { expect, test } from 'vitest';
import { turn, watchPool } from './support.js';

const ITERATIONS = 10_000;
const MEBIBYTE = 2 ** 20;
/** What V8 (and a sanitizer) may take meanwhile; the tensors of one loop would be six times that. */
const ALLOWED = 300 * MEBIBYTE;

async function growth(iterate: () => void): Promise<number> {
  for (let i = 0; i < 200; i++) iterate();
  await turn();
  const before = process.memoryUsage().rss;
  const expectNoMore = watchPool();
  for (let i = 0; i < ITERATIONS; i++) iterate();
  expectNoMore();
  return process.memoryUsage().rss - before;
}

const a = ones([128, 64]);
const b = ones([64, 128]);
const layer = (x: Tensor) => relu(add(matmul(x, b), 1));

test('10,000 iterations in a synchronous loop inside a scope', async () => {
  expect(await growth(() => defaultPool.scope(() => void layer(a)))).toBeLessThan(ALLOWED);
});

test('10,000 iterations whose scope returns a tensor that is disposed later', async () => {
  expect(await growth(() => defaultPool.scope(() => layer(a)).dispose())).toBeLessThan(ALLOWED);
});

test('10,000 iterations with dispose alone', async () => {
  expect(
    await growth(() => {
      const x = zeros([128, 128]);
      add(x, x).dispose();
      x.dispose();
    }),
  ).toBeLessThan(ALLOWED);
});

test('10,000 runs of a program on the calling thread', async () => {
  const f = compile(layer);
  expect(await growth(() => f.runSync(a).dispose())).toBeLessThan(ALLOWED);
});

test('1,000 awaited runs, one after the other', async () => {
  const f = compile(layer);
  for (let i = 0; i < 50; i++) (await f(a)).dispose();
  const expectNoMore = watchPool();
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 1000; i++) (await f(a)).dispose();
  expectNoMore();
  expect(process.memoryUsage().rss - before).toBeLessThan(ALLOWED);
});

test('the pages of a working set above one slab stay with the pool between iterations', () => {
  const keep = zeros([3 * MEBIBYTE]);
  const use = () => zeros([3 * MEBIBYTE]).dispose();
  use();
  const { reserved } = defaultPool.statistics;
  const faults = process.resourceUsage().minorPageFault;
  for (let i = 0; i < 50; i++) use();
  expect(defaultPool.statistics.reserved).toBeLessThanOrEqual(reserved);
  // 12 MiB are 3,072 pages: given back and faulted in each time, that would be 150,000 faults.
  expect(process.resourceUsage().minorPageFault - faults).toBeLessThan(10_000);
  keep.dispose();
});
