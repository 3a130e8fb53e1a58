import {
  add,
  broadcastTo,
  compile,
  defaultPool,
  equal,
  exp,
  greater,
  linear,
  matmul,
  mul,
  neg,
  ones,
  relu,
  slice,
  sub,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
  wrap,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failure } from '../program/support.js';
import {
  awkwardNumbers,
  contentOf,
  expectSameBits,
  floats,
  laidOut,
  layouts,
  seeds,
  shapes,
  sizeOf,
} from './support.js';

const unary = { neg, exp, relu };
const binary = { add, mul, sub, equal, greater };

describe.each(Object.entries(unary))('%s', (_, op) => {
  test('writes the bits of a fresh result into out, and into the operand itself', () => {
    fc.assert(
      fc.property(floats, shapes, layouts, seeds, (dtype, shape, layout, seed) => {
        defaultPool.scope(() => {
          const x = laidOut(awkwardNumbers(sizeOf(shape), seed, dtype), shape, dtype, layout);
          const want = contentOf(op(x));
          const out = zeros(shape, { dtype });
          expect(op(x, { out })).toBe(out);
          expectSameBits(contentOf(out), want, 'out');
          const self = laidOut([...(x.toArray() as Float32Array)], shape, dtype);
          expect(op(self, { out: self })).toBe(self);
          expectSameBits(contentOf(self), want, 'in place');
        });
      }),
      { numRuns: 40 },
    );
  });
});

describe.each(Object.entries(binary))('%s', (name, op) => {
  test('writes the bits of a fresh result into out, and into either operand', () => {
    fc.assert(
      fc.property(floats, shapes, layouts, seeds, (dtype, shape, layout, seed) => {
        defaultPool.scope(() => {
          const [x, y] = [seed, seed + 1].map((s) =>
            laidOut(awkwardNumbers(sizeOf(shape), s, dtype), shape, dtype, layout),
          ) as [Tensor, Tensor];
          const fresh = op(x, y);
          const want = contentOf(fresh);
          const out = zeros(shape, { dtype: fresh.dtype });
          expect(op(x, y, { out })).toBe(out);
          expectSameBits(contentOf(out), want, 'out');
          if (fresh.dtype === 'bool') return;
          const self = (t: Tensor) => laidOut([...(t.toArray() as Float32Array)], shape, dtype);
          const [a, b] = [self(x), self(y)];
          expectSameBits(contentOf(op(a, y, { out: a })), want, 'first operand');
          expectSameBits(contentOf(op(x, b, { out: b })), want, 'second operand');
        });
      }),
      { numRuns: 40 },
    );
  });

  test('takes a number, broadcasts into out, and leaks nothing', () => {
    const x = tensor([1, -2, 3]);
    const out = zeros([2, 3], { dtype: name === 'equal' || name === 'greater' ? 'bool' : 'f32' });
    const { blocks } = defaultPool.statistics;
    op(broadcastTo(x, [2, 3]), 0.5, { out });
    expect(defaultPool.statistics.blocks).toBe(blocks);
    const row = contentOf(op(x, 0.5)).data;
    expect([...out.toArray()]).toEqual([...row, ...row]);
  });
});

test('matmul and linear write into out', () => {
  const a = tensor(
    Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)),
    { shape: [2, 3, 4] },
  );
  const b = tensor(
    Float32Array.from({ length: 20 }, (_, i) => Math.cos(i)),
    { shape: [4, 5] },
  );
  const out = zeros([2, 3, 5]);
  expect(matmul(a, b, { out })).toBe(out);
  expectSameBits(contentOf(out), contentOf(matmul(a, b)));
  const bias = tensor([1, 2, 3, 4, 5]);
  const { blocks } = defaultPool.statistics;
  expect(linear(a, transpose(b), bias, { out })).toBe(out);
  expect(defaultPool.statistics.blocks).toBe(blocks);
  expectSameBits(contentOf(out), contentOf(linear(a, transpose(b), bias)));
});

test('a contiguous part of a larger tensor is an out, and its neighbours stay', () => {
  const whole = zeros([4, 2]);
  add(ones([2, 2]), 1, { out: slice(whole, 0, 1, 3) });
  expect([...whole.toArray()]).toEqual([0, 0, 2, 2, 2, 2, 0, 0]);
  // Operands beside it in the same storage.
  add(slice(whole, 0, 1, 2), slice(whole, 0, 2, 3), { out: slice(whole, 0, 3, 4) });
  expect([...whole.toArray()]).toEqual([0, 0, 2, 2, 2, 2, 4, 4]);
});

