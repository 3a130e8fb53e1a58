import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readJsonl } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { failureOf, rejectionOf, temporaryFolder } from './support.js';

async function drain<R>(rows: AsyncIterable<R>): Promise<R[]> {
  const all: R[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

const file = (content: string | Uint8Array): string => {
  const path = join(temporaryFolder(), 'data.jsonl');
  writeFileSync(path, content);
  return path;
};

test('any JSON values, with any line ends and empty lines between them', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.jsonValue(), fc.constantFrom('\n', '\r\n', '\n\n', '\n  \n'))),
      fc.boolean(),
      async (values, lastEnd) => {
        const text = values.map(([value, end]) => JSON.stringify(value) + end).join('');
        const path = file(lastEnd ? text : text.trimEnd());
        expect(await drain(readJsonl(path))).toEqual(
          values.map(([value]) => JSON.parse(JSON.stringify(value))),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test('lines that lie across the pieces in which a file is read, characters too', async () => {
  const path = join(temporaryFolder(), 'long.jsonl');
  const value = (i: number) => ({ i, text: '😀é'.repeat(i % 9000) });
  await pipeline(function* () {
    for (let i = 0; i < 500; i++) yield `${JSON.stringify(value(i * 37))}\n`;
  }, createWriteStream(path));
  let next = 0;
  for await (const found of readJsonl<{ i: number; text: string }>(path)) {
    if (found.text !== value(next).text || found.i !== next) throw new Error(`${found.i}, not ${next}`);
    next += 37;
  }
  expect(next).toBe(500 * 37);
});

test('what is unsound is refused with file and line, after the lines before it', async () => {
  const path = file('{"a": 1}\n\n{"a": 2}\n{"a": }\n{"a": 4}\n');
  const seen: unknown[] = [];
  const failure = await rejectionOf(
    (async () => {
      for await (const value of readJsonl(path)) seen.push(value);
    })(),
  );
  expect(failure.code).toBe('DT_CORRUPT_FILE');
  expect(failure.message).toContain(`${path}, line 4: it is no JSON`);
  expect(failure.cause).toBeInstanceOf(SyntaxError);
  expect(seen).toEqual([{ a: 1 }, { a: 2 }]);
  expect((await rejectionOf(drain(readJsonl(file('1\n{"a"'))))).message).toContain('line 2');
  const long = file(`1\n"${'x'.repeat(300_000)}"\n`);
  expect((await rejectionOf(drain(readJsonl(long, { maxRecordLength: 1000 })))).message).toContain(
    'line 2: it has more than the 1000 characters',
  );
  const latin = file(Uint8Array.of(0x31, 0x0a, 0x22, 0xe9, 0x22, 0x0a));
  expect((await rejectionOf(drain(readJsonl(latin)))).message).toContain('not UTF-8');
  expect((await rejectionOf(drain(readJsonl(join(temporaryFolder(), 'none'))))).code).toBe('DT_NOT_FOUND');
  expect(failureOf(() => readJsonl('x', { maxLength: 1 } as never)).code).toBe('DT_INVALID_ARGUMENT');
});
