import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { drivetrain, temporaryFolder } from './support.js';

const root = join(import.meta.dirname, '../..');

/** A package as it is installed, with headers that say nothing. */
function installed(): string {
  const folder = temporaryFolder();
  const scripts = ['build-installed', 'prerequisites', 'shared'].map((name) => `scripts/${name}.mjs`);
  for (const name of ['dist/cli', 'dist/text', 'package.json', ...scripts])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  mkdirSync(join(folder, 'dist/include'));
  writeFileSync(join(folder, 'dist/include/opcodes.h'), '');
  return folder;
}

function build(folder: string, path: string) {
  const env = { PATH: path, HOME: folder };
  return spawnSync(process.execPath, [join(folder, 'dist/cli/main.js'), 'build'], { env, encoding: 'utf8' });
}

// Windows starts nothing without variables of its own, and looks for other tools.
const posix = test.skipIf(process.platform === 'win32');

posix('without tools it names each that is missing, and the line that installs them', () => {
  const folder = installed();
  const { status, stderr } = build(folder, '');
  expect(status).toBe(1);
  expect(stderr).toMatch(/ {2}- a C\+\+20 compiler .*\n {2}- CMake 3\.18 or later\n {2}- make or ninja\n/);
  expect(stderr).toMatch(/Install it with:\n {2}\S/);
  expect(stderr).not.toContain('    at ');
});

posix('where CMake fails it shows what CMake said, and leaves nothing', () => {
  const folder = installed();
  const { status, stdout, stderr } = build(folder, process.env.PATH!);
  expect(status).toBe(1);
  expect(stdout).toMatch(/^configuring +failed$/m);
  expect(stderr).toContain('CMakeLists.txt');
  expect(existsSync(join(folder, 'build'))).toBe(false);
});

test('in a clone it names the command that builds one', async () => {
  const { code, stderr } = await drivetrain(['build']);
  expect(code).toBe(1);
  expect(stderr).toContain('npm run setup');
});
