import { inspect } from 'node:util';
import { type DType, defaultPool, permute, slice, type Tensor, tensor, transpose, wrap } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { binding } from '../../dist/native/index.js';
import { DTYPES, type SharedStorage } from '../../dist/tensor/index.js';
import { bitsOf, laidOut, layouts, refusalOf, shapes, sizeOf } from '../ops/support.js';

const ALL = Object.keys(DTYPES) as DType[];

describe.each(ALL)('a tensor of %s', (dtype) => {
  const array = new DTYPES[dtype].array(6);
  for (let i = 0; i < 6; i++) array[i] = dtype === 'i64' ? BigInt(i) : dtype === 'bool' ? i % 2 : i;

  test('copies a typed array in, and out again, by its bits', async () => {
    const t = tensor(array, { shape: [2, 3], dtype });
    expect(t).toMatchObject({
      dtype,
      shape: [2, 3],
      strides: [3, 1],
      offset: 0,
      size: 6,
      rank: 2,
      contiguous: true,
    });
    const copy = t.toArray();
    expect(copy.constructor).toBe(DTYPES[dtype].array);
    expect(bitsOf(copy)).toBe(bitsOf(array));
    expect(copy.buffer).toBeInstanceOf(ArrayBuffer);
    expect(bitsOf(await t.read())).toBe(bitsOf(array));
    copy.fill(DTYPES[dtype].array === BigInt64Array ? (1n as never) : (1 as never));
    expect(bitsOf(t.toArray())).toBe(bitsOf(array));
  });

  test('takes nested numbers', () => {
    const t = tensor(
      [
        [0, 1],
        [1, 0],
        [1, 1],
      ],
      { dtype },
    );
    expect(t.shape).toEqual([3, 2]);
    const data = dtype === 'bool' ? [false, true, true, false, true, true] : [0, 1, 1, 0, 1, 1];
    expect(t.toJSON()).toEqual({ dtype, shape: [3, 2], data: dtype === 'i64' ? data.map(String) : data });
  });
});

test('toArray reads row by row, whatever the layout', () => {
  fc.assert(
    fc.property(shapes, layouts, fc.constantFrom(...ALL), (shape, layout, dtype) => {
      const data = Array.from({ length: sizeOf(shape) }, (_, i) => (dtype === 'i64' ? BigInt(i) : i % 120));
      const t = laidOut(data as number[], shape, dtype, layout);
      expect(Array.from(t.toArray() as Float32Array)).toEqual(data);
      t.dispose();
    }),
  );
});

describe('item', () => {
  test.each<[DType, number, number]>([
    ['f32', 0.1, Math.fround(0.1)],
    ['f64', 0.1, 0.1],
    ['i64', -(2 ** 53) + 1, -(2 ** 53) + 1],
    ['i32', -7, -7],
    ['i8', -128, -128],
    ['u8', 255, 255],
    ['bool', 1, 1],
    ['f16', 1.5, 1.5],
    ['bf16', -3, -3],
  ])('of %s is the number', (dtype, given, want) => {
    expect(tensor(given, { dtype }).item()).toBe(want);
    expect(tensor([[given]], { dtype }).item()).toBe(want);
  });

  test('of a view is its own element', () => {
    expect(
      slice(
        slice(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          0,
          1,
          2,
        ),
        1,
        0,
        1,
      ).item(),
    ).toBe(3);
  });

  test('of more or fewer elements is refused, with the shape', () => {
    expect(refusalOf(() => tensor([1, 2]).item())).toMatchObject({
      code: 'DT_SHAPE_MISMATCH',
      message: expect.stringContaining('[2]'),
    });
    expect(refusalOf(() => tensor([]).item()).code).toBe('DT_SHAPE_MISMATCH');
  });

  test('of an i64 that no number holds is refused rather than rounded', () => {
    const t = tensor(BigInt64Array.of(2n ** 53n));
    expect(refusalOf(() => t.item())).toMatchObject({
      code: 'DT_INVALID_ARGUMENT',
      message: expect.stringContaining('9007199254740992'),
    });
    expect(t.toArray()).toEqual(BigInt64Array.of(2n ** 53n));
  });
});

