import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import 'drivetrain';
import { expect, test } from 'vitest';
import { loadedAddon, runFixture } from './support.js';

const require = createRequire(import.meta.url);
const dist = join(import.meta.dirname, '../../dist/native');
const { diagnose, explain, platformOf } = require(join(dist, 'diagnosis.cjs'));
const { startsWithMusl } = require(join(dist, 'libc.cjs'));

const linux = { platform: 'linux', arch: 'x64', libc: 'glibc 2.12', node: '20.20.2' };
const failed = (code: string, message: string, header?: Uint8Array) => ({
  file: 'prebuilds/linux-x64/drivetrain.node',
  error: Object.assign(new Error(message), { code }),
  header,
});

/** The beginning of a binary: bytes by their place. */
function header(bytes: Record<number, number[]>): Uint8Array {
  const made = new Uint8Array(512);
  for (const [at, values] of Object.entries(bytes)) made.set(values, Number(at));
  return made;
}

const elf = (machine: number) => header({ 0: [0x7f, 0x45, 0x4c, 0x46], 18: [machine] });
const pe = (low: number, high: number) =>
  header({ 0: [0x4d, 0x5a], 60: [128], 128: [0x50, 0x45, 0, 0, low, high] });
const machO = (cpu: number) => header({ 0: [0xcf, 0xfa, 0xed, 0xfe, cpu, 0, 0, 1] });

test('the platform of a binary is read from its first bytes', () => {
  expect(platformOf(elf(62))).toBe('linux-x64');
  expect(platformOf(elf(183))).toBe('linux-arm64');
  expect(platformOf(elf(243))).toBe('linux-other');
  expect(platformOf(pe(0x64, 0x86))).toBe('win32-x64');
  expect(platformOf(pe(0x64, 0xaa))).toBe('win32-arm64');
  expect(platformOf(machO(7))).toBe('darwin-x64');
  expect(platformOf(machO(12))).toBe('darwin-arm64');
  expect(
    platformOf(new TextEncoder().encode('neither, though it is long enough to hold a header of sixty-four')),
  ).toBeUndefined();
  expect(platformOf(new Uint8Array(3))).toBeUndefined();
  expect(platformOf(readFileSync(loadedAddon()))).toBe(`${process.platform}-${process.arch}`);
});

test('a binary of another architecture is named as such, whatever the system says of it', () => {
  const said = 'cannot open shared object file: No such file or directory';
  const { reason, advice } = explain(failed('ERR_DLOPEN_FAILED', said, elf(183)), linux);
  expect(reason).toBe('it is for linux-arm64');
  expect(advice).toContain('linux-x64');
});

test('a glibc that is too old is named, with the one that is needed', () => {
  const said = "/lib64/libc.so.6: version `GLIBC_2.17' not found (required by drivetrain.node)";
  const { reason } = explain(failed('ERR_DLOPEN_FAILED', said, elf(62)), linux);
  expect(reason).toContain('it needs glibc 2.17, and this system has glibc 2.12');
});

for (const [code, said, means] of [
  [
    'ERR_DLOPEN_FAILED',
    'Error loading shared library ld-linux-x86-64.so.2: No such file',
    'another C library',
  ],
  [
    'ERR_DLOPEN_FAILED',
    'Error relocating drivetrain.node: __sched_cpucount: symbol not found',
    'another C library',
  ],
  ['ERR_DLOPEN_FAILED', '/lib/x86_64-linux-gnu/libc.so: invalid ELF header', 'another C library'],
  ['ERR_DLOPEN_FAILED', "libstdc++.so.6: version `GLIBCXX_3.4.30' not found", "another system's C++ library"],
  ['ERR_DLOPEN_FAILED', 'failed to map segment from shared object', 'does not let it be run'],
  ['ERR_DLOPEN_FAILED', 'code signature in drivetrain.node not valid for use in process', 'macOS refuses it'],
  ['ERR_DLOPEN_FAILED', 'An Application Control policy has blocked this file.', 'a policy of this Windows'],
  ['ERR_DLOPEN_DISABLED', 'Cannot load native addon because loading addons is disabled.', 'no addons'],
  ['ERR_ACCESS_DENIED', 'Access to this API has been restricted', 'permission model'],
  ['MODULE_NOT_FOUND', 'Cannot find module', 'not there'],
] as const) {
  test(`"${said}" is explained: ${means}`, () => {
    expect(explain(failed(code, said), linux).reason).toContain(means);
  });
}

test('what is not known is quoted', () => {
  expect(explain(failed('ERR_DLOPEN_FAILED', 'something new'), linux).reason).toBe('something new');
});

test('the message says where it ran, what was tried and what to do, and gives each advice once', () => {
  const twice = [failed('ERR_DLOPEN_DISABLED', 'disabled'), failed('ERR_DLOPEN_DISABLED', 'disabled')];
  const message = diagnose(twice, { ...linux, libc: 'musl' });
  expect(message).toContain('linux-x64, musl, Node 20.20.2');
  expect(message.match(/prebuilds\/linux-x64\/drivetrain\.node: Node was told/g)).toHaveLength(2);
  expect(message.match(/--allow-addons/g)).toHaveLength(1);
  expect(message).toContain('Linux (glibc 2.17 or later, musl), Windows and macOS on x64 and arm64');
});

test("musl's programs are told by their loader's path", () => {
  expect(startsWithMusl(new TextEncoder().encode('\x7fELF…/lib/ld-musl-x86_64.so.1\0'))).toBe(true);
  expect(startsWithMusl(new TextEncoder().encode('\x7fELF…/lib64/ld-linux-x86-64.so.2\0'))).toBe(false);
});

const permission = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';

for (const flags of [['--no-addons'], [permission, '--allow-fs-read=*']]) {
  test(`node ${flags[0]} is met with the flag that helps`, async () => {
    const { stdout } = await runFixture('info.mjs', { flags });
    const { code, message } = JSON.parse(stdout);
    expect(code).toBe('DT_ADDON_LOAD');
    expect(message).toContain('--allow-addons');
  });
}
