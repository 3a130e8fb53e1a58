import { expect, test } from 'vitest';
import { runFixture } from './support.js';

async function borrow(way: string, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runFixture('borrow.mjs', {
    args: [way],
    flags: ['--expose-gc'],
    env,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as { kept: number; bytes: string[]; value: number | null; values: number };
}

test('a borrowed view keeps the memory when its tensor was collected', async () => {
  expect(await borrow('collected')).toMatchObject({ kept: 1, value: 42, values: 1 });
});

test('a tensor that nobody holds is freed when it was collected', async () => {
  expect(await borrow('forgotten')).toMatchObject({ kept: 0 });
});

for (const way of ['dispose', 'scope']) {
  test(`a borrowed view does not keep the memory past the end of its tensor (${way})`, async () => {
    expect(await borrow(way)).toMatchObject({ kept: 0 });
  });

  test(`with DRIVETRAIN_DEBUG=1 a stale view shows poisoned bytes (${way})`, async () => {
    expect(await borrow(way, { DRIVETRAIN_DEBUG: '1' })).toMatchObject({
      kept: 0,
      bytes: ['ff'],
      value: null,
    });
  });
}