describe('borrow', () => {
  test('is the memory itself: writes show on both sides', () => {
    const t = tensor([
      [1, 2],
      [3, 4],
    ]);
    const view = t.borrow() as Float32Array;
    view[3] = 9;
    expect([...(t.toArray() as Float32Array)]).toEqual([1, 2, 3, 9]);
    expect(slice(t, 0, 1, 2).borrow()).toEqual(Float32Array.of(3, 9));
  });

  test('is refused where the elements do not lie row by row', () => {
    const refusal = refusalOf(() =>
      transpose(
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ).borrow(),
    );
    expect(refusal.code).toBe('DT_NOT_CONTIGUOUS');
    expect(refusal.message).toContain('[1, 2]');
  });

  test('is refused after dispose', () => {
    const t = tensor([1]);
    t.dispose();
    expect(refusalOf(() => t.borrow()).code).toBe('DT_DISPOSED');
  });
});

describe('dispose', () => {
  test('ends the tensor and all its views, once, and gives the memory back', () => {
    const before = defaultPool.statistics;
    const t = tensor(new Float32Array(1000), { shape: [10, 100] });
    const view = transpose(t);
    expect(defaultPool.statistics.blocks).toBe(before.blocks + 1);
    t.dispose();
    t.dispose();
    view.dispose();
    expect([t.disposed, view.disposed]).toEqual([true, true]);
    expect(defaultPool.statistics.current).toBe(before.current);
    expect(defaultPool.statistics.blocks).toBe(before.blocks);
    for (const read of [
      () => t.toArray(),
      () => view.toArray(),
      () => t.item.call(slice(t, 0, 0, 1)),
      () => t.toJSON(),
    ]) {
      expect(refusalOf(read).code).toBe('DT_DISPOSED');
    }
  });

  test('is what `using` calls', () => {
    let kept: Tensor;
    {
      using t = tensor([1]);
      kept = t;
    }
    expect(kept.disposed).toBe(true);
  });
});

describe('JSON', () => {
  test('has the numbers as they are meant', () => {
    expect(JSON.parse(JSON.stringify(tensor([[1.5, -2]])))).toEqual({
      dtype: 'f32',
      shape: [1, 2],
      data: [1.5, -2],
    });
    expect(tensor([1, 0], { dtype: 'bool' }).toJSON().data).toEqual([true, false]);
    expect(tensor(BigInt64Array.of(2n ** 62n)).toJSON().data).toEqual(['4611686018427387904']);
    expect(tensor([0.5, 65504], { dtype: 'f16' }).toJSON().data).toEqual([0.5, 65504]);
    expect(
      transpose(
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ).toJSON(),
    ).toEqual({ dtype: 'f32', shape: [2, 2], data: [1, 3, 2, 4] });
  });
});

describe('inspect', () => {
  test('shows dtype, shape and nested values', () => {
    expect(
      inspect(
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ),
    ).toBe('Tensor f32 [2, 2] [ [ 1, 2 ], [ 3, 4 ] ]');
    expect(inspect(tensor(5, { dtype: 'i32' }))).toBe('Tensor i32 [] 5');
    expect(inspect(tensor([1, 0], { dtype: 'bool' }))).toBe('Tensor bool [2] [ true, false ]');
    expect(inspect(tensor([], { dtype: 'f64' }))).toBe('Tensor f64 [0] []');
    expect(inspect(permute(tensor([[1, 2, 3]]), [1, 0]))).toBe('Tensor f32 [3, 1] [ [ 1 ], [ 2 ], [ 3 ] ]');
  });

  test('counts the elements of what is large', () => {
    expect(inspect(tensor(new Float32Array(2000)))).toBe('Tensor f32 [2000] { 2000 elements }');
  });

  test('never throws: not of what was disposed, transferred or is in use', () => {
    const gone = tensor([1]);
    gone.dispose();
    expect(inspect(gone)).toBe('Tensor f32 [1] (disposed)');
    const array = new Float32Array(2);
    const detached = wrap(array);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    expect(inspect(detached)).toBe('Tensor f32 [2] (DT_DETACHED_BUFFER)');
    const busy = tensor([1, 2]);
    const { handle } = busy.storage as SharedStorage;
    expect(binding.lock(handle, true)).toBe(true);
    try {
      expect(inspect(busy)).toBe('Tensor f32 [2] (DT_TENSOR_BUSY)');
    } finally {
      binding.unlock(handle, true);
    }
    expect(inspect(busy)).toBe('Tensor f32 [2] [ 1, 2 ]');
  });
});

