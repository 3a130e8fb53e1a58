import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { drivetrain, temporaryFolder } from './support.js';

/** Inside of the package, so that what the demo writes can import it by name. */
function ownFolder(): string {
  const folder = join(import.meta.dirname, '../../build', `demo-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('it trains, quantizes, serves, and leaves a program that reads a digit', async () => {
  const cwd = ownFolder();
  const { code, stdout, stderr } = await drivetrain(['demo', '--quick'], { cwd });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [, f32, int8] = /f32 +([\d.]+) %[\s\S]*?int8 +([\d.]+) %/.exec(stdout)!;
  // Three epochs: chance is 10 %.
  expect(Number(f32)).toBeGreaterThan(85);
  expect(Number(int8)).toBeGreaterThan(0.97 * Number(f32));
  // Over HTTP every digit of the test is asked for, in batches as they come.
  expect(Number(/accuracy +([\d.]+) %\n +latency/.exec(stdout)![1])).toBe(Number(int8));
  expect(stdout).toMatch(/latency +median [\d.]+ ms, 99th percentile [\d.]+ ms/);

  const program = join(cwd, 'drivetrain-demo/predict.mjs');
  expect(stdout).toContain(`node ${join('drivetrain-demo', 'predict.mjs')}`);
  const predicted = execFileSync(process.execPath, [program], { encoding: 'utf8' });
  const digit = /A (\d) of the test digits/.exec(stdout)![1];
  expect(predicted).toContain(`This is a ${digit}`);
  const shown = await drivetrain(['inspect', join(cwd, 'drivetrain-demo/digits-int8.safetensors')]);
  expect(shown.stdout).toMatch(/layers\.0\.weight +i8 +\[128, 64\]/);
});

test('the program that it leaves has at most ten lines', async () => {
  const cwd = ownFolder();
  const { stdout } = await drivetrain(['demo', '--quick'], { cwd });
  const [, source] = /predict\.mjs:\n\n((?: {4}.*\n|\n)+)/.exec(stdout)!;
  expect(source!.trimEnd().split('\n').length).toBeLessThanOrEqual(10);
});

test('a folder that cannot be is told at once', async () => {
  const file = join(temporaryFolder(), 'file');
  writeFileSync(file, '');
  const { code, stdout, stderr } = await drivetrain(['demo', '--quick', '--out', file]);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toContain('--out');
  expect(stderr).not.toMatch(/^\s+at /m);
});

// Windows has no signal that a process could heed.
test.skipIf(process.platform === 'win32')('interrupted, it ends with 130 and without a stack', async () => {
  const out = join(temporaryFolder(), 'out');
  let sent = false;
  const { code, signal, stdout, stderr } = await drivetrain(['demo', '--out', out], {
    watch: (printed, kill) => {
      if (sent || !printed.includes('epoch  1/')) return;
      sent = true;
      kill('SIGINT');
    },
  });
  expect({ code, signal, stderr }).toEqual({ code: 130, signal: null, stderr: '' });
  expect(stdout).toMatch(/Stopped\.\n$/);
  expect(existsSync(out)).toBe(false);
});
