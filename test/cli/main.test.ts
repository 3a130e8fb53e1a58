import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { drivetrain, main } from './support.js';

const COMMANDS = ['doctor', 'inspect', 'demo', 'build'];

for (const args of [[], ['--help'], ['-h'], ['help']]) {
  test(`"drivetrain ${args.join(' ')}" shows every command`, async () => {
    const { code, stdout, stderr } = await drivetrain(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  });
}

for (const command of COMMANDS) {
  test(`${command} has help, also where the addon does not load`, async () => {
    const env = { DRIVETRAIN_BINARY: '/nowhere' };
    const outcomes = await Promise.all(
      [
        [command, '--help'],
        [command, '-h'],
        ['help', command],
      ].map((args) => drivetrain(args, { env })),
    );
    for (const { code, stdout, stderr } of outcomes) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`Usage: drivetrain ${command}`);
    }
  });
}

test('the version is that of package.json', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(await drivetrain(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
});

for (const [args, message] of [
  [['doctr'], "There is no command 'doctr': did you mean doctor?"],
  [['isnpect', 'file'], "There is no command 'isnpect': did you mean inspect?"],
  [['toString'], "There is no command 'toString': there are doctor, inspect, demo, build"],
  [['--verbose'], "There is no option '--verbose'"],
  [['help', 'dmeo'], "There is no command 'dmeo': did you mean demo?"],
  [['doctor', '--jsn'], "drivetrain doctor has no option '--jsn': did you mean --json?"],
  [['doctor', 'now'], "drivetrain doctor takes no arguments, not also 'now'"],
  [['inspect'], 'drivetrain inspect needs FILE'],
  [['inspect', 'a', 'b'], "drivetrain inspect takes FILE, not also 'b'"],
  [['demo', '--out'], '--out'],
] as const) {
  test(`"drivetrain ${args.join(' ')}" is refused with exit code 2, saying what is wrong`, async () => {
    const { code, stdout, stderr } = await drivetrain(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('    at ');
  });
}

test('a pipe that is closed by its reader is no failure', async () => {
  for (const args of [['--help'], ['doctor']]) {
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  }
});

test('there are no colours in a pipe, and there are where they are asked for', async () => {
  const colour = String.fromCharCode(0x1b);
  expect((await drivetrain(['doctor'], { env: { NO_COLOR: '' } })).stdout).not.toContain(colour);
  expect((await drivetrain(['doctor'], { env: { NO_COLOR: '', FORCE_COLOR: '1' } })).stdout).toContain(
    colour,
  );
});
