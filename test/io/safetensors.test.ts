import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  parseSafetensors,
  readSafetensors,
  serializeSafetensors,
  type TensorData,
  writeSafetensors,
} from '../../dist/io/index.js';
import {
  DTYPES,
  type DType,
  defaultPool,
  sizeOf,
  type Tensor,
  tensor,
  wrap,
} from '../../dist/tensor/index.js';
import {
  expectSameData,
  failureOf,
  golden,
  goldenBytes,
  rejectionOf,
  safetensorsBytes,
  temporaryFolder,
} from './support.js';

const f32 = (...values: number[]): TensorData => ({
  dtype: 'f32',
  shape: [values.length],
  data: new Float32Array(values),
});

/** The tensors of make_goldens.py. */
const GOLDEN: Record<string, TensorData> = {
  f32: {
    dtype: 'f32',
    shape: [2, 3],
    data: new Float32Array([0, -0, 1.5, Infinity, -Infinity, 3.4028234663852886e38]),
  },
  f64: { dtype: 'f64', shape: [2], data: new Float64Array([5e-324, 1 / 3]) },
  i64: { dtype: 'i64', shape: [2], data: new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n]) },
  i32: { dtype: 'i32', shape: [3], data: new Int32Array([-(2 ** 31), 0, 2 ** 31 - 1]) },
  i8: { dtype: 'i8', shape: [3], data: new Int8Array([-128, 0, 127]) },
  u8: { dtype: 'u8', shape: [1, 1, 3], data: new Uint8Array([0, 1, 255]) },
  bool: { dtype: 'bool', shape: [3], data: new Uint8Array([0, 1, 1]) },
  f16: { dtype: 'f16', shape: [3], data: new Uint16Array([0x3c00, 0xc000, 0x7bff]) },
  bf16: { dtype: 'bf16', shape: [3], data: new Uint16Array([0x3f80, 0xc000, 0x4040]) },
  scalar: { dtype: 'f32', shape: [], data: new Float32Array([42]) },
  empty: { dtype: 'f32', shape: [2, 0, 3], data: new Float32Array(0) },
  'größe/😀\n': f32(7),
  '\uffee': f32(8),
};
const METADATA = { format: 'pt', note: 'line one\nline "two" é' };

const shapes = fc.oneof(
  fc.constant([]),
  fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }),
  fc.constant([0, 1e6]),
  fc.constant([1, 1, 1, 1, 1, 1, 1, 2]),
);

const names = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('__proto__', 'constructor', 'toString', '', '0', 'layers.0.weight'),
);

const tensors = fc
  .tuple(fc.constantFrom(...(Object.keys(DTYPES) as DType[])), shapes)
  .chain(([dtype, shape]) => {
    const bytes = sizeOf(shape) * DTYPES[dtype].bytes;
    const most = dtype === 'bool' ? 1 : 255;
    return fc.uint8Array({ minLength: bytes, maxLength: bytes, max: most }).map((content): TensorData => {
      const data = new DTYPES[dtype].array(content.slice().buffer, 0, sizeOf(shape));
      return { dtype, shape, data };
    });
  });

function record<T>(pairs: [string, T][]): Record<string, T> {
  return Object.fromEntries(pairs);
}

const files = fc.record({
  tensors: fc
    .uniqueArray(fc.tuple(names, tensors), { selector: ([name]) => name, maxLength: 6 })
    .map((pairs) => record(pairs.filter(([name]) => name !== '__metadata__'))),
  metadata: fc
    .uniqueArray(fc.tuple(names, fc.string({ unit: 'binary' })), { selector: ([key]) => key, maxLength: 4 })
    .map((pairs) => record(pairs)),
});

