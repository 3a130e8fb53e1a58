// What the scripts share: the root folder, files, and running a command as one quiet, timed line.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const jobs = String(availableParallelism());

const LOG_HEAD_LINES = 10;
const LOG_TAIL_LINES = 30;
const COMMAND_LIMIT = 200;

/** A failure that is the user's to read: printed as it is, without a stack. */
export class StepError extends Error {}

/** Paths of all files under `folder` whose name matches, relative to the root, sorted. */
export function filesUnder(folder, pattern = /./) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}

/** Runs a command in the root folder and returns what it printed; a failure shows the end of that. */
export function run(command, args, { env = {}, cwd = root, advice } = {}) {
  const options = { cwd, env: { ...process.env, ...env }, encoding: 'utf8', maxBuffer: 2 ** 28 };
  const result = spawnSync(command, args, options);
  if (result.status === 0) return result.stdout;
  const reason = result.error?.message ?? `it ended with ${result.signal ?? `exit code ${result.status}`}`;
  const log = shorten(`${result.stdout ?? ''}${result.stderr ?? ''}`.trim());
  throw new StepError(
    [log, `${[command, ...args].join(' ').slice(0, COMMAND_LIMIT)}: ${reason}`, advice]
      .filter(Boolean)
      .join('\n\n'),
  );
}

/** The beginning of a log, where npm says what is wrong, and its end, where compilers do. */
function shorten(log) {
  const lines = log.split('\n');
  if (lines.length <= LOG_HEAD_LINES + LOG_TAIL_LINES) return log;
  return [...lines.slice(0, LOG_HEAD_LINES), '…', ...lines.slice(-LOG_TAIL_LINES)].join('\n');
}

/** Runs a command that speaks for itself; true if it succeeded. */
export function show(command, args, { env = {} } = {}) {
  const options = { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' };
  return spawnSync(command, args, options).status === 0;
}

/** The Node program `file` with `args`, as `run`. */
export function runNode(file, args, options) {
  return run(process.execPath, [join(root, file), ...args], options);
}

/** Runs npm as the one that runs us, or as the one on PATH. */
export function runNpm(args, options) {
  const npm = process.env.npm_execpath;
  if (npm) return run(process.execPath, [npm, ...args], options);
  return process.platform === 'win32'
    ? run('cmd', ['/c', 'npm', ...args], options)
    : run('npm', args, options);
}

/** Prints one line for a step: its name, then how long it took. */
export function step(name, action) {
  const start = performance.now();
  process.stdout.write(`${name.padEnd(28)}`);
  try {
    action();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    process.stdout.write(`${seconds.padStart(6)} s\n`);
  } catch (error) {
    process.stdout.write('failed\n');
    throw error;
  }
}

/** Runs a script's body; a StepError ends the process with its message alone. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.error(`\n${error.message}`);
    process.exitCode = 1;
  }
}
