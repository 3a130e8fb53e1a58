import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';

const SCRIPT = fileURLToPath(new URL('fixtures/run.mjs', import.meta.url));

function train(folder: string, killAfter?: number) {
  const args = [SCRIPT, folder, ...(killAfter === undefined ? [] : [`${killAfter}`])];
  const { signal, status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (killAfter !== undefined) {
    // Windows ends it with status 1, and knows no signals.
    const end = process.platform === 'win32' ? [null, 1, ''] : ['SIGKILL', null, ''];
    expect([signal, status, stderr]).toEqual(end);
    return undefined;
  }
  expect([status, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as { weights: string; epochs: number; steps: number };
}

test('training whose process is killed twice gives the bits of training that never stopped', () => {
  const whole = train(temporaryFolder());
  expect(whole).toMatchObject({ epochs: 5, steps: 30 });
  const folder = temporaryFolder();
  train(folder, 15); // in the third epoch: two are saved
  train(folder, 8); // in the fourth
  expect(train(folder)).toEqual({ ...whole, epochs: 2 });
});
