// Compares this tree's speed with that of a commit:
//   npm run bench:regress -- COMMIT [--filter TEXT] [--rounds N]
// Builds the commit in a temporary worktree, and lets processes of both builds take turns. Rows that look slower are
// measured once more; the exit code is 1 if that confirms one.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compareBuilds, THRESHOLD } from '../bench/regress.mjs';
import { align } from '../bench/table.mjs';
import { prepareBench } from './bench-setup.mjs';
import { main, root, run, runNode, StepError, step } from './shared.mjs';

const percent = (share) => `${share >= 0 ? '+' : '−'}${(Math.abs(share) * 100).toFixed(1)} %`;

/** Calls `use` with the folder of the built commit, which is gone afterwards. */
function withBuild(commit, use) {
  const folder = join(mkdtempSync(join(tmpdir(), 'drivetrain-')), 'build');
  try {
    run('git', ['worktree', 'add', '--detach', folder, commit]);
    shareDependencies(folder);
    step(`build of ${commit}`.slice(0, 27), () =>
      run(process.execPath, ['scripts/setup.mjs'], { cwd: folder }),
    );
    return use(folder);
  } finally {
    rmSync(join(folder, '..'), { recursive: true, force: true });
    run('git', ['worktree', 'prune']);
  }
}

/** Ours serve where they are the same; otherwise the commit's own set-up installs its own. */
function shareDependencies(folder) {
  const lock = (where) => readFileSync(join(where, 'package-lock.json'), 'utf8');
  if (lock(folder) === lock(root)) symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
}

function measure(build, filter) {
  const env = { ...process.env, DRIVETRAIN_BENCH_BUILD: build };
  const options = { cwd: root, env, encoding: 'utf8' };
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['bench/regress-worker.mjs', filter],
    options,
  );
  if (status !== 0) throw new StepError(`${build} could not be measured:\n${stderr}`);
  return JSON.parse(stdout);
}

/** Pairs of measurements, of which every second begins with the other build. */
function takePairs(before, rounds, filter) {
  return Array.from({ length: rounds }, (_, i) => {
    process.stderr.write(`round ${i + 1} of ${rounds}\n`);
    const order = i % 2 ? ['after', 'before'] : ['before', 'after'];
    return Object.fromEntries(order.map((key) => [key, measure(key === 'before' ? before : root, filter)]));
  });
}

function table(changes) {
  const lines = changes.map(({ row, change, interval, verdict }) => [
    row,
    percent(change),
    interval.map(percent).join(' … '),
    verdict,
  ]);
  return align([['change of time', 'median', '99 %', ''], ...lines]);
}

await main(() => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { filter: { type: 'string', default: '' }, rounds: { type: 'string', default: '12' } },
  });
  const [commit] = positionals;
  const rounds = Number(values.rounds);
  if (positionals.length !== 1 || !(rounds >= 8)) {
    throw new StepError('Usage: npm run bench:regress -- COMMIT [--filter TEXT] [--rounds N], N at least 8');
  }
  step('library', () => runNode('scripts/setup.mjs', []));
  prepareBench();
  withBuild(commit, (folder) => {
    const changes = compareBuilds(takePairs(folder, rounds, values.filter));
    console.log(`\n${table(changes)}`);
    const suspects = changes.filter(({ verdict }) => verdict === 'slower').map(({ row }) => row);
    if (suspects.length === 0) {
      console.log(`\nNothing is slower by more than ${THRESHOLD * 100} %.`);
      return;
    }
    console.log(`\n${suspects.length} of them once more:`);
    const confirmed = compareBuilds(takePairs(folder, rounds, values.filter)).filter(
      ({ row, verdict }) => verdict === 'slower' && suspects.includes(row),
    );
    console.log(confirmed.length ? `\nSlower:\n${table(confirmed)}` : '\nNone is confirmed.');
    process.exitCode = confirmed.length ? 1 : 0;
  });
});
