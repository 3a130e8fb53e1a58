// The same sources give the same bytes: builds linux-x64 of the committed files in two temporary folders, each with a
// cache of its own, and compares.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { main, root, run, step } from './shared.mjs';
import { report } from './suites.mjs';

const TARGET = 'linux-x64';
const SHARED = ['node_modules', 'toolchain/node_modules', 'dist'];

function digest(folder) {
  run('git', ['worktree', 'add', '--detach', folder, 'HEAD']);
  for (const name of SHARED) symlinkSync(join(root, name), join(folder, name));
  mkdirSync(join(folder, 'build'));
  run(process.execPath, ['scripts/generate-opcodes.mjs'], { cwd: folder });
  run(process.execPath, ['scripts/prebuild.mjs', '--target', TARGET], { cwd: folder });
  const file = join(folder, 'prebuilds', TARGET, 'drivetrain.node');
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

await main(() => {
  const parent = mkdtempSync(join(tmpdir(), 'drivetrain-'));
  const digests = [];
  try {
    for (const name of ['first', 'a-second-one']) {
      step(`${TARGET}, ${name}`, () => digests.push(digest(join(parent, name))));
      console.log(`  sha256 ${digests.at(-1)}`);
    }
  } finally {
    rmSync(parent, { recursive: true, force: true });
    run('git', ['worktree', 'prune']);
  }
  const same = digests[0] === digests[1];
  report([{ passed: Number(same), failed: Number(!same), skipped: 0 }]);
});
