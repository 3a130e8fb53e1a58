import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { compile, Linear, ones, ReLU, Residual, Sequential } from 'drivetrain';
import { expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';

const FIXTURE = fileURLToPath(new URL('fixtures/errors.mjs', import.meta.url));
const LINES = readFileSync(FIXTURE, 'utf8').split('\n');

/** `file:line` of the line of the fixture that ends with the comment. */
const at = (comment: string) =>
  `errors.mjs:${LINES.findIndex((line) => line.includes(`// ${comment}`)) + 1}:`;

interface Told {
  code: string;
  message: string;
}

async function run(debug: string) {
  const env = { ...process.env, DRIVETRAIN_DEBUG: debug };
  const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', FIXTURE], { env });
  return JSON.parse(stdout) as { messages: Record<string, Told>; warnings: Told[] };
}

test('errors of a model of models reach the line that called it', () => {
  const inner = () => new Sequential(new Residual(new Sequential(new Linear(5, 5), new ReLU())));
  const model = new Sequential(inner(), new Sequential(inner()));
  for (const call of [
    () => model.forward(ones([1, 4])),
    () => compile(model.forward.bind(model)).runSync(ones([1, 4])),
  ]) {
    const { stack } = refusalOf(call);
    expect(stack).toContain('error-lines.test.ts');
  }
  expect(Error.stackTraceLimit).toBeLessThan(64);
});

test('errors of a run name the op, and how to learn more', async () => {
  const { messages, warnings } = await run('');
  expect(messages['disposed']).toMatchObject({
    code: 'DT_DISPOSED',
    message: expect.stringContaining('mul+add(f32 [2]'),
  });
  expect(messages['frozen']).toMatchObject({ code: 'DT_FROZEN', message: expect.stringContaining('adamw(') });
  for (const name of ['refused', 'refusedSync']) {
    expect(messages[name]).toMatchObject({
      code: 'DT_NON_FINITE',
      message: expect.stringContaining('DRIVETRAIN_DEBUG=1'),
    });
  }
  expect(warnings).toEqual([]);
});

test('with DRIVETRAIN_DEBUG=1 they name the line that recorded it, and what made the first non-finite value', async () => {
  const { messages, warnings } = await run('1');
  expect(messages['disposed']!.message).toContain(at('reads'));
  expect(messages['frozen']!.message).toContain(at('steps'));
  for (const name of ['refused', 'refusedSync']) {
    expect(messages[name]!.message).toContain(`first value that is not finite was made by log(f32 [2]) at `);
    expect(messages[name]!.message).toContain(at('refused'));
  }
  expect(warnings.map(({ code }) => code)).toEqual(Array(4).fill('DT_NON_FINITE'));
  const [overflow, given, masked, half] = warnings.map(({ message }) => message);
  expect(overflow).toContain('made by exp(f32 [3]) at ');
  expect(overflow).toContain(at('overflows'));
  expect(given).toContain('NaN came in through an input or a captured tensor, f32 [3]');
  expect(given).toContain(at('given'));
  expect(masked).toContain('made by softmax');
  expect(masked).toContain(at('masked'));
  expect(half).toContain('made by cast(f32 [3, 2]) at ');
  expect(half).toContain(at('half'));
});
