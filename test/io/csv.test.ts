import { createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseCsv, readCsv } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { CsvDecoder } from '../../dist/io/csv-decoder.js';
import { failureOf, rejectionOf, temporaryFolder } from './support.js';

async function drain<R>(rows: AsyncIterable<R>): Promise<R[]> {
  const all: R[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

const file = (content: string | Uint8Array): string => {
  const path = join(temporaryFolder(), 'data.csv');
  writeFileSync(path, content);
  return path;
};

/** A field as RFC 4180 writes it: in quotes where it has to be, or wants to. */
const written = ([text, wantsQuotes]: readonly [string, boolean], delimiter: string): string =>
  wantsQuotes || text.includes(delimiter) || /["\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

const fieldText = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', '\t', ' ', 'é', '😀'), maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
);
/** No lone surrogates, since UTF-8 cannot carry them: `binary` has whole code points alone. */
const field = fc.tuple(fieldText, fc.boolean());

const table = fc.integer({ min: 2, max: 5 }).chain((width) =>
  fc.record({
    rows: fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 8 }),
    ends: fc.infiniteStream(fc.constantFrom('\n', '\r\n')),
    lastEnd: fc.boolean(),
    delimiter: fc.constantFrom(',', '\t', ';', '|'),
    cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
  }),
);

describe('what was written is read', () => {
  test('whatever the fields, the line ends and the pieces in which it comes', () => {
    fc.assert(
      fc.property(table, ({ rows, ends, lastEnd, delimiter, cuts }) => {
        const lines = rows.map((row) => row.map((one) => written(one, delimiter)).join(delimiter));
        const text = lines
          .map((line, i) => (i + 1 < lines.length || lastEnd ? line + ends.next().value : line))
          .join('');
        const decoder = new CsvDecoder({ name: 'x', delimiter, quotes: true, maxLength: 1e6 });
        const at = [
          0,
          ...cuts.map((cut) => Math.floor(cut * text.length)).sort((a, b) => a - b),
          text.length,
        ];
        const pieces = at.slice(1).map((end, i) => text.slice(at[i], end));
        const records = [...pieces.flatMap((piece) => [...decoder.push(piece)]), ...decoder.end()];
        expect(records.map(({ fields }) => fields)).toEqual(rows.map((row) => row.map(([one]) => one)));
        // The line of each field, counted in the text before it.
        let before = 1;
        rows.forEach((row, r) => {
          row.forEach(([one], f) => {
            expect(records[r]!.lines[f]).toBe(before);
            before += one.split('\n').length - 1;
          });
          before++;
        });
      }),
      { numRuns: 500 },
    );
  });

  test('from a file, by its header, also after a byte order mark', async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.boolean(), async ({ rows, ends, delimiter }, mark) => {
        const names = rows[0]!.map((_, i) => `column ${i}`);
        const text = [names.map((name) => [name, false] as const), ...rows]
          .map((row) => row.map((one) => written(one, delimiter)).join(delimiter) + ends.next().value)
          .join('');
        const path = file((mark ? '\ufeff' : '') + text);
        const expected = rows.map((row) => Object.fromEntries(row.map(([one], i) => [names[i], one])));
        expect(await drain(readCsv(path, { delimiter }))).toEqual(expected);
        expect(parseCsv((mark ? '\ufeff' : '') + text, { delimiter })).toEqual(expected);
      }),
      { numRuns: 40 },
    );
  });

  test('the examples of RFC 4180, section 2', () => {
    const header = ['a', 'b', 'c'];
    const two = [
      { a: 'aaa', b: 'bbb', c: 'ccc' },
      { a: 'zzz', b: 'yyy', c: 'xxx' },
    ];
    expect(parseCsv('aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n', { header })).toEqual(two);
    expect(parseCsv('aaa,bbb,ccc\r\nzzz,yyy,xxx', { header })).toEqual(two);
    expect(parseCsv('a,b,c\r\naaa,bbb,ccc\r\nzzz,yyy,xxx')).toEqual(two);
    expect(parseCsv('"aaa","bbb","ccc"\r\nzzz,yyy,xxx', { header })).toEqual(two);
    expect(parseCsv('"aaa","b\r\nbb","ccc"', { header })).toEqual([{ a: 'aaa', b: 'b\r\nbb', c: 'ccc' }]);
    expect(parseCsv('"aaa","b""bb","ccc"', { header })).toEqual([{ a: 'aaa', b: 'b"bb', c: 'ccc' }]);
  });

  test('without quotes, they are text as any other', () => {
    const text = 'text\tlabel\n"so-called\tpos\n5" disk\tneg\n';
    expect(parseCsv(text, { delimiter: '\t', quotes: false })).toEqual([
      { text: '"so-called', label: 'pos' },
      { text: '5" disk', label: 'neg' },
    ]);
  });

  test('empty lines are passed over, but are empty fields of one column', () => {
    expect(parseCsv('a,b\n\n1,2\n\n')).toEqual([{ a: '1', b: '2' }]);
    expect(parseCsv('a\n\n1\n""')).toEqual([{ a: '' }, { a: '1' }, { a: '' }]);
    expect(parseCsv('a,b\n')).toEqual([]);
  });
});

