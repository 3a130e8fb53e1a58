// The two test runners, native and vitest, and the sum of what they found.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { root, show } from './shared.mjs';

export const VITEST = 'node_modules/vitest/vitest.mjs';
const RESULTS = join(root, 'build/vitest.json');

/** Runs one native test program. One that does not count is one test. */
export function nativeTest(program, { args = [], env = {} } = {}) {
  const options = { env: { ...process.env, ...env }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  const { status, stdout } = spawnSync(program, args, options);
  return counted(status, stdout);
}

/** Runs the kernel tests, through `emulator` where one is given, in as many processes as there are processors. */
export function kernelTests(program, { emulator = [], args: given = [], env = {} } = {}) {
  const shards = Array.from({ length: availableParallelism() }, (_, i) => `${i}/${availableParallelism()}`);
  return Promise.all(
    shards.map(async (shard) => {
      const [command, ...args] = [...emulator, program, ...given, '--shard', shard];
      const options = { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] };
      const child = spawn(command, args, options);
      const [[status], stdout] = await Promise.all([once(child, 'close'), text(child.stdout)]);
      return counted(status, stdout);
    }),
  );
}

function counted(status, stdout) {
  process.stdout.write(stdout);
  const [, passed, failed] = /(\d+) passed, (\d+) failed/.exec(stdout) ?? ['', '1', '0'];
  if (status !== 0 && failed === '0') return { passed: 0, failed: 1, skipped: 0 };
  return { passed: Number(passed), failed: Number(failed), skipped: 0 };
}

/** Runs vitest with `args`, on another Node where one is given. */
export function vitest(args, { node = process.execPath, env = {} } = {}) {
  rmSync(RESULTS, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${RESULTS}`];
  const succeeded = show(node, [VITEST, 'run', ...reporters, ...args], { env });
  return vitestCounts(JSON.parse(readFileSync(RESULTS, 'utf8')), succeeded);
}

/** What vitest's report in JSON counts. A run that breaks without a failed test counts as one. */
export function vitestCounts(found, succeeded) {
  const failed = found.numFailedTests || (succeeded ? 0 : 1);
  return { passed: found.numPassedTests, failed, skipped: found.numPendingTests + found.numTodoTests };
}

/** Prints the sum as the last line and sets the exit code. */
export function report(suites) {
  const sum = (key) => suites.reduce((total, suite) => total + suite[key], 0);
  const skipped = sum('skipped');
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed${skipped ? `, ${skipped} skipped` : ''}`);
  process.exitCode = sum('failed') ? 1 : 0;
}
