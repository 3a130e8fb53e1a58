import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('two million allocations as a service makes them leave memory flat', { timeout: 120_000 }, () => {
  const script = join(import.meta.dirname, '../../bench/soak.mjs');
  // V8's own young generation grows for a million allocations or two, by Node's version.
  const args = ['--max-semi-space-size=8', script, '2e6', '--seed', '7'];
  const out = execFileSync(process.execPath, args, { encoding: 'utf8' });
  expect(out).toMatch(/\n +2\.00e\+6 .*\nMemory is flat\.\n$/);
});