describe('types', () => {
  test('are those of the columns that were asked for', () => {
    const rows = parseCsv('n,i,b,s,d\n 1.5e3 ,-7,TRUE,x,2024-01-01\n,+3,0,,2024-02-01', {
      columns: { d: (text) => new Date(text), n: 'number', i: 'integer', b: 'boolean', s: 'string' },
    });
    expectTypeOf(rows).toEqualTypeOf<{ d: Date; n: number; i: number; b: boolean; s: string }[]>();
    expect(rows).toEqual([
      { d: new Date('2024-01-01'), n: 1500, i: -7, b: true, s: 'x' },
      { d: new Date('2024-02-01'), n: NaN, i: 3, b: false, s: '' },
    ]);
    const numbers = parseCsv('x\nnan\n-inf\nInfinity\n.5\n5.\n-1E-3', { columns: { x: 'number' } });
    expect(numbers.map(({ x }) => x)).toEqual([NaN, -Infinity, Infinity, 0.5, 5, -1e-3]);
    expect(parseCsv('__proto__,constructor\n1,2')).toEqual([
      Object.fromEntries([
        ['__proto__', '1'],
        ['constructor', '2'],
      ]),
    ]);
  });

  test('every number that JavaScript writes is read again', () => {
    fc.assert(
      fc.property(fc.double(), (x) => {
        expect(parseCsv(`x\n${x}`, { columns: { x: 'number' } })).toEqual([{ x: Object.is(x, -0) ? 0 : x }]);
      }),
    );
  });
});

