// The tests on Node for arm64 under qemu, and on Node for Windows under wine, with the prebuilt binaries of both. Build
// those first: npm run prebuild.
//   npm run test:emulated [-- --target win32-x64] [-- test/ops test/nn/...]
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EMULATORS } from './emulators.mjs';
import { filesUnder, main, root, run, runNpm, StepError, step } from './shared.mjs';
import { report, VITEST, vitestCounts } from './suites.mjs';
import { prebuiltFile } from './targets.mjs';

const FOLDER = join(root, 'build/emulated');
/** An emulator may take some thirty times as long as the machine itself. */
const TIMEOUT_MS = 600_000;

/** Per target, the tests that are left out, and why. */
const LEFT_OUT = {
  'linux-arm64': {
    'test/examples/text.test.ts': 'whole trainings, minutes at native speed',
    'test/io/checkpoint/kill.test.ts': 'starts a hundred processes, seconds each',
    'test/tensor/soak.test.ts': 'two million allocations',
  },
  'win32-x64': {
    'test/io/checkpoint/kill.test.ts': 'starts a hundred processes, a second each',
  },
};

/** The packages with native code for a target that vitest needs, in a folder that Node finds by NODE_PATH. */
function nativePackages(target) {
  const [platform, arch] = target.split('-');
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const fits = ({ os, cpu, libc }) =>
    os?.includes(platform) && cpu?.includes(arch) && libc?.includes('glibc') !== false;
  const names = ['rolldown', 'lightningcss']
    .flatMap((name) => Object.keys(packages[`node_modules/${name}`].optionalDependencies))
    .filter((name) => fits(packages[`node_modules/${name}`]));
  const folder = join(FOLDER, target, 'node_modules');
  for (const name of names) {
    const { version } = packages[`node_modules/${name}`];
    const own = join(folder, name);
    if (existsSync(own) && JSON.parse(readFileSync(join(own, 'package.json'), 'utf8')).version === version)
      continue;
    step(name, () => {
      rmSync(own, { recursive: true, force: true });
      mkdirSync(own, { recursive: true });
      const archive = runNpm(['pack', '--silent', '--pack-destination', folder, `${name}@${version}`]).trim();
      run('tar', ['-xzf', join(folder, archive), '-C', own, '--strip-components=1']);
    });
  }
  return folder;
}

/** A file with a program that Node runs before its own. */
function preload(name, program) {
  const file = join(FOLDER, name);
  writeFileSync(file, `${program}\n`);
  return file;
}

/**
 * A command for Node whose `process.execPath` is the command itself: what the program says of its own path is a file for
 * another processor, which this machine cannot start.
 */
function startable(command) {
  const file = join(FOLDER, 'node');
  const own = preload('exec-path.cjs', `process.execPath = ${JSON.stringify(file)};`);
  writeFileSync(file, `#!/bin/sh\nexec ${command.join(' ')} --require ${own} "$@"\n`);
  chmodSync(file, 0o755);
  return [file];
}

/** A library that wine lacks, where it looks for those of Windows. */
function addMissingLibrary(command, env) {
  const folder = join(env.WINEPREFIX, 'drive_c/windows/system32');
  // The first program that runs makes the folder.
  if (!existsSync(folder)) {
    const [program, ...args] = [...command, '--version'];
    step('wine', () => spawnSync(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' }));
  }
  const library = join(folder, 'bcryptprimitives.dll');
  if (existsSync(library)) return;
  const cache = join(root, 'build-prebuild/zig-cache');
  const source = join(root, 'toolchain/bcryptprimitives.cc');
  const flags = ['--target=x86_64-windows-gnu', '-O2', '-s', '-shared', '-o', library, source, '-ladvapi32'];
  step('bcryptprimitives.dll', () =>
    run(join(root, 'toolchain/zig-cxx'), flags, {
      env: { ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache },
    }),
  );
}

/** What starts Node for a target, and the variables that it needs. */
function prepare(target) {
  const { command, env, path } = EMULATORS[target];
  mkdirSync(FOLDER, { recursive: true });
  const node = command();
  const variables = {
    ...env,
    NODE_PATH: path(nativePackages(target)),
    DRIVETRAIN_BINARY: path(prebuiltFile(target)),
  };
  if (target !== 'win32-x64') return { node: startable(node), variables };
  addMissingLibrary(node, env);
  // Wine refuses connections that shall be kept alive.
  const own = preload(
    'keep-alive.cjs',
    "require('node:net').Socket.prototype.setKeepAlive = function () { return this; };",
  );
  return { node, variables: { ...variables, NODE_OPTIONS: `--require Z:${own}` } };
}

/** Prints what failed: the output of vitest itself is in a file. */
function printFailures({ testResults }) {
  for (const { name, message, assertionResults } of testResults) {
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    if (failed.length === 0 && message) console.log(`FAIL  ${name}\n${message}`);
    for (const { fullName, failureMessages } of failed) {
      console.log(`FAIL  ${name}: ${fullName}\n${failureMessages.join('\n')}`);
    }
  }
}

/** The tests whose path holds one of `parts`, but those that are left out. */
function testsOf(target, parts) {
  return filesUnder('test', /\.test\.ts$/)
    .filter((file) => !file.startsWith('test/package/') && !(file in LEFT_OUT[target]))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)));
}

function suite(target, parts) {
  const { what, path } = EMULATORS[target];
  if (!existsSync(prebuiltFile(target))) {
    throw new StepError(`It is not built: npm run prebuild -- --target ${target}`);
  }
  const {
    node: [command, ...first],
    variables,
  } = prepare(target);
  const results = join(FOLDER, `${target}.json`);
  const log = join(FOLDER, `${target}.log`);
  console.log(`\n${what}, as it goes in ${log}`);
  for (const [file, reason] of Object.entries(LEFT_OUT[target]))
    console.log(`  left out: ${file}: ${reason}`);
  const options = [
    ...['--project', 'default', `--testTimeout=${TIMEOUT_MS}`, `--hookTimeout=${TIMEOUT_MS}`],
    ...['--reporter=default', '--reporter=json', `--outputFile.json=${path(results)}`],
  ];
  rmSync(results, { force: true });
  const output = openSync(log, 'w');
  const { status } = spawnSync(command, [...first, VITEST, 'run', ...options, ...testsOf(target, parts)], {
    cwd: root,
    env: { ...process.env, ...variables },
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  if (!existsSync(results)) throw new StepError(readFileSync(log, 'utf8'));
  const found = JSON.parse(readFileSync(results, 'utf8'));
  printFailures(found);
  const counts = vitestCounts(found, status === 0);
  const skipped = counts.skipped ? `, ${counts.skipped} skipped` : '';
  console.log(`${target}: ${counts.passed} passed, ${counts.failed} failed${skipped}`);
  return counts;
}

await main(() => {
  const { values, positionals } = parseArgs({
    options: { target: { type: 'string', multiple: true, default: Object.keys(EMULATORS) } },
    allowPositionals: true,
  });
  const lacking = values.target.filter((target) => !EMULATORS[target]?.installed);
  if (lacking.length) {
    throw new StepError(
      `No emulator for ${lacking.join(', ')}: apt-get install qemu-user libc6-arm64-cross wine64`,
    );
  }
  report(values.target.map((target) => suite(target, positionals)));
});
