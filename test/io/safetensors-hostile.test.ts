import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseIdx, parseSafetensors, readSafetensors, serializeSafetensors } from '../../dist/io/index.js';
import { failureOf, rejectionOf, safetensorsBytes, temporaryFolder } from './support.js';

const entry = (changes: object = {}) => ({ dtype: 'U8', shape: [4], data_offsets: [0, 4], ...changes });
const raw = (fields: string) => `{"a":{${fields}}}`;

/** A sound file of two tensors and metadata, from which the tests below depart. */
const sound = serializeSafetensors(
  {
    a: { dtype: 'f32', shape: [2], data: new Float32Array([1, 2]) },
    b: { dtype: 'bool', shape: [3], data: new Uint8Array([1, 0, 1]) },
  },
  { format: 'dt' },
);

test('the smallest file from which the others depart is sound', () => {
  expect(Object.keys(parseSafetensors(safetensorsBytes({ a: entry() }, 4)).tensors)).toEqual(['a']);
});

describe('a file that was cut off or grew is refused', () => {
  test('at every length, as bytes and on disk', async () => {
    const path = join(temporaryFolder(), 'cut.safetensors');
    writeFileSync(path, sound);
    for (let length = sound.length - 1; length >= 0; length--) {
      const error = failureOf(() => parseSafetensors(sound.subarray(0, length), 'cut'));
      expect(error).toMatchObject({ code: 'DT_CORRUPT_FILE', message: expect.stringMatching(/^cut is not/) });
      truncateSync(path, length);
      const rejection = await rejectionOf(readSafetensors(path));
      expect(rejection.code).toBe('DT_CORRUPT_FILE');
      expect(rejection.message).toContain(path);
    }
  });

  test('by one byte', () => {
    const longer = new Uint8Array(sound.length + 1);
    longer.set(sound);
    expect(failureOf(() => parseSafetensors(longer)).message).toMatch(/take 11 bytes but 12 bytes follow/);
  });
});