describe('what is unsound is refused', () => {
  test('with file, line and column', async () => {
    for (const [text, line, reason] of [
      ['a,b\n1,x"y', 2, 'a quote stands in a field'],
      ['a,b\n1,2\n3,"4\n5', 3, 'never closed'],
      ['a,b\n"1"2,3', 2, '"2" follows the quote'],
      ['a,b\r1,2', 1, 'no line feed'],
      ['a,b\n1,2\r', 2, 'no line feed'],
      ['a,b\n1\n', 2, 'it has 1 fields, not 2'],
      ['a,b\n1,"2\n3"\n4,5,6', 4, 'it has 3 fields, not 2'],
      ['a,a\n', 1, 'two columns are called "a"'],
      ['b,c\n', 1, 'it has no column "a" among "b", "c"'],
      ['', 1, 'it is empty'],
      ['b,a\n"x\ny",z\n', 3, 'column 2 ("a") has "z", which is not a number'],
      ['a\n0x10', 2, 'not a number'],
      ['a\n1e', 2, 'not a number'],
    ] as const) {
      const path = file(text);
      const failure = await rejectionOf(drain(readCsv(path, { columns: { a: 'number' } })));
      expect([text, failure.code]).toEqual([text, 'DT_CORRUPT_FILE']);
      expect(failure.message).toContain(`${path}, line ${line}: `);
      expect(failure.message).toContain(reason);
      expect(failureOf(() => parseCsv(text, { columns: { a: 'number' } }, path)).message).toBe(
        failure.message,
      );
    }
  });

  test('integers that no number holds, other words for booleans, and what a function throws', () => {
    const cause = new Error('of no known species');
    const species = () => {
      throw cause;
    };
    for (const [value, type, reason] of [
      ['9007199254740992', 'integer', 'whole number'],
      ['1.0', 'integer', 'whole number'],
      ['', 'integer', 'whole number'],
      ['yes', 'boolean', 'true, false, 1 or 0'],
      ['dog', species, 'of no known species'],
    ] as const) {
      const failure = failureOf(() => parseCsv(`a,b\n${value},1`, { columns: { a: type } }));
      expect(failure.message).toContain(`line 2: column 1 ("a") has "${value}", `);
      expect(failure.message).toContain(reason);
      if (type === species) expect(failure.cause).toBe(cause);
    }
  });

  test('records that are too long, before they are read', async () => {
    const path = file(`a,b\n1,2\n3,"${'x'.repeat(200_000)}`);
    const failure = await rejectionOf(drain(readCsv(path, { maxRecordLength: 1000 })));
    expect(failure).toMatchObject({ code: 'DT_CORRUPT_FILE' });
    expect(failure.message).toMatch(/line 3: a record has more than the 1000 characters/);
    const wide = file(`a\n${'x'.repeat(1001)}`);
    expect((await rejectionOf(drain(readCsv(wide, { maxRecordLength: 1000 })))).message).toContain('line 2');
    const many = file(`a\n${','.repeat(1001)}`);
    expect((await rejectionOf(drain(readCsv(many, { maxRecordLength: 1000 })))).message).toContain('line 2');
  });

  test('bytes that are not UTF-8, and files that are not there', async () => {
    const path = file(Uint8Array.of(0x61, 0x0a, 0x62, 0x0a, 0xff, 0x0a));
    expect((await rejectionOf(drain(readCsv(path)))).message).toContain('not UTF-8');
    const cut = file(Uint8Array.of(0x61, 0x0a, 0xc3));
    expect((await rejectionOf(drain(readCsv(cut)))).message).toContain(
      'line 2: here or below it is not UTF-8',
    );
    expect((await rejectionOf(drain(readCsv(join(temporaryFolder(), 'none.csv'))))).code).toBe(
      'DT_NOT_FOUND',
    );
    expect((await rejectionOf(drain(readCsv(temporaryFolder())))).code).toBe('DT_IO');
  });

  test('options that make no sense', () => {
    for (const [options, word] of [
      [{ delimeter: ';' }, 'delimeter'],
      [{ delimiter: '' }, 'delimiter'],
      [{ delimiter: ', ' }, 'delimiter'],
      [{ delimiter: '"' }, 'delimiter'],
      [{ quotes: '"' }, 'quotes'],
      [{ header: 'a,b' }, 'header'],
      [{ columns: { a: 'float' } }, 'column a'],
      [{ columns: { a: 'toString' } }, 'column a'],
      [{ maxRecordLength: 0 }, 'maxRecordLength'],
    ] as const) {
      const failure = failureOf(() => parseCsv('a\n1', options as never));
      expect(failure.code).toBe('DT_INVALID_ARGUMENT');
      expect(failure.message).toContain(word);
    }
  });
});

describe('a large file', () => {
  const RECORDS = 400_000;

  async function largeFile(): Promise<string> {
    const path = join(temporaryFolder(), 'large.csv');
    function* content() {
      yield 'number,text\n';
      for (let first = 0; first < RECORDS; first += 1000) {
        let part = '';
        for (let i = first; i < first + 1000; i++)
          part += `${i},"some text of number ${i}, which has\ntwo lines, ${'x'.repeat(60)}"\r\n`;
        yield part;
      }
    }
    await pipeline(content, createWriteStream(path));
    return path;
  }

  test('is read piece by piece, and a reader that is left early closes it', async () => {
    const path = await largeFile(); // 48 MB
    let next = 0;
    let most = 0;
    const before = process.memoryUsage().rss;
    for await (const { number, text } of readCsv(path, { columns: { number: 'integer', text: 'string' } })) {
      if (number !== next++ || !text.startsWith(`some text of number ${number},`))
        throw new Error(`record ${next - 1} is ${number}: ${text}`);
      if (next % 10_000 === 0) most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(next).toBe(RECORDS);
    // The text alone would take 48 MB as Latin-1 and as much again as objects; what is left is V8's young generation.
    expect(most).toBeLessThan(150 * 2 ** 20);
    const { readdirSync, readlinkSync } = await import('node:fs');
    const isOpen = () =>
      readdirSync('/proc/self/fd').some((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`) === path;
        } catch {
          return false;
        }
      });
    for await (const _ of readCsv(path)) {
      if (process.platform === 'linux') expect(isOpen()).toBe(true);
      break;
    }
    if (process.platform === 'linux') await expect.poll(isOpen).toBe(false);
  });
});
