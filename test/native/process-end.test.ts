import { expect, test } from 'vitest';
import { runFixture } from './support.js';

test('process.exit() during runs keeps its code and does not wait for their end', async () => {
  const { code, signal, stdout, stderr } = await runFixture('end.mjs', { args: ['exit'] });
  expect({ code, signal, stdout, stderr }).toEqual({
    code: 7,
    signal: null,
    stdout: 'running\n',
    stderr: '',
  });
});

test('process.exit() a while later, when native code is in the middle of it', async () => {
  for (let i = 0; i < 3; i++) {
    const { code, signal, stderr } = await runFixture('end.mjs', { args: ['exitSoon'] });
    expect({ code, signal, stderr }).toEqual({ code: 7, signal: null, stderr: '' });
  }
});

for (const way of ['throw', 'reject']) {
  test(`an uncaught error during runs ends the process with code 1 and its message (${way})`, async () => {
    const { code, signal, stderr } = await runFixture('end.mjs', { args: [way] });
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain('on purpose');
  });
}

test('SIGTERM ends a process with runs under way', async () => {
  const { code, signal } = await runFixture('end.mjs', { args: ['wait'], signal: 'SIGTERM' });
  expect({ code, signal }).toEqual({ code: null, signal: 'SIGTERM' });
});

test('a process that has nothing else to do waits for its runs, and then ends by itself', async () => {
  const { code, signal, stdout } = await runFixture('end.mjs', { args: ['return'] });
  expect({ code, signal }).toEqual({ code: 0, signal: null });
  expect(stdout).toBe(`running\n${'done 1000\n'.repeat(4)}`);
});
