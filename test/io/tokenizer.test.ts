import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTokenizer } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rejectionOf, temporaryFolder } from './support.js';

/** WordPiece of 15 entries: [PAD] [UNK] [CLS] [SEP] un ##aff ##able the cat sat on mat . hello ##s. */
const FOLDER = fileURLToPath(new URL('fixtures/tokenizer', import.meta.url));
const file = (name: string) => readFileSync(join(FOLDER, name), 'utf8');

test('texts become the word pieces of the vocabulary, between special tokens, and texts again', async () => {
  const tokenizer = await readTokenizer(FOLDER);
  // "unaffable" is the example of Devlin and others, arXiv:1810.04805, in their code.
  expect(tokenizer.encode('UNaffable cats, sat.')).toEqual([2, 4, 5, 6, 8, 14, 1, 9, 12, 3]);
  expect(tokenizer.encode('')).toEqual([2, 3]);
  expect(tokenizer.decode([2, 4, 5, 6, 8, 14, 9, 12, 3])).toBe('unaffable cats sat.');
  expect([tokenizer.maxLength, tokenizer.padId]).toEqual([16, 0]);
});

test('long texts are cut at their end, and keep the special tokens', async () => {
  const words = { the: 7, cat: 8, sat: 9, on: 10, mat: 11, hello: 13 };
  for (const maxLength of [2, 3, 5, 16]) {
    const tokenizer = await readTokenizer(FOLDER, { maxLength });
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...(Object.keys(words) as (keyof typeof words)[]))), (text) => {
        const ids = text.map((word) => words[word]);
        expect(tokenizer.encode(text.join(' '))).toEqual([2, ...ids.slice(0, maxLength - 2), 3]);
      }),
    );
  }
  const narrow = await readTokenizer(FOLDER, { maxLength: 1 });
  expect(() => narrow.encode('the cat')).toThrow(/room for the 2 special tokens/);
});

test('batches are filled up with the padding token', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'tokenizer.json'), file('tokenizer.json'));
  const config = { model_max_length: 1e30, pad_token: { content: '[SEP]' } };
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  const tokenizer = await readTokenizer(folder);
  expect([tokenizer.maxLength, tokenizer.padId]).toEqual([Infinity, 3]);
  const { inputIds, attentionMask } = tokenizer.batch(['the cat', 'hello']);
  expect([inputIds.shape, [...inputIds.toArray()]]).toEqual([
    [2, 4],
    [2, 7, 8, 3, 2, 13, 3, 3],
  ]);
  expect([...attentionMask.toArray()]).toEqual([1, 1, 1, 1, 1, 1, 1, 0]);
});

test('what is missing or unsound is refused', async () => {
  const folder = temporaryFolder();
  expect((await rejectionOf(readTokenizer(folder))).code).toBe('DT_NOT_FOUND');
  for (const text of ['{', '1', '{"model": {"type": "none"}}']) {
    writeFileSync(join(folder, 'tokenizer.json'), text);
    const failure = await rejectionOf(readTokenizer(folder));
    expect([failure.code, failure.message]).toEqual(['DT_CORRUPT_FILE', expect.stringContaining(folder)]);
  }
  writeFileSync(join(folder, 'tokenizer.json'), file('tokenizer.json'));
  expect((await readTokenizer(folder)).maxLength).toBe(Infinity);
  for (const options of [{ maxLength: 0 }, { max_length: 1 } as never])
    expect((await rejectionOf(readTokenizer(folder, options))).code).toBe('DT_INVALID_ARGUMENT');
});

test('without its package it says what to install', () => {
  // The library as it is installed, apart from the packages of this repository.
  const root = temporaryFolder();
  for (const name of ['dist', 'build/Release', 'prebuilds', 'package.json']) {
    const source = fileURLToPath(new URL(`../../${name}`, import.meta.url));
    if (existsSync(source)) cpSync(source, join(root, name), { recursive: true });
  }
  mkdirSync(join(root, 'x'));
  const script = `import { readTokenizer } from 'drivetrain';
    await readTokenizer(${JSON.stringify(FOLDER)}).catch(({ code, message }) => console.log(code, message));`;
  writeFileSync(join(root, 'x/missing.mjs'), script);
  const { stdout, stderr } = spawnSync(process.execPath, [join(root, 'x/missing.mjs')], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^DT_NOT_FOUND .*npm install @huggingface\/tokenizers/);
});
