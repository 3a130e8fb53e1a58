import {
  AdamW,
  add,
  compile,
  defaultPool,
  grad,
  MemoryPool,
  matmul,
  mean,
  ones,
  type Tensor,
} from 'drivetrain';
import { afterEach, expect, test } from 'vitest';
import { bits, failure } from './support.js';

const { limit } = defaultPool;
afterEach(() => {
  defaultPool.limit = limit;
});

/** What tests have made: were it collected during another test, there would be more room than that one says. */
const kept: unknown[] = [];

function trainer() {
  const w = ones([256, 256]);
  const adam = new AdamW([w]);
  const step = compile((x: Tensor) => {
    const loss = mean(matmul(x, w));
    adam.step(grad(loss, [w]));
    return loss;
  });
  const state = () => [w, ...Object.values(adam.stateDict())].map(bits);
  kept.push(w, adam, step);
  return { step, state };
}

for (const way of ['run', 'runSync'] as const) {
  test(`at the limit ${way} leaks nothing and leaves all state as it was`, async () => {
    const { step, state } = trainer();
    const x = ones([256, 256]);
    kept.push(x);
    const call = () => (way === 'run' ? step(x) : step.runSync(x));
    (await call()).dispose();
    const before = state();
    const { current, blocks, failures } = defaultPool.statistics;
    // From no room at all to all but enough: the limit meets the output, then the arena.
    for (const room of [0, 63, 64, 128, 1024, 16 * 1024]) {
      defaultPool.limit = current + Math.max(room, 1);
      await failure('DT_POOL_LIMIT', call);
      expect(defaultPool.statistics).toMatchObject({ current, blocks });
      expect(state()).toEqual(before);
    }
    expect(defaultPool.statistics.failures).toBe(failures + 6);
    defaultPool.limit = limit;
    (await call()).dispose();
    expect(state()).not.toEqual(before);
    expect(defaultPool.statistics).toMatchObject({ current, blocks });
  });
}

test('at the limit an eager op leaks nothing', async () => {
  const x = ones([1000]);
  kept.push(x);
  const { current, blocks } = defaultPool.statistics;
  defaultPool.limit = current + 64;
  await failure('DT_POOL_LIMIT', () => add(x, x));
  expect(defaultPool.statistics).toMatchObject({ current, blocks });
});

test('a synchronous loop that disposes nothing ends in DT_POOL_LIMIT, whose message names the remedies', async () => {
  const pool = new MemoryPool({ limit: 2 ** 20 });
  const { message } = await failure('DT_POOL_LIMIT', () =>
    pool.scope(() => {
      let x = ones([1024]);
      for (let i = 0; i < 10_000; i++) x = add(x, 1);
      return x;
    }),
  );
  expect(message).toContain('Dispose tensors');
  expect(message).toContain('pool.scope');
  expect(message).toContain('pool.limit');
  expect(pool.statistics.current).toBe(0);
});

test('the same without any scope ends the same way, and the memory comes back with the event loop', async () => {
  defaultPool.limit = defaultPool.statistics.current + 2 ** 20;
  await failure('DT_POOL_LIMIT', () => {
    let x = ones([1024]);
    for (let i = 0; i < 10_000; i++) x = add(x, 1);
  });
});
