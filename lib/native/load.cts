import fs = require('node:fs');
import path = require('node:path');

import type { Binding } from './binding.js' with { 'resolution-mode': 'import' };

import type diagnosis = require('./diagnosis.cjs');
import libc = require('./libc.cjs');

type Attempt = { file: string; load: () => Binding };

/** The package's folder; undefined in a bundle that knows no folders. */
const root = typeof __dirname === 'string' ? path.resolve(__dirname, '../..') : undefined;

/**
 * Every path is a literal, so that bundlers can follow it, and stands in a `try`, so that they go on without the binaries
 * of platforms that somebody took out of the package.
 */
function prebuilt(target: string): Binding {
  let failure: unknown = new Error('none is made for this platform');
  try {
    switch (target) {
      case 'linux-x64':
        return require('../../prebuilds/linux-x64/drivetrain.node');
      case 'linux-arm64':
        return require('../../prebuilds/linux-arm64/drivetrain.node');
      case 'linux-x64-musl':
        return require('../../prebuilds/linux-x64-musl/drivetrain.node');
      case 'linux-arm64-musl':
        return require('../../prebuilds/linux-arm64-musl/drivetrain.node');
      case 'win32-x64':
        return require('../../prebuilds/win32-x64/drivetrain.node');
      case 'win32-arm64':
        return require('../../prebuilds/win32-arm64/drivetrain.node');
      case 'darwin-x64':
        return require('../../prebuilds/darwin-x64/drivetrain.node');
      case 'darwin-arm64':
        return require('../../prebuilds/darwin-arm64/drivetrain.node');
    }
  } catch (error) {
    failure = error;
  }
  throw failure;
}

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
      failures.push({ file, error, header: libc.readHeader(path.resolve(root ?? '', file)) });
    }
  }
  const { diagnose } = require('./diagnosis.cjs') as typeof diagnosis;
  const { platform, arch, versions } = process;
  const system = { platform, arch, libc: libc.libcName(), node: versions.node };
  throw new Error(diagnose(failures, system), { cause: failures.at(-1)?.error });
}

function* attempts(): Iterable<Attempt> {
  const custom = process.env['DRIVETRAIN_BINARY'];
  if (custom) {
    yield { file: path.resolve(custom), load: () => require(fs.realpathSync(custom)) };
    return;
  }
  // A clone's own build comes first: it fits the sources.
  const own = 'build/Release/drivetrain.node';
  if (root !== undefined) yield { file: own, load: () => require(fs.realpathSync(path.join(root, own))) };
  const target = `${process.platform}-${process.arch}${libc.runsOnMusl() ? '-musl' : ''}`;
  yield { file: `prebuilds/${target}/drivetrain.node`, load: () => prebuilt(target) };
}

export = () => first(attempts());