describe('tensor() refuses', () => {
  test.each<[string, string, () => unknown]>([
    ['rows of unequal length', 'DT_SHAPE_MISMATCH', () => tensor([[1, 2], [3]])],
    ['rows of unequal depth', 'DT_SHAPE_MISMATCH', () => tensor([[1], 2] as never)],
    ['text', 'DT_INVALID_ARGUMENT', () => tensor('12' as never)],
    ['text inside', 'DT_INVALID_ARGUMENT', () => tensor([1, '2'] as never)],
    ['nothing', 'DT_INVALID_ARGUMENT', () => tensor(undefined as never)],
    ['a shape of another size', 'DT_SHAPE_MISMATCH', () => tensor([1, 2], { shape: [3] })],
    ['a shape with a fraction', 'DT_SHAPE_MISMATCH', () => tensor([1, 2], { shape: [0.5, 4] })],
    ['a shape with a negative extent', 'DT_SHAPE_MISMATCH', () => tensor([1, 2], { shape: [-1, -2] })],
    ['nine dimensions', 'DT_SHAPE_MISMATCH', () => tensor([1], { shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] })],
    ['a shape that is no array', 'DT_SHAPE_MISMATCH', () => tensor([1], { shape: 1 as never })],
    [
      'another dtype than the array has',
      'DT_DTYPE_MISMATCH',
      () => tensor(new Float32Array(1), { dtype: 'f64' }),
    ],
    ['a Uint16Array that does not say what it is', 'DT_DTYPE_MISMATCH', () => tensor(new Uint16Array(1))],
    ['a DataView', 'DT_DTYPE_MISMATCH', () => tensor(new DataView(new ArrayBuffer(8)) as never)],
    ['an array of a type that has no dtype', 'DT_DTYPE_MISMATCH', () => tensor(new Uint32Array(1) as never)],
    ['an unknown dtype', 'DT_DTYPE_MISMATCH', () => tensor([1], { dtype: 'f8' as never })],
    ['a fraction as an integer', 'DT_INVALID_ARGUMENT', () => tensor([0.5], { dtype: 'i32' })],
    ['a fraction as an i64', 'DT_INVALID_ARGUMENT', () => tensor([0.5], { dtype: 'i64' })],
    ['a number beyond the range', 'DT_INVALID_ARGUMENT', () => tensor([1, 128], { dtype: 'i8' })],
    ['NaN as an integer', 'DT_INVALID_ARGUMENT', () => tensor([NaN], { dtype: 'u8' })],
  ])('%s', (_, code, run) => {
    const before = defaultPool.statistics.blocks;
    expect(refusalOf(run).code).toBe(code);
    expect(defaultPool.statistics.blocks).toBe(before);
  });
});

test('a shape that is changed afterwards changes no tensor', () => {
  const shape = [2, 3];
  const made = [tensor(new Float32Array(6), { shape }), wrap(new Float32Array(6), shape)];
  shape[0] = 100;
  for (const t of made) expect(t.shape).toEqual([2, 3]);
});
