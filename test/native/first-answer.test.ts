import { expect, test } from 'vitest';
import { runFixture } from './support.js';

test('a first answer waits for none of the modules of Node that few need', async () => {
  // What the tests themselves have Node load first is not looked at.
  const { stdout, stderr } = await runFixture('first-answer.mjs', { env: { NODE_OPTIONS: '' } });
  expect(stderr).toBe('');
  const loaded: string[] = JSON.parse(stdout);
  expect(loaded).toContain('os');
  const rare = ['crypto', 'http', 'stream', 'worker_threads', 'zlib', 'internal/fs/streams'];
  expect(loaded.filter((name) => rare.includes(name))).toEqual([]);
});