describe('what is written is read again, to the bit', () => {
  test('as bytes, for any names, dtypes, shapes and metadata', () => {
    fc.assert(
      fc.property(files, ({ tensors, metadata }) => {
        const bytes = serializeSafetensors(tensors, metadata);
        const read = parseSafetensors(bytes);
        expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(tensors).sort());
        for (const [name, data] of Object.entries(tensors)) expectSameData(read.tensors[name]!, data);
        expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(metadata).sort());
        expect(bytes.length % 8).toBe((bytes.length - 8) % 8);
        expect(serializeSafetensors(read.tensors, read.metadata)).toEqual(bytes);
      }),
      { numRuns: 300 },
    );
  });

  test('as a file and pool tensors, the same bytes', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    await fc.assert(
      fc.asyncProperty(files, async (file) => {
        const pooled = record(
          Object.entries(file.tensors).map(([name, { data, shape, dtype }]): [string, Tensor] => [
            name,
            tensor(data, { shape, dtype }),
          ]),
        );
        await writeSafetensors(path, pooled, file.metadata);
        expect(new Uint8Array(readFileSync(path))).toEqual(serializeSafetensors(file.tensors, file.metadata));
        const read = await readSafetensors(path);
        for (const [name, expected] of Object.entries(file.tensors)) {
          const { dtype, shape } = read.tensors[name]!;
          expectSameData({ dtype, shape, data: read.tensors[name]!.toArray() }, expected);
        }
        expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(file.metadata).sort());
        for (const made of [...Object.values(pooled), ...Object.values(read.tensors)]) made.dispose();
      }),
      { numRuns: 50 },
    );
  });

  test('a view is written as the elements it shows', () => {
    const transposed = wrap(new Float32Array([1, 2, 3, 4, 5, 6])).viewAs([3, 2], [1, 3]);
    expectSameData(parseSafetensors(serializeSafetensors({ t: transposed })).tensors.t!, {
      dtype: 'f32',
      shape: [3, 2],
      data: new Float32Array([1, 4, 2, 5, 3, 6]),
    });
  });

  test('from a buffer that begins anywhere, into memory of its own', () => {
    const bytes = serializeSafetensors({ a: f32(1, 2) });
    for (let shift = 0; shift < 8; shift++) {
      const larger = new Uint8Array(bytes.length + 16);
      larger.set(bytes, shift);
      const { tensors } = parseSafetensors(larger.subarray(shift, shift + bytes.length));
      larger.fill(0xff);
      expect(tensors.a!.data).toEqual(new Float32Array([1, 2]));
    }
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    expect(parseSafetensors(shared).tensors.a!.data.buffer).toBeInstanceOf(ArrayBuffer);
    expect(parseSafetensors(Buffer.from(bytes)).tensors.a!.data).toEqual(new Float32Array([1, 2]));
  });
});

describe('the format is the reference implementation’s', () => {
  test('the same content gives the bytes of the golden file', () => {
    expect(serializeSafetensors(GOLDEN, METADATA)).toEqual(goldenBytes('canonical.safetensors'));
  });

  test('in whatever order it comes', () => {
    const turned = record(Object.entries(GOLDEN).reverse());
    const metadata = { note: METADATA.note, format: METADATA.format };
    expect(serializeSafetensors(turned, metadata)).toEqual(goldenBytes('canonical.safetensors'));
  });

  test.each(['canonical.safetensors', 'foreign.safetensors'])('%s is read', async (name) => {
    const { tensors, metadata } = await readSafetensors(golden(name));
    expect({ ...metadata }).toEqual(METADATA);
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(GOLDEN).sort());
    for (const [key, expected] of Object.entries(GOLDEN)) {
      const { dtype, shape } = tensors[key]!;
      expectSameData({ dtype, shape, data: tensors[key]!.toArray() }, expected);
      tensors[key]!.dispose();
    }
  });

  test('every tensor is aligned in the file', () => {
    const bytes = serializeSafetensors(GOLDEN, METADATA);
    const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(Buffer.from(bytes.subarray(8, 8 + headerBytes)).toString());
    for (const [name, { dtype }] of Object.entries(GOLDEN)) {
      expect((8 + headerBytes + header[name].data_offsets[0]) % DTYPES[dtype].bytes).toBe(0);
    }
  });

  test('an empty file has a header of eight bytes', () => {
    expect(serializeSafetensors({})).toEqual(safetensorsBytes('{}      '));
  });
});

test('a model is refused where its tensors are wanted', async () => {
  const model = { weight: tensor([1]), stateDict: () => ({}) } as never;
  const path = join(temporaryFolder(), 'model.safetensors');
  for (const refusal of [
    failureOf(() => serializeSafetensors(model)),
    await rejectionOf(writeSafetensors(path, model)),
  ])
    expect(refusal).toMatchObject({
      code: 'DT_INVALID_ARGUMENT',
      message: expect.stringMatching(/pass its stateDict\(\)\.$/),
    });
  expect(existsSync(path)).toBe(false);
});

