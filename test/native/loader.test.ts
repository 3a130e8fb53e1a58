import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { device } from 'drivetrain';
import { expect, test } from 'vitest';
import { fixture, loadedAddon, runFixture } from './support.js';

async function load(env: Record<string, string>) {
  const { code, signal, stdout, stderr } = await runFixture('info.mjs', { env });
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  return JSON.parse(stdout);
}

for (const isa of device.info().isas) {
  test(`DRIVETRAIN_ISA=${isa} pins that instruction set`, async () => {
    const info = await load({ DRIVETRAIN_ISA: isa });
    expect(info.isa).toBe(isa);
    expect(info.product).toEqual([19, 22, 43, 50]);
  });
}

test('without a pin the best instruction set runs', async () => {
  const info = await load({ DRIVETRAIN_ISA: '' });
  expect(info.isa).toBe(info.isas[0]);
  expect(info.isas).toContain('scalar');
});

test('an instruction set that is not there is refused, with the remedy', async () => {
  for (const isa of ['sse', 'AVX2', process.arch === 'x64' ? 'neon' : 'avx512']) {
    const { code, message } = await load({ DRIVETRAIN_ISA: isa });
    expect(code).toBe('DT_UNSUPPORTED_ISA');
    expect(message).toContain('DRIVETRAIN_ISA');
    expect(message).toContain('unset it');
  }
});

test('an instruction set that is not there is refused by a binary of the caller’s choice as well', async () => {
  const { code } = await load({ DRIVETRAIN_ISA: 'sse', DRIVETRAIN_BINARY: loadedAddon() });
  expect(code).toBe('DT_UNSUPPORTED_ISA');
});

test('DRIVETRAIN_BINARY that points nowhere gives the diagnosis', async () => {
  const { name, code, message } = await load({ DRIVETRAIN_BINARY: '/nowhere/drivetrain.node' });
  expect({ name, code }).toEqual({ name: 'DrivetrainError', code: 'DT_ADDON_LOAD' });
  expect(message).toContain('/nowhere/drivetrain.node');
  expect(message).toContain(`${process.platform}-${process.arch}`);
  expect(message).toContain(`Node ${process.versions.node}`);
  expect(message).toContain('Possible solutions');
});

for (const [name, content] of [
  ['drivetrain.node', 'this is no shared object'],
  ['empty.node', ''],
  ['drivetrain.txt', 'neither ( a module'],
] as const) {
  test(`DRIVETRAIN_BINARY that points to garbage gives the diagnosis (${name})`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drivetrain-'));
    const file = join(folder, name);
    writeFileSync(file, content);
    const { code, message } = await load({ DRIVETRAIN_BINARY: file });
    const there = relative(process.cwd(), file);
    const again = await load({ DRIVETRAIN_BINARY: there });
    rmSync(folder, { recursive: true });
    expect(code).toBe('DT_ADDON_LOAD');
    expect(message).toContain(name);
    expect(again.message).toBe(message);
    expect(message).toContain('Possible solutions');
  });
}

test('JavaScript may be loaded anew beside an addon that stays, as test runners do', async () => {
  const outcome = await runFixture('loaded-twice.mjs');
  expect(outcome).toEqual({ code: 0, signal: null, stdout: '[[2,0]]\n', stderr: '' });
});

test('an addon with other opcodes is refused, with the remedy', async () => {
  const { code, message } = await load({ DRIVETRAIN_BINARY: fixture('other-addon.cjs') });
  expect(code).toBe('DT_ADDON_MISMATCH');
  expect(message).toContain('0badc0de');
  expect(message).toContain('reinstall');
});