const cases: [string, unknown, number, RegExp][] = [
  ['nothing', '', 0, /does not begin with '\{'/],
  ['white space first', ' {}', 0, /does not begin with '\{'/],
  ['a byte order mark', '\ufeff{}', 0, /does not begin with '\{'/],
  ['an array', '[]', 0, /does not begin with '\{'/],
  ['an object without an end', '{', 0, /found the end/],
  ['something after the object', '{} {}', 0, /expected nothing more/],
  ['a NUL after the object', '{}\0', 0, /expected nothing more/],
  ['a comma too many', '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}', 0, /a key of the header/],
  ['a comment', '{/**/}', 0, /a key of the header/],
  ['single quotes', "{'a':1}", 0, /a key of the header/],
  ['a name without an end', '{"a', 0, /without an end/],
  ['a name that ends in an escape', '{"a\\', 0, /without an end/],
  ['a bad escape', '{"\\x":1}', 0, /not a valid JSON string/],
  ['a line feed in a name', '{"\n":1}', 0, /not a valid JSON string/],
  ['half a surrogate pair', '{"\\ud800":1}', 0, /not valid Unicode/],
  ['a number for a tensor', { a: 1 }, 0, /expected '\{' for tensor "a"/],
  ['null for a tensor', { a: null }, 0, /expected '\{' for tensor "a"/],
  ['metadata that is a list', { __metadata__: [] }, 0, /__metadata__/],
  ['metadata of numbers', { __metadata__: { epoch: 3 } }, 0, /__metadata__ "epoch" to be a string/],
  ['metadata that nests', { __metadata__: { a: { b: 'c' } } }, 0, /__metadata__ "a" to be a string/],

  ['no dtype', { a: { shape: [4], data_offsets: [0, 4] } }, 4, /tensor "a" has no dtype/],
  ['no shape', { a: { dtype: 'U8', data_offsets: [0, 4] } }, 4, /tensor "a" has no shape/],
  ['no offsets', { a: { dtype: 'U8', shape: [4] } }, 4, /tensor "a" has no pair of data_offsets/],
  ['an unknown field', { a: entry({ offsets: [0, 4] }) }, 4, /unknown field "offsets"/],
  ['a dtype that is a number', { a: entry({ dtype: 8 }) }, 4, /dtype of tensor "a" to be a string/],
  ['an unknown dtype', { a: entry({ dtype: 'Q8' }) }, 4, /unknown dtype "Q8"/],
  ['a dtype in lower case', { a: entry({ dtype: 'u8' }) }, 4, /unknown dtype "u8"/],
  ['a dtype of the prototype', { a: entry({ dtype: 'constructor' }) }, 4, /unknown dtype "constructor"/],

  ['a shape that is a number', { a: entry({ shape: 4 }) }, 4, /the shape of tensor "a"/],
  ['a negative dimension', { a: entry({ shape: [-4] }) }, 4, /whole numbers.*found "-4/],
  ['two negative dimensions', { a: entry({ shape: [-2, -2] }) }, 4, /whole numbers/],
  ['half a dimension', { a: entry({ shape: [1.5] }) }, 4, /whole numbers/],
  ['a dimension as text', { a: entry({ shape: ['4'] }) }, 4, /whole numbers/],
  ['null as a dimension', { a: entry({ shape: [null] }) }, 4, /whole numbers/],
  ['an exponent', raw('"dtype":"U8","shape":[4e0],"data_offsets":[0,4]'), 4, /whole numbers/],
  ['a decimal point', raw('"dtype":"U8","shape":[4.0],"data_offsets":[0,4]'), 4, /whole numbers/],
  ['a leading zero', raw('"dtype":"U8","shape":[04],"data_offsets":[0,4]'), 4, /whole numbers/],
  ['2^53', { a: entry({ shape: [2 ** 53] }) }, 4, /whole numbers from 0 to 2\^53 - 1/],
  ['10^20', raw('"dtype":"U8","shape":[100000000000000000000],"data_offsets":[0,4]'), 4, /whole numbers/],
  ['another shape', { a: entry({ shape: [5] }) }, 4, /u8 of shape \[5\] takes 5 bytes/],
  ['a product above 2^53', { a: entry({ shape: [2 ** 30, 2 ** 30] }) }, 4, /more bytes than can be counted/],
  [
    'a product that wraps in 64 bits',
    { a: entry({ shape: [2 ** 32, 2 ** 32, 4] }) },
    4,
    /than can be counted/,
  ],
  [
    'a byte count above 2^53',
    { a: entry({ dtype: 'F64', shape: [2 ** 51] }) },
    4,
    /more bytes than can be counted/,
  ],
  ['a vast shape with a zero', { a: entry({ shape: [0, 2 ** 50, 2 ** 50] }) }, 4, /than can be counted/],
  ['65 dimensions', { a: entry({ shape: new Array(65).fill(1) }) }, 4, /more than 64/],

  ['one offset', { a: entry({ data_offsets: [0] }) }, 4, /no pair of data_offsets/],
  ['three offsets', { a: entry({ data_offsets: [0, 4, 4] }) }, 4, /more than 2/],
  ['a negative offset', { a: entry({ data_offsets: [-4, 0] }) }, 4, /whole numbers/],
  ['offsets in the wrong order', { a: entry({ data_offsets: [4, 0] }) }, 4, /\[4, 0\]/],
  ['an end beyond the file', { a: entry({ shape: [8], data_offsets: [0, 8] }) }, 4, /take 8 bytes but 4/],
  [
    'a tensor of a petabyte',
    { a: entry({ shape: [2 ** 50], data_offsets: [0, 2 ** 50] }) },
    4,
    /but 4 bytes follow/,
  ],
  ['a hole at the front', { a: entry({ shape: [3], data_offsets: [1, 4] }) }, 4, /leaves a hole/],
  ['data that no tensor has', { a: entry({ shape: [3], data_offsets: [0, 3] }) }, 4, /take 3 bytes but 4/],
  ['data without tensors', {}, 4, /take 0 bytes but 4/],
  [
    'a hole between tensors',
    { a: entry({ shape: [1], data_offsets: [0, 1] }), b: entry({ shape: [2], data_offsets: [2, 4] }) },
    4,
    /"b".*leaves a hole/,
  ],
  [
    'tensors that overlap',
    { a: entry({ shape: [3], data_offsets: [0, 3] }), b: entry({ shape: [2], data_offsets: [2, 4] }) },
    4,
    /"b".*overlaps/,
  ],
  ['the same bytes twice', { a: entry(), b: entry() }, 4, /"b".*overlaps/],
  [
    'an empty tensor inside another',
    { a: entry(), b: entry({ shape: [0], data_offsets: [2, 2] }) },
    4,
    /overlaps/,
  ],
  ['a bool of 2', { a: entry({ dtype: 'BOOL', shape: [1], data_offsets: [0, 1] }) }, 1, /element 0/],
];

const twice: [string, string][] = [
  ['the same tensor', `{"a":${JSON.stringify(entry())},"a":${JSON.stringify(entry())}}`],
  ['the same tensor, escaped', `{"a":${JSON.stringify(entry())},"\\u0061":${JSON.stringify(entry())}}`],
  ['a field', raw('"dtype":"U8","shape":[9],"data_offsets":[0,4],"shape":[4]')],
  ['a metadata key', `{"__metadata__":{"k":"1","k":"2"},"a":${JSON.stringify(entry())}}`],
  ['metadata', `{"__metadata__":{},"__metadata__":{},"a":${JSON.stringify(entry())}}`],
];

describe('an unsound header is refused, saying what is wrong', () => {
  test.each(cases)('%s', async (_, header, dataBytes, message) => {
    const bytes = safetensorsBytes(header, new Uint8Array(dataBytes).fill(2));
    const error = failureOf(() => parseSafetensors(bytes));
    expect(error).toMatchObject({ code: 'DT_CORRUPT_FILE', message: expect.stringMatching(message) });
    const path = join(temporaryFolder(), 'bad.safetensors');
    writeFileSync(path, bytes);
    const rejection = await rejectionOf(readSafetensors(path));
    expect(rejection.message).toBe(error.message.replace('The buffer', () => path));
  });

  test.each(twice)('%s twice', (_, header) => {
    const error = failureOf(() => parseSafetensors(safetensorsBytes(header, 4)));
    expect(error).toMatchObject({ code: 'DT_CORRUPT_FILE', message: expect.stringMatching(/ twice/) });
  });

  test('bytes that are not UTF-8', () => {
    const bytes = safetensorsBytes({ a: entry() }, 4);
    bytes[10] = 0xff;
    expect(failureOf(() => parseSafetensors(bytes)).message).toMatch(/not UTF-8/);
  });

  test.each([
    [101n, /claims a header of 101 bytes but has/],
    [100_000_001n, /above the format's limit of 100000000/],
    [2n ** 53n + 1n, /above the format's limit/],
    [2n ** 63n, /above the format's limit/],
    [2n ** 64n - 1n, /above the format's limit/],
  ])('a header length of %s', (length, message) => {
    const bytes = safetensorsBytes({ a: entry() }, 4);
    new DataView(bytes.buffer).setBigUint64(0, length, true);
    expect(failureOf(() => parseSafetensors(bytes))).toMatchObject({
      code: 'DT_CORRUPT_FILE',
      message: expect.stringMatching(message),
    });
  });
});

describe('a sound file that is not for us is no corrupt file', () => {
  test.each(['U64', 'U32', 'U16', 'I16', 'C64', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F4'])(
    'dtype %s',
    (dtype) => {
      const error = failureOf(() => parseSafetensors(safetensorsBytes({ a: entry({ dtype }) }, 4)));
      expect(error).toMatchObject({ code: 'DT_DTYPE_MISMATCH', message: expect.stringContaining(`"a"`) });
    },
  );

  test('nine dimensions', () => {
    const header = { a: entry({ shape: [4, 1, 1, 1, 1, 1, 1, 1, 1] }) };
    expect(failureOf(() => parseSafetensors(safetensorsBytes(header, 4))).code).toBe('DT_SHAPE_MISMATCH');
  });

  test('a missing file and a folder', async () => {
    const folder = temporaryFolder();
    expect((await rejectionOf(readSafetensors(join(folder, 'none')))).code).toBe('DT_NOT_FOUND');
    expect((await rejectionOf(readSafetensors(folder))).code).toBe('DT_IO');
  });

  test.skipIf(process.platform === 'win32')('a named pipe, which is not waited for', async () => {
    const pipe = join(temporaryFolder(), 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect((await rejectionOf(readSafetensors(pipe))).code).toBe('DT_IO');
  });

  test('bytes that are not in a Uint8Array', () => {
    for (const bytes of [new ArrayBuffer(8), new Float32Array(4), 'text', undefined]) {
      expect(failureOf(() => parseSafetensors(bytes as never)).code).toBe('DT_INVALID_ARGUMENT');
      expect(failureOf(() => parseIdx(bytes as never)).code).toBe('DT_INVALID_ARGUMENT');
    }
  });
});

describe('names are only names', () => {
  test('__proto__ and constructor pollute nothing', () => {
    const header = `{"__metadata__":{"__proto__":"x"},"__proto__":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"constructor":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}`;
    const { tensors, metadata } = parseSafetensors(safetensorsBytes(header, 4));
    expect(Object.keys(tensors)).toEqual(['__proto__', 'constructor']);
    expect(Object.keys(metadata)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(tensors)).toBeNull();
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
    expect(parseSafetensors(safetensorsBytes('{}')).tensors.toString).toBeUndefined();
  });

  test('a name cannot act on the terminal that shows an error, nor flood it', () => {
    const name = `\u001b[31m\u009b2J\u202e${'x'.repeat(5000)}`;
    const { message } = failureOf(() => parseSafetensors(safetensorsBytes({ [name]: 1 })));
    const unsafe = /\p{Control}|\p{Bidi_Control}/u;
    expect(message).not.toMatch(unsafe);
    expect(message.length).toBeLessThan(400);
  });
});

describe('a large hostile header takes neither long nor much', () => {
  const MEGABYTES = 1e6;
  test.each([
    ['arrays in arrays', `{"a":${'['.repeat(20 * MEGABYTES)}`],
    ['objects in objects', '{"a":'.repeat(4 * MEGABYTES)],
    ['a name without an end', `{"${'a'.repeat(20 * MEGABYTES)}`],
    ['escapes without an end', `{"${'\\\\'.repeat(10 * MEGABYTES)}`],
    ['a number without an end', `{"a":{"shape":[${'1'.repeat(20 * MEGABYTES)}`],
    ['numbers without an end', `{"a":{"shape":[${'1,'.repeat(10 * MEGABYTES)}`],
    ['white space without an end', `{${' '.repeat(20 * MEGABYTES)}`],
  ])('%s', (_, header) => {
    const bytes = safetensorsBytes(header);
    const start = performance.now();
    const error = failureOf(() => parseSafetensors(bytes));
    expect(error.code).toBe('DT_CORRUPT_FILE');
    expect(error.message.length).toBeLessThan(400);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

test('whatever bytes change, the file is read whole or refused with a code', () => {
  const positions = fc.integer({ min: 0, max: sound.length - 1 });
  const changes = fc.array(fc.tuple(positions, fc.nat({ max: 255 })), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(changes, (list) => {
      const bytes = sound.slice();
      for (const [position, value] of list) bytes[position] = value;
      let read: ReturnType<typeof parseSafetensors>;
      try {
        read = parseSafetensors(bytes);
      } catch (error) {
        expect(['DT_CORRUPT_FILE', 'DT_DTYPE_MISMATCH']).toContain((error as { code: string }).code);
        return;
      }
      const total = Object.values(read.tensors).reduce((sum, { data }) => sum + data.byteLength, 0);
      expect(total).toBe(11);
    }),
    { numRuns: 2000 },
  );
});