describe('what cannot be stored is refused before a byte is written', () => {
  const refused: [string, object, Record<string, unknown>, string, RegExp][] = [
    ['the reserved name', { __metadata__: f32(1) }, {}, 'DT_INVALID_ARGUMENT', /__metadata__/],
    ['a name that is no Unicode', { 'a\ud800': f32(1) }, {}, 'DT_INVALID_ARGUMENT', /ud800/],
    ['a value that is no tensor', { a: undefined }, {}, 'DT_INVALID_ARGUMENT', /"a".*undefined/],
    ['a Map', new Map([['a', f32(1)]]), {}, 'DT_INVALID_ARGUMENT', /a Map; Object.fromEntries/],
    ['an array', [f32(1)], {}, 'DT_INVALID_ARGUMENT', /a list/],
    ['metadata that is no string', { a: f32(1) }, { epoch: 3 }, 'DT_INVALID_ARGUMENT', /"epoch".*number/],
    ['too few elements', { a: { ...f32(1), shape: [2] } }, {}, 'DT_SHAPE_MISMATCH', /"a".*\[2\]/],
    ['a shape that is none', { a: { ...f32(1), shape: [-1] } }, {}, 'DT_SHAPE_MISMATCH', /"a".*\[-1\]/],
    ['another array than the dtype’s', { a: { ...f32(1), dtype: 'f64' } }, {}, 'DT_DTYPE_MISMATCH', /f64/],
    ['a dtype that is none', { a: { ...f32(1), dtype: 'q4' } }, {}, 'DT_DTYPE_MISMATCH', /q4/],
    [
      'a bool of 2',
      { a: { dtype: 'bool', shape: [2], data: new Uint8Array([1, 2]) } },
      {},
      'DT_INVALID_ARGUMENT',
      /"a".*2 at element 1/,
    ],
  ];

  test.each(refused)('%s', async (_, tensors, metadata, code, message) => {
    const folder = temporaryFolder();
    const path = join(folder, 'model.safetensors');
    const error = await rejectionOf(writeSafetensors(path, tensors as never, metadata as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual([]);
    expect(failureOf(() => serializeSafetensors(tensors as never, metadata as never)).code).toBe(code);
  });

  test('a disposed tensor', async () => {
    const gone = tensor([1, 2]);
    gone.dispose();
    const path = join(temporaryFolder(), 'model.safetensors');
    expect((await rejectionOf(writeSafetensors(path, { gone }))).code).toBe('DT_DISPOSED');
  });
});

test('what is written is what the tensors held at the call', async () => {
  const path = join(temporaryFolder(), 'model.safetensors');
  const weights = new Float32Array([1, 2, 3]);
  const pooled = tensor([4, 5, 6]);
  const metadata = { step: '1' };
  const written = writeSafetensors(
    path,
    { weights: { dtype: 'f32', shape: [3], data: weights }, pooled },
    metadata,
  );
  weights.fill(0);
  pooled.borrow().fill(0 as never);
  metadata.step = '2';
  await written;
  const read = parseSafetensors(readFileSync(path));
  expect(read.tensors.weights!.data).toEqual(new Float32Array([1, 2, 3]));
  expect(read.tensors.pooled!.data).toEqual(new Float32Array([4, 5, 6]));
  expect({ ...read.metadata }).toEqual({ step: '1' });
  pooled.dispose();
});

test('a file that fails half-way leaves no tensor behind', async () => {
  const path = join(temporaryFolder(), 'bad.safetensors');
  const bytes = serializeSafetensors({
    a: f32(1, 2),
    flags: { dtype: 'bool', shape: [1], data: new Uint8Array(1) },
  });
  bytes[bytes.length - 1] = 2;
  writeFileSync(path, bytes);
  const { blocks } = defaultPool.statistics;
  expect((await rejectionOf(readSafetensors(path))).code).toBe('DT_CORRUPT_FILE');
  expect(defaultPool.statistics.blocks).toBe(blocks);
});
