import fs = require('node:fs');

import type { Binding } from './binding.js' with { 'resolution-mode': 'import' };

type Attempt = { file: string; load: () => Binding };

/** Every path is a literal, so that bundlers can follow it. A clone's own build comes first: it fits the sources. */
const attempts: Attempt[] = [
  { file: 'build/Release/drivetrain.node', load: () => require('../../build/Release/drivetrain.node') },
  {
    file: 'prebuilds/linux-x64/drivetrain.node',
    load: () => {
      if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('it is for linux-x64');
      return require('../../prebuilds/linux-x64/drivetrain.node');
    },
  },
];

const ERROR_TEXT_LIMIT = 300;

/** glibc's version, 'musl', or undefined where the platform has neither; read without starting a process. */
function libc(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const header = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  return header.glibcVersionRuntime === undefined ? 'musl' : `glibc ${header.glibcVersionRuntime}`;
}

function diagnose(failures: string[]): string {
  const system = [`${process.platform}-${process.arch}`, libc(), `Node ${process.versions.node}`].filter(
    Boolean,
  );
  return [
    `The native addon of drivetrain could not be loaded on ${system.join(', ')}. Tried:`,
    ...failures.map((failure) => `  - ${failure}`),
    'Possible solutions:',
    '  - a prebuilt binary exists for linux-x64 with glibc 2.17 or later; on another platform build from a clone of',
    '    the repository with `node scripts/setup.mjs` (it needs a C++20 compiler and CMake)',
    '  - set DRIVETRAIN_BINARY to the path of a drivetrain.node built elsewhere for this platform',
  ].join('\n');
}

/** An addon that loaded and then refused to start, for a reason of its own. */
function refused(error: unknown): boolean {
  return String((error as NodeJS.ErrnoException).code).startsWith('DT_');
}

function failure(file: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = code === 'MODULE_NOT_FOUND' ? 'not there' : String(message).slice(0, ERROR_TEXT_LIMIT);
  return `${file}: ${reason}`;
}

/** Throws an Error that says what was tried; binding.ts makes it one of ours. */
function load(): Binding {
  const custom = process.env['DRIVETRAIN_BINARY'];
  if (custom) {
    try {
      return require(fs.realpathSync(custom));
    } catch (error) {
      if (refused(error)) throw error;
      throw new Error(diagnose([failure(`DRIVETRAIN_BINARY=${custom}`, error)]), { cause: error });
    }
  }
  const failures: string[] = [];
  for (const attempt of attempts) {
    try {
      return attempt.load();
    } catch (error) {
      if (refused(error)) throw error;
      failures.push(failure(attempt.file, error));
    }
  }
  throw new Error(diagnose(failures));
}

export = load;
