import fs = require('node:fs');
import path = require('node:path');

import type { Binding } from './binding.js' with { 'resolution-mode': 'import' };

import diagnosis = require('./diagnosis.cjs');
import libc = require('./libc.cjs');

/** Every path is a literal, so that bundlers can follow it. */
const prebuilt: Partial<Record<string, () => Binding>> = {
  'linux-x64': () => require('../../prebuilds/linux-x64/drivetrain.node'),
  'linux-arm64': () => require('../../prebuilds/linux-arm64/drivetrain.node'),
  'linux-x64-musl': () => require('../../prebuilds/linux-x64-musl/drivetrain.node'),
  'linux-arm64-musl': () => require('../../prebuilds/linux-arm64-musl/drivetrain.node'),
  'win32-x64': () => require('../../prebuilds/win32-x64/drivetrain.node'),
  'win32-arm64': () => require('../../prebuilds/win32-arm64/drivetrain.node'),
  'darwin-x64': () => require('../../prebuilds/darwin-x64/drivetrain.node'),
  'darwin-arm64': () => require('../../prebuilds/darwin-arm64/drivetrain.node'),
};

type Attempt = { file: string; load: () => Binding };

/** A clone's own build comes first: it fits the sources. */
const own: Attempt = {
  file: 'build/Release/drivetrain.node',
  load: () => require('../../build/Release/drivetrain.node'),
};

/** An addon that loaded and then refused to start, for a reason of its own. */
function refused(error: unknown): boolean {
  return String((error as NodeJS.ErrnoException).code).startsWith('DT_');
}

/** The first binary that loads. Throws an Error that says what was tried; binding.ts makes it one of ours. */
function first(attempts: Iterable<Attempt>): Binding {
  const failures: Parameters<typeof diagnosis.diagnose>[0] = [];
  for (const { file, load } of attempts) {
    try {
      return load();
    } catch (error) {
      if (refused(error)) throw error;
      failures.push({ file, error, header: libc.readHeader(path.resolve(__dirname, '../..', file)) });
    }
  }
  const { platform, arch, versions } = process;
  const system = { platform, arch, libc: libc.libcName(), node: versions.node };
  throw new Error(diagnosis.diagnose(failures, Object.keys(prebuilt), system), {
    cause: failures.at(-1)?.error,
  });
}

function* attempts(): Iterable<Attempt> {
  const custom = process.env['DRIVETRAIN_BINARY'];
  if (custom) {
    yield { file: custom, load: () => require(fs.realpathSync(custom)) };
    return;
  }
  yield own;
  const target = `${process.platform}-${process.arch}${libc.runsOnMusl() ? '-musl' : ''}`;
  const load = prebuilt[target];
  if (load) yield { file: `prebuilds/${target}/drivetrain.node`, load };
}

export = () => first(attempts());
