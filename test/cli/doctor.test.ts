import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { device } from 'drivetrain';
import { expect, test } from 'vitest';
import { memory } from '../../dist/cli/doctor-memory.js';
import { drivetrain, temporaryFolder } from './support.js';

interface Report {
  readonly ok: boolean;
  readonly findings: readonly { status: string; subject: string; found: string; advice?: string }[];
}

async function report(env: Record<string, string> = {}): Promise<{ code: number | null } & Report> {
  const { code, stdout, stderr } = await drivetrain(['doctor', '--json'], { env });
  expect(stderr).toBe('');
  return { code, ...(JSON.parse(stdout) as Report) };
}

const of = ({ findings }: Report, subject: string) => findings.find((finding) => finding.subject === subject);

test('a machine in order has exit code 0, and every part was looked at', async () => {
  const found = await report();
  expect(found).toMatchObject({ code: 0, ok: true });
  const subjects = found.findings.map(({ subject }) => subject);
  for (const subject of [
    'system',
    'node',
    'native addon',
    'memory',
    'instruction set',
    'threads',
    'kernels',
    'files',
  ])
    expect(subjects).toContain(subject);
  expect(of(found, 'native addon')!.found).toMatch(/drivetrain\.node$/);
  expect(of(found, 'instruction set')!.found).toContain(device.info().isa);
});

for (const isa of device.info().isas) {
  test(`the kernels of ${isa} agree with f64`, async () => {
    const found = await report({ DRIVETRAIN_ISA: isa });
    expect(of(found, 'kernels')).toMatchObject({ status: 'ok', found: expect.stringContaining(`(${isa})`) });
    const variables = found.findings.filter(({ subject }) => subject === 'environment');
    expect(variables.map((finding) => finding.found).join('\n')).toContain(`DRIVETRAIN_ISA=${isa}`);
  });
}

test('as text it has a line for each finding', async () => {
  const { stdout } = await drivetrain(['doctor']);
  expect(stdout).toMatch(/^drivetrain: /);
  expect(stdout).toMatch(/✓ kernels /);
});

test('where the addon does not load it says why and what to do, and goes on', async () => {
  const file = join(temporaryFolder(), 'drivetrain.node');
  writeFileSync(file, 'no addon');
  const found = await report({ DRIVETRAIN_BINARY: file });
  expect(found).toMatchObject({ code: 1, ok: false });
  expect(of(found, 'native addon')).toMatchObject({
    status: 'problem',
    advice: expect.stringContaining('drivetrain build'),
  });
  expect(of(found, 'native addon')!.found).toContain(file);
  expect(of(found, 'environment')!.advice).toContain('Unset DRIVETRAIN_BINARY');
  expect(of(found, 'memory')).toBeDefined();
  expect(of(found, 'kernels')).toBeUndefined();
});

test('an instruction set that is not there is named, with the remedy', async () => {
  const found = await report({ DRIVETRAIN_ISA: 'sse' });
  expect(found.code).toBe(1);
  expect(of(found, 'native addon')!.found).toContain('unset it');
});

test('kernels that give something else are found out', async () => {
  const found = await report({
    NODE_OPTIONS: `--import=${new URL('fixtures/wrong-kernels.mjs', import.meta.url).href}`,
  });
  expect(found.code).toBe(1);
  const wrong = found.findings
    .filter(({ subject }) => subject === 'kernels')
    .map(({ found }) => found.split(' (')[0]);
  expect(wrong).toEqual(['matrix product', 'softmax', 'layer norm', 'INT8 product', 'AdamW', 'threads']);
  expect(of(found, 'files')).toMatchObject({
    status: 'problem',
    found: expect.stringContaining('other bits'),
  });
});

test('a folder for temporary files that is not there is named, with the remedy', async () => {
  const found = await report({ TMPDIR: '/nowhere', TEMP: '/nowhere', TMP: '/nowhere' });
  expect(found.code).toBe(1);
  expect(of(found, 'files')).toMatchObject({
    status: 'problem',
    advice: expect.stringContaining('/nowhere'),
  });
});

test('a pool that may take more than the process has is named, with a limit that fits', () => {
  expect(memory(2 ** 60)).toMatchObject({
    status: 'note',
    advice: expect.stringMatching(/defaultPool\.limit = \d+ /),
  });
  expect(memory(2 ** 20).status).toBe('ok');
});
