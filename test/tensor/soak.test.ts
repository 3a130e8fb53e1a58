import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('two million allocations as a service makes them leave memory flat', { timeout: 120_000 }, () => {
  // V8's own heap grows until about a million.
  const script = join(import.meta.dirname, '../../bench/soak.mjs');
  const out = execFileSync(process.execPath, [script, '2e6', '--seed', '7'], { encoding: 'utf8' });
  expect(out).toMatch(/\n +2\.00e\+6 .*\nMemory is flat\.\n$/);
});
