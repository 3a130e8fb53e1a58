import { add, assign, compile, defaultPool, matmul, ones, type Tensor, tensor, zeros } from 'drivetrain';
import { expect, test } from 'vitest';
import { big, failure, slowly, turn } from './support.js';

/** Fills whatever memory is free below a mebibyte or two: a block recycled too early would show it. */
const scribble = () => {
  for (let i = 0; i < 8; i++) add(tensor(new Float32Array(2 ** 16).fill(NaN)), 1).dispose();
};

test('an input that is disposed while a run uses it stays until the run ends', async () => {
  const x = ones([2 ** 16]);
  const run = compile((y: Tensor, late: Tensor) => [slowly(late, 200), add(y, 1)] as const)(x, big());
  x.dispose();
  expect(x.disposed).toBe(true);
  scribble();
  const [, y] = await run;
  expect(y.toArray().every((value) => value === 2)).toBe(true);
});

test('a captured tensor that is disposed while a run uses it stays until the run ends', async () => {
  const w = ones([2 ** 16]);
  const run = compile((late: Tensor) => [slowly(late, 200), add(w, 1)] as const)(big());
  w.dispose();
  scribble();
  const [, y] = await run;
  expect(y.toArray().every((value) => value === 2)).toBe(true);
});

test('a tensor that a run writes may be disposed meanwhile: no other tensor gets the writes', async () => {
  const w = zeros([2 ** 16]);
  const run = compile((late: Tensor) => {
    const value = slowly(late, 200);
    assign(w, ones(w.shape));
    return value;
  })(big());
  w.dispose();
  const others = Array.from({ length: 32 }, () => zeros([2 ** 16]));
  await run;
  for (const other of others) {
    expect(other.toArray().every((value) => value === 0)).toBe(true);
    other.dispose();
  }
});

test('the block of a disposed tensor is free once the run has ended', async () => {
  const x = ones([2 ** 16]);
  const f = compile((y: Tensor) => add(y, 1));
  (await f(x)).dispose();
  const { current } = defaultPool.statistics;
  const run = f(x);
  x.dispose();
  (await run).dispose();
  expect(defaultPool.statistics.current).toBeLessThanOrEqual(current - 4 * 2 ** 16);
});

test('a scope that ends while a run is under way takes nothing from under it', async () => {
  const run = defaultPool.scope(() => {
    const x = ones([2 ** 16]);
    return { run: compile((y: Tensor, late: Tensor) => [slowly(late, 100), add(y, 1)] as const)(x, big()) };
  }).run;
  scribble();
  const [, y] = await run;
  // The outputs were made inside the scope as well, which has ended.
  await failure('DT_DISPOSED', () => y.toArray());
});

test('a compiled function whose captured tensor was disposed refuses to run', async () => {
  const w = ones([4, 4]);
  const f = compile((x: Tensor) => matmul(x, w));
  (await f(ones([4, 4]))).dispose();
  w.dispose();
  const { message } = await failure('DT_DISPOSED', () => f(ones([4, 4])));
  expect(message).toContain('disposed');
  await failure('DT_DISPOSED', () => f.runSync(ones([4, 4])));
  await failure('DT_DISPOSED', () => f(ones([2, 4])));
});

test('a disposed input is refused', async () => {
  const f = compile((x: Tensor) => add(x, 1));
  const x = ones([4]);
  (await f(x)).dispose();
  x.dispose();
  await failure('DT_DISPOSED', () => f(x));
  await failure('DT_DISPOSED', () => f.runSync(x));
});

test('disposing twice, or disposing a result of a run, is harmless', async () => {
  const y = await compile((x: Tensor) => add(x, 1))(ones([4]));
  y.dispose();
  y.dispose();
  await turn();
  expect(y.disposed).toBe(true);
});
