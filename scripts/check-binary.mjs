// What a prebuilt binary may ask of the system that loads it: libc's own libraries, of a version that old systems have.

import { join } from 'node:path';
import { main, root, run, StepError } from './shared.mjs';

const LIBC_FAMILY = ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2', 'ld-linux-x86-64.so.2'];
const GLIBC_LIMIT = [2, 17];

/** The libraries that a binary needs, the newest glibc among its symbols' versions, and symbols of no version. */
export function inspectBinary(file) {
  const needed = [...run('readelf', ['-d', file]).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1]);
  const symbols = run('readelf', ['-W', '--dyn-syms', file]);
  const versions = [...symbols.matchAll(/@GLIBC_(\d+)\.(\d+)/g)];
  const glibc = versions
    .map(([, major, minor]) => [Number(major), Number(minor)])
    .sort(compare)
    .at(-1);
  // Node provides its own interface. Anything else without a version is a function that the oldest glibc lacks.
  const undefinedSymbols = [...symbols.matchAll(/GLOBAL +DEFAULT +UND (\S+)$/gm)].map((match) => match[1]);
  const foreign = undefinedSymbols.filter((name) => !name.includes('@') && !/^(napi|node_api)_/.test(name));
  return { needed, glibc, foreign };
}

const compare = ([a, b], [c, d]) => a - c || b - d;

/** Complains of everything in a binary that an old system could not give it. */
export function checkBinary(file) {
  const { needed, glibc, foreign } = inspectBinary(file);
  const libraries = needed.filter((library) => !LIBC_FAMILY.includes(library));
  if (libraries.length) throw new StepError(`${file} needs ${libraries.join(', ')}, which a system may lack`);
  if (foreign.length) throw new StepError(`${file} needs ${foreign.join(', ')}, which an old glibc lacks`);
  if (compare(glibc, GLIBC_LIMIT) > 0) {
    throw new StepError(`${file} needs glibc ${glibc.join('.')}; the limit is ${GLIBC_LIMIT.join('.')}`);
  }
}

if (process.argv[1] === import.meta.filename) {
  await main(() => checkBinary(process.argv[2] ?? join(root, 'prebuilds/linux-x64/drivetrain.node')));
}
