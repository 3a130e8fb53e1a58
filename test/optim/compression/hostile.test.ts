import {
  DrivetrainError,
  Float16Compressor,
  type GradientCompressor,
  parseSafetensors,
  serializeSafetensors,
  type TensorData,
  TopKCompressor,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../io/support.js';

const params = [zeros([2, 3]), zeros([4])];
const gradients = [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(7, 8, 9, 10)];
const compressors: Record<string, () => GradientCompressor> = {
  float16: () => new Float16Compressor(params),
  topk: () => new TopKCompressor(params, { ratio: 0.5 }),
};
const bytesOf = (method: string) => compressors[method]!().compress(gradients);

test('each decompresses what the other compressed', () => {
  for (const [method, other] of [
    ['float16', 'topk'],
    ['topk', 'float16'],
  ] as const) {
    const [matrix] = compressors[other]!().decompress(bytesOf(method));
    expect([...(matrix!.toArray() as Float32Array)]).toEqual(
      method === 'topk' ? [0, 0, 0, 4, 5, 6] : [1, 2, 3, 4, 5, 6],
    );
  }
});

describe.each(Object.keys(compressors))('%s', (method) => {
  const receiver = compressors[method]!();

  test('bytes that were changed or cut give gradients of the right kind or an error, whatever they are', () => {
    const bytes = bytesOf(method);
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 3 }),
        fc.option(fc.nat(bytes.length - 1)),
        (changes, length) => {
          const spoilt = bytes.slice(0, length ?? bytes.length);
          for (const [at, value] of changes) if (at < spoilt.length) spoilt[at] = value;
          try {
            const found = receiver.decompress(spoilt);
            expect(found.map(({ dtype, shape }) => [dtype, shape])).toEqual([
              ['f32', [2, 3]],
              ['f32', [4]],
            ]);
            for (const t of found) t.dispose();
          } catch (error) {
            if (!(error instanceof DrivetrainError)) throw error;
            expect(error.code).toMatch(/^DT_(CORRUPT_FILE|SHAPE_MISMATCH|DTYPE_MISMATCH)$/);
          }
        },
      ),
      { numRuns: 600 },
    );
  });

  const other: [string, string, GradientCompressor][] = [
    ['another order', 'DT_SHAPE_MISMATCH', new Float16Compressor([params[1]!, params[0]!])],
    ['fewer', 'DT_SHAPE_MISMATCH', new Float16Compressor([params[0]!])],
    ['another dtype', 'DT_SHAPE_MISMATCH', new Float16Compressor([new Float64Array(6), params[1]!])],
    ['another shape', 'DT_SHAPE_MISMATCH', new Float16Compressor([new Float32Array(6), params[1]!])],
  ];
  test.each(other)('gradients of other parameters are refused: %s', (_, code, compressor) => {
    expect(failureOf(() => compressor.decompress(bytesOf(method))).code).toBe(code);
  });

  test.each<[string, unknown]>([
    ['text', 'gradients'],
    ['a Float32Array', gradients[0]],
    ['nothing', undefined],
  ])('%s is no bytes', (_, value) => {
    expect(failureOf(() => receiver.decompress(value as Uint8Array)).code).toBe('DT_INVALID_ARGUMENT');
  });
});

type Parts = { tensors: Record<string, TensorData>; metadata: Record<string, string> };
const i32 = (...data: number[]): TensorData => ({
  dtype: 'i32',
  shape: [data.length],
  data: Int32Array.from(data),
});
const f32 = (...data: number[]): TensorData => ({
  dtype: 'f32',
  shape: [data.length],
  data: Float32Array.from(data),
});

test.each<[string, string, (parts: Parts) => unknown]>([
  ['another version', 'topk', ({ metadata }) => (metadata.format = 'drivetrain-gradients/2')],
  ['no format', 'topk', ({ metadata }) => delete metadata.format],
  ['an unknown method', 'topk', ({ metadata }) => (metadata.method = 'constructor')],
  ['no method', 'topk', ({ metadata }) => delete metadata.method],
  ['a position beyond the end', 'topk', ({ tensors }) => (tensors['1.indices'] = i32(1, 4))],
  ['a negative position', 'topk', ({ tensors }) => (tensors['1.indices'] = i32(-1, 2))],
  ['a position twice', 'topk', ({ tensors }) => (tensors['1.indices'] = i32(2, 2))],
  ['positions that fall', 'topk', ({ tensors }) => (tensors['1.indices'] = i32(3, 1))],
  ['more positions than elements', 'topk', ({ tensors }) => (tensors['1.indices'] = i32(0, 1, 2, 3, 4))],
  ['fewer values than positions', 'topk', ({ tensors }) => (tensors['1.values'] = f32(1))],
  ['values of another dtype', 'topk', ({ tensors }) => (tensors['1.values'] = i32(1, 2))],
  ['no positions', 'topk', ({ tensors }) => delete tensors['1.indices']],
  [
    'a tensor of another shape',
    'float16',
    ({ tensors }) => (tensors['1'] = { ...tensors['1']!, shape: [2, 2] }),
  ],
  ['a tensor of another dtype', 'float16', ({ tensors }) => (tensors['1'] = f32(1, 2, 3, 4))],
  ['no tensor', 'float16', ({ tensors }) => delete tensors['0']],
  ['no exponents', 'float16', ({ tensors }) => delete tensors.exponents],
  ['an exponent too few', 'float16', ({ tensors }) => (tensors.exponents = i32(0))],
  ['an exponent too large', 'float16', ({ tensors }) => (tensors.exponents = i32(0, 127))],
  ['an exponent too small', 'float16', ({ tensors }) => (tensors.exponents = i32(0, -(2 ** 31)))],
])('%s is corrupt', (_, method, spoil) => {
  const { tensors, metadata } = parseSafetensors(bytesOf(method));
  const parts = { tensors: { ...tensors }, metadata: { ...metadata } };
  spoil(parts);
  const bytes = serializeSafetensors(parts.tensors, parts.metadata);
  const failure = failureOf(() => compressors[method]!().decompress(bytes));
  expect(failure.code).toBe('DT_CORRUPT_FILE');
  expect(failure.message).toContain('The compressed gradients');
});
