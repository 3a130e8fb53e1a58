import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseSafetensors, readSafetensors, writeSafetensors } from '../../dist/io/index.js';
import { rejectionOf, temporaryFolder } from './support.js';

const ELEMENTS = 200_000;
const library = new URL('../../dist/io/index.js', import.meta.url).href;

const ones = (value: number, elements = ELEMENTS) => ({
  dtype: 'f32' as const,
  shape: [elements],
  data: new Float32Array(elements).fill(value),
});

/** A process that writes the file again and again, each time filled with another number. */
function startWriter(path: string): ChildProcess {
  const program = `
    import { writeSafetensors } from ${JSON.stringify(library)};
    for (let i = 1; ; i++) {
      const data = new Float32Array(${ELEMENTS}).fill(i);
      await writeSafetensors(${JSON.stringify(path)}, { a: { dtype: 'f32', shape: [data.length], data } }, { i: String(i) });
    }`;
  const writer = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  onTestFinished(() => {
    writer.kill('SIGKILL');
  });
  return writer;
}

function expectWhole(path: string): number {
  const { tensors, metadata } = parseSafetensors(readFileSync(path), path);
  const value = Number(metadata.i);
  expect(tensors.a!.data.length).toBe(ELEMENTS);
  expect((tensors.a!.data as Float32Array).every((element) => element === value)).toBe(true);
  return value;
}

describe('a file is written whole or not at all', () => {
  test('a reader beside a writer, and one after its death at any moment, finds a whole file', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    await writeSafetensors(path, { a: ones(0) }, { i: '0' });
    let latest = 0;
    for (let round = 0; round < 5; round++) {
      const writer = startWriter(path);
      const exited = once(writer, 'exit');
      while (expectWhole(path) === latest) await sleep(1);
      for (let read = 0; read < 5; read++) expectWhole(path);
      await sleep(Math.random() * 10);
      writer.kill('SIGKILL');
      await exited;
      latest = expectWhole(path);
    }
  });

  test('a file that a reader has open is replaced, at the latest when it is closed', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    await writeSafetensors(path, { a: ones(1) }, { i: '1' });
    const reader = openSync(path, 'r');
    const written = writeSafetensors(path, { a: ones(2) }, { i: '2' });
    await sleep(100);
    closeSync(reader);
    await written;
    expect(expectWhole(path)).toBe(2);
  });

  test('writers at the same time leave the file of one of them', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'model.safetensors');
    const values = [1, 2, 3, 4, 5, 6];
    await Promise.all(values.map((i) => writeSafetensors(path, { a: ones(i) }, { i: String(i) })));
    expect(values).toContain(expectWhole(path));
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
  });

  test('a failed write keeps the old file and leaves nothing beside it', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'model.safetensors');
    // A folder of that name: everything succeeds but the last step.
    mkdirSync(join(path, 'in-the-way'), { recursive: true });
    const error = await rejectionOf(writeSafetensors(path, { a: ones(1) }));
    expect(error).toMatchObject({ code: 'DT_IO', message: expect.stringContaining(path) });
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
    expect(readdirSync(path)).toEqual(['in-the-way']);
  });

  test('a missing folder is named', async () => {
    const folder = join(temporaryFolder(), 'none');
    const error = await rejectionOf(writeSafetensors(join(folder, 'model.safetensors'), {}));
    expect(error).toMatchObject({ code: 'DT_NOT_FOUND', message: expect.stringContaining(folder) });
  });

  test('a folder that is a file is an error', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const error = await rejectionOf(writeSafetensors(join(file, 'model.safetensors'), {}));
    // Windows says that it is not there.
    const code = process.platform === 'win32' ? 'DT_NOT_FOUND' : 'DT_IO';
    expect(error).toMatchObject({ code, message: expect.stringContaining(file) });
  });

  test('the old file is replaced, whatever it was', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    writeFileSync(path, 'not a safetensors file, and longer than the new one'.repeat(100));
    await writeSafetensors(path, { a: ones(1, 2) });
    const { tensors } = await readSafetensors(path);
    expect(tensors.a!.toArray()).toEqual(new Float32Array([1, 1]));
    tensors.a!.dispose();
  });
});
