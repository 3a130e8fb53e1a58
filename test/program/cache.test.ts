import { add, compile, defaultPool, ones, type Tensor, zeros } from 'drivetrain';
import { expect, test } from 'vitest';

/** A compiled function that counts how often it is recorded. */
function counted() {
  let recordings = 0;
  const f = compile((x: Tensor) => {
    recordings++;
    return add(x, 1);
  });
  return { f, recordings: () => recordings };
}

test('one recording for each shape and dtype, used again by run and runSync', async () => {
  const { f, recordings } = counted();
  for (let i = 0; i < 3; i++) {
    (await f(zeros([2, 3]))).dispose();
    f.runSync(zeros([2, 3])).dispose();
  }
  expect(recordings()).toBe(1);
  expect((await f(zeros([3, 2]))).shape).toEqual([3, 2]);
  expect((await f(zeros([6]))).shape).toEqual([6]);
  expect((await f(zeros([2, 3], { dtype: 'f64' }))).dtype).toBe('f64');
  expect(recordings()).toBe(4);
  expect(f.program(zeros([6]))).toBe(f.program(ones([6])));
  expect(recordings()).toBe(4);
});

test('32 programs are kept, and the least recently used one goes first', () => {
  const { f, recordings } = counted();
  const first = f.program(zeros([1]));
  for (let n = 2; n <= 32; n++) f.program(zeros([n]));
  expect(recordings()).toBe(32);
  expect(f.program(zeros([1]))).toBe(first);
  f.program(zeros([33]));
  expect(f.program(zeros([1]))).toBe(first);
  expect(recordings()).toBe(33);
  f.program(zeros([2]));
  expect(recordings()).toBe(34);
});

test('a program that the cache let go while it runs ends its run', async () => {
  const { f } = counted();
  const run = f(zeros([100_000]));
  for (let n = 1; n <= 64; n++) f.program(zeros([n]));
  expect((await run).toArray()[99_999]).toBe(1);
});

test('near the limit of memory only the latest program is kept', () => {
  const { f, recordings } = counted();
  for (const n of [1, 2, 3]) f.program(zeros([n]));
  const { limit, statistics } = defaultPool;
  const block = zeros([2 ** 20]);
  try {
    defaultPool.limit = (statistics.current + block.storage.byteLength) / 0.9;
    zeros([1]).dispose();
    expect(defaultPool.pressure).toBe('high');
  } finally {
    block.dispose();
    defaultPool.limit = limit;
  }
  f.program(zeros([3]));
  expect(recordings()).toBe(3);
  f.program(zeros([2]));
  expect(recordings()).toBe(4);
});
