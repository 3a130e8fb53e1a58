import { createContext, runInContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { add, assign, mul, sum, tensor, wrap } from 'drivetrain';
import { expect, test } from 'vitest';
import type { TypedArray } from '../../dist/native/index.js';
import { refusalOf } from '../ops/support.js';

test('a wrapped array is not copied: writes show on both sides', () => {
  const array = Float32Array.of(1, 2, 3, 4);
  const t = wrap(array, [2, 2]);
  assign(
    t,
    tensor([
      [5, 6],
      [7, 8],
    ]),
  );
  expect([...array]).toEqual([5, 6, 7, 8]);
  array[0] = -1;
  expect(sum(t).item()).toBe(20);
});

test('a view into a larger buffer is read where it begins', () => {
  const buffer = new ArrayBuffer(40);
  const array = new Float32Array(buffer, 12, 4);
  array.set([1, 2, 3, 4]);
  const t = wrap(array);
  expect(t.toArray()).toEqual(Float32Array.of(1, 2, 3, 4));
  assign(t, mul(t, 10));
  expect([...new Float32Array(buffer)]).toEqual([0, 0, 0, 10, 20, 30, 40, 0, 0, 0]);
});

test.each([
  ['f32', 'Float32Array'],
  ['f64', 'Float64Array'],
  ['i64', 'BigInt64Array'],
  ['i32', 'Int32Array'],
  ['i8', 'Int8Array'],
  ['u8', 'Uint8Array'],
])('the dtype of a foreign realm’s array is known by its kind: %s', (dtype, name) => {
  const foreign = runInContext(`new ${name}(3)`, createContext()) as TypedArray;
  expect(foreign instanceof (globalThis as never)[name]).toBe(false);
  expect(wrap(foreign).dtype).toBe(dtype);
  expect(tensor(foreign).shape).toEqual([3]);
});

test('a foreign realm’s array is computed on in place', () => {
  const foreign = runInContext('Float32Array.of(1, 2, 3)', createContext()) as Float32Array;
  const t = wrap(foreign);
  assign(t, add(t, 1));
  expect(Array.from(foreign)).toEqual([2, 3, 4]);
});

test('an array on shared memory shares its tensor with other threads', async () => {
  const array = new Float32Array(new SharedArrayBuffer(16));
  const t = wrap(array);
  expect(t.storage.kind).toBe('shared');
  const worker = new Worker('require("node:worker_threads").workerData.set([1, 2, 3, 4])', {
    eval: true,
    workerData: array,
  });
  await new Promise((resolve) => worker.once('exit', resolve));
  expect(sum(t).item()).toBe(10);
  t.dispose();
  expect([...array]).toEqual([1, 2, 3, 4]);
});

test('an array on shared memory has one storage however often it is wrapped, and a new one after dispose', () => {
  const array = new Float32Array(new SharedArrayBuffer(16));
  const t = wrap(array);
  expect(wrap(array, [2, 2]).storage).toBe(t.storage);
  t.dispose();
  expect(wrap(array).toArray()).toEqual(new Float32Array(4));
});

test('a transferred buffer is noticed, and says what to do', () => {
  const array = new Float32Array(4);
  const t = wrap(array);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  for (const use of [
    () => t.toArray(),
    () => add(t, 1),
    () => t.borrow(),
    () => assign(t, tensor([1, 2, 3, 4])),
  ]) {
    expect(refusalOf(use).code).toBe('DT_DETACHED_BUFFER');
  }
});

test('bits of 16 need their dtype, bytes may be bool', () => {
  expect(wrap(Uint16Array.of(0x3c00), [], { dtype: 'f16' }).item()).toBe(1);
  expect(wrap(Uint16Array.of(0x3f80), [], { dtype: 'bf16' }).item()).toBe(1);
  expect(wrap(Uint8Array.of(1, 0), [2], { dtype: 'bool' }).toJSON().data).toEqual([true, false]);
  expect(refusalOf(() => wrap(new Uint16Array(1))).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => wrap(new Float32Array(1), [1], { dtype: 'bool' })).code).toBe('DT_DTYPE_MISMATCH');
});

test('what is no typed array, and shapes that do not fit, are refused', () => {
  expect(refusalOf(() => wrap([1, 2] as never)).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => wrap(undefined as never)).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => wrap(new Float32Array(4), [5])).code).toBe('DT_SHAPE_MISMATCH');
});
