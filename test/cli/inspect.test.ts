import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointManager, Linear, type SafetensorsInspection, writeSafetensors } from 'drivetrain';
import { expect, test } from 'vitest';
import { golden, safetensorsBytes } from '../io/support.js';
import { drivetrain, temporaryFolder } from './support.js';

async function inspect(path: string): Promise<SafetensorsInspection> {
  const { code, stdout, stderr } = await drivetrain(['inspect', path, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('a file of every dtype is shown, with names that terminals would act on made harmless', async () => {
  const { code, stdout } = await drivetrain(['inspect', golden('foreign.safetensors')]);
  expect(code).toBe(0);
  const lines = stdout.split('\n');
  const row = (name: string) =>
    lines
      .find((line) => line.trimStart().startsWith(`${name} `))!
      .trim()
      .split(/ {2,}/);
  expect(row('f32')).toEqual([
    'f32',
    'f32',
    '[2, 3]',
    '24',
    '0',
    '3.403e+38',
    '8.507e+37',
    '1.473e+38',
    '33.3 %',
    '2',
  ]);
  expect(row('empty')).toEqual(['empty', 'f32', '[2, 0, 3]', '0', '–', '–', '–', '–', '–', '0']);
  expect(row('bf16').slice(0, 6)).toEqual(['bf16', 'bf16', '[3]', '6', '-2', '3']);
  expect(stdout).toContain('größe/😀\\u000a');
  expect(stdout).toMatch(/not finite {2}f32$/m);
  expect(stdout).toMatch(/format {2}pt$/m);
});

test('statistics are those of the definition, over pieces too', async () => {
  const file = join(temporaryFolder(), 'large.safetensors');
  const count = 600_000;
  const data = Float32Array.from({ length: count }, (_, i) => (i % 7 === 0 ? 0 : 1000 + Math.sin(i)));
  data[count - 1] = Number.NaN;
  data[5] = Number.NEGATIVE_INFINITY;
  await writeSafetensors(file, { large: { dtype: 'f32', shape: [count], data } });
  const [large] = (await inspect(file)).tensors;
  const finite = Array.from(data).filter(Number.isFinite);
  const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
  const variance = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0) / finite.length;
  expect(large).toMatchObject({
    elements: count,
    bytes: 4 * count,
    min: 0,
    max: Math.max(...finite.slice(0, 1000), ...finite.slice(-1000)),
    zeros: data.filter((value) => value === 0).length,
    notFinite: 2,
  });
  // Sums of 600,000 terms in f64, in another order.
  expect(Math.abs(large!.mean - mean) / mean).toBeLessThan(1e-12);
  expect(Math.abs(large!.std ** 2 - variance) / variance).toBeLessThan(1e-12);
});

for (const [name, content, message] of [
  ['model.pt', 'PK\x03\x04 and so on, long enough', 'torch.save'],
  ['old.bin', '\x80\x02}q\x00(X and so on', 'Python pickle'],
  ['pointer.safetensors', 'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'git lfs pull'],
  ['page.safetensors', '<!DOCTYPE html><html><body>Not found', 'web page'],
  ['model.gguf', 'GGUF\x03\x00\x00\x00and so on', 'GGUF'],
  ['config.json', '{\n  "hidden_size": 384\n}', 'looks like JSON'],
  ['notes.txt', 'These are only notes, no tensors.', 'it is a text'],
  ['empty.safetensors', '', 'it is 0 bytes long'],
] as const) {
  test(`of ${name} it says what the file is`, async () => {
    const file = join(temporaryFolder(), name);
    writeFileSync(file, Buffer.from(content, 'latin1'));
    const { code, stdout, stderr } = await drivetrain(['inspect', file]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(file);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('    at ');
  });
}

test('a file that was cut off is named, with the tensor', async () => {
  const file = join(temporaryFolder(), 'cut.safetensors');
  writeFileSync(file, safetensorsBytes({ a: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }, 8));
  const { code, stderr } = await drivetrain(['inspect', file]);
  expect(code).toBe(1);
  expect(stderr).toContain('16 bytes but 8 bytes follow the header');
});

test('a file that is not there is an error without a stack', async () => {
  const { code, stderr } = await drivetrain(['inspect', '/nowhere/model.safetensors']);
  expect(code).toBe(1);
  expect(stderr).toBe('Expected /nowhere/model.safetensors to exist but it does not.\n');
});

test('of a checkpoint and of a model folder it says what each file is', async () => {
  const folder = temporaryFolder();
  const manager = new CheckpointManager(folder);
  await manager.save({ model: new Linear(3, 2) }, { step: 7, metrics: { loss: 0.5 } });
  const [found] = (await manager.list()) as unknown as { path: string }[];
  const checkpoint = await drivetrain(['inspect', found!.path]);
  expect(checkpoint.code).toBe(0);
  expect(checkpoint.stdout).toMatch(/checkpoint\.json .* checkpoint, step 7, saved .*, loss 0\.5/);
  expect(checkpoint.stdout).toMatch(/model\.safetensors .* 2 tensors, 8 elements/);

  const model = temporaryFolder();
  writeFileSync(join(model, 'config.json'), '{"model_type": "bert", "hidden_size": 384}');
  writeFileSync(join(model, 'tokenizer.json'), '{"model": {"type": "WordPiece"}}');
  writeFileSync(join(model, 'broken.safetensors'), 'no');
  const { stdout } = await drivetrain(['inspect', model]);
  expect(stdout).toMatch(/config\.json .* configuration of a bert model, hidden_size 384/);
  expect(stdout).toMatch(/tokenizer\.json .* tokenizer, WordPiece/);
  expect(stdout).toMatch(/broken\.safetensors .* unreadable/);
});
