// What a prebuilt binary may ask of the system that loads it: libc's own libraries, of a version that old systems have.

import { join } from 'node:path';
import { main, root, run, StepError } from './shared.mjs';

const LIBC_FAMILY = ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2', 'ld-linux-x86-64.so.2'];
const GLIBC_LIMIT = [2, 17];

/** The libraries that a binary needs, and the newest version of glibc among its symbols. */
export function inspectBinary(file) {
  const needed = [...run('readelf', ['-d', file]).matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1]);
  const versions = [...run('readelf', ['-W', '--dyn-syms', file]).matchAll(/@GLIBC_(\d+)\.(\d+)/g)];
  const newest = versions
    .map(([, major, minor]) => [Number(major), Number(minor)])
    .sort(compare)
    .at(-1);
  return { needed, glibc: newest };
}

const compare = ([a, b], [c, d]) => a - c || b - d;

export function checkBinary(file) {
  const { needed, glibc } = inspectBinary(file);
  const foreign = needed.filter((library) => !LIBC_FAMILY.includes(library));
  if (foreign.length) throw new StepError(`${file} needs ${foreign.join(', ')}, which a system may lack`);
  if (compare(glibc, GLIBC_LIMIT) > 0) {
    throw new StepError(`${file} needs glibc ${glibc.join('.')}; the limit is ${GLIBC_LIMIT.join('.')}`);
  }
}

if (process.argv[1] === import.meta.filename) {
  await main(() => checkBinary(process.argv[2] ?? join(root, 'prebuilds/linux-x64/drivetrain.node')));
}