test("a caller's array is an out", () => {
  const array = new Float32Array(3);
  add(tensor([1, 2, 3]), 1, { out: wrap(array) });
  expect([...array]).toEqual([2, 3, 4]);
});

const x = tensor([1, 2, 3, 4]);
const frozen = () => {
  const t = zeros([4]);
  t.storage.frozen = true;
  return t;
};
const disposed = () => {
  const t = zeros([4]);
  t.dispose();
  return t;
};

test.each<[string, string, () => unknown]>([
  ['another shape', 'DT_SHAPE_MISMATCH', () => add(x, x, { out: zeros([2, 2]) })],
  ['a shape that broadcasts', 'DT_SHAPE_MISMATCH', () => add(x, 1, { out: zeros([1, 4]) })],
  ['another dtype', 'DT_DTYPE_MISMATCH', () => add(x, x, { out: zeros([4], { dtype: 'f64' }) })],
  ['floats for a comparison', 'DT_DTYPE_MISMATCH', () => equal(x, x, { out: zeros([4]) })],
  ['gaps', 'DT_NOT_CONTIGUOUS', () => neg(x, { out: zeros([8]).viewAs([4], [2]) })],
  ['repeated elements', 'DT_NOT_CONTIGUOUS', () => neg(x, { out: broadcastTo(zeros([1]), [4]) })],
  ['a frozen tensor', 'DT_FROZEN', () => neg(x, { out: frozen() })],
  ['a disposed tensor', 'DT_DISPOSED', () => neg(x, { out: disposed() })],
  ['an array', 'DT_INVALID_ARGUMENT', () => neg(x, { out: new Float32Array(4) as never })],
])('an out of %s is refused with %s', async (_, code, act) => {
  await failure(code, act);
});

test('an out that overlaps an operand otherwise than by being it is refused, and nothing is written', async () => {
  const t = tensor([1, 2, 3, 4, 5]);
  const [low, high] = [slice(t, 0, 0, 4), slice(t, 0, 1, 5)];
  const shared = wrap(high.borrow());
  const array = Float32Array.of(1, 2, 3, 4, 5);
  const [left, right] = [wrap(array.subarray(0, 4)), wrap(array.subarray(1, 5))];
  const matrix = tensor(new Float32Array(16).fill(1), { shape: [4, 4] });
  for (const act of [
    () => add(low, 1, { out: high }),
    () => add(1, low, { out: high }),
    () => add(low, 1, { out: shared }),
    () => neg(left, { out: right }),
    () => neg(transpose(matrix), { out: matrix }),
    () => add(broadcastTo(slice(matrix, 0, 0, 1), [4, 4]), matrix, { out: matrix }),
    () => matmul(matrix, matrix, { out: matrix }),
    () =>
      equal(wrap(new Uint8Array(array.buffer, 0, 4)), 1, {
        out: wrap(new Uint8Array(array.buffer, 0, 4), [4], { dtype: 'bool' }),
      }),
  ]) {
    await failure('DT_INVALID_ARGUMENT', act);
  }
  expect([...t.toArray()]).toEqual([1, 2, 3, 4, 5]);
  expect([...array]).toEqual([1, 2, 3, 4, 5]);
});

test('the same memory under another tensor is the operand itself', () => {
  const t = tensor([1, 2]);
  add(t, 1, { out: wrap(t.borrow()) });
  expect([...t.toArray()]).toEqual([2, 3]);
});

test('an out is refused while recording, with a way out', async () => {
  const out = zeros([4]);
  const recording = await failure('DT_INVALID_ARGUMENT', () => compile((y) => add(y, 1, { out })).runSync(x));
  expect(recording.message).toContain('assign(out, add(…))');
  await failure('DT_INVALID_ARGUMENT', () => valueAndGrad((y) => add(y, 1, { out }))(x));
});

test('an out in use by an awaited run is busy', async () => {
  const target = zeros([2 ** 20]);
  const slow = compile((y: Tensor) => {
    let z = y;
    for (let i = 0; i < 200; i++) z = add(z, 1);
    return z;
  });
  const run = slow(target);
  await failure('DT_TENSOR_BUSY', () => neg(target, { out: target }));
  await run;
  neg(target, { out: target });
});
