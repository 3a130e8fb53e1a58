import { AdamW, add, assign, compile, mul, slice, type Tensor, tensor, wrap, zeros } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { big, failure, slowly, watchPool } from './support.js';

const detach = (array: Float32Array) => structuredClone(array, { transfer: [array.buffer as ArrayBuffer] });

test('an eager op on a transferred buffer is refused', async () => {
  const array = Float32Array.of(1, 2);
  const x = wrap(array);
  detach(array);
  const { message } = await failure('DT_DETACHED_BUFFER', () => add(x, 1));
  expect(message).toContain('transferred');
});

test('an optimizer refuses a parameter or a gradient whose buffer was transferred since its last step', async () => {
  for (const which of [0, 1]) {
    const arrays = [Float32Array.of(1, 2), Float32Array.of(3, 4)];
    const kept = Float32Array.of(5, 6);
    const optimizer = new AdamW([arrays[0]!, kept]);
    const gradients = [arrays[1]!, Float32Array.of(1, 1)];
    optimizer.step(gradients);
    const before = [kept.slice(), optimizer.steps];
    detach(arrays[which]!);
    await failure('DT_DETACHED_BUFFER', () => optimizer.step(gradients));
    expect([kept, optimizer.steps]).toEqual(before);
  }
});

test('an array whose buffer shrank is refused, and taken again where it has its length back', async () => {
  const Resizable = ArrayBuffer as unknown as new (
    bytes: number,
    options: object,
  ) => ArrayBuffer & { resize(bytes: number): void };
  const buffer = new Resizable(4000, { maxByteLength: 8000 });
  const array = new Float32Array(buffer, 0, 1000).fill(1);
  const optimizer = new AdamW([array], { lr: 0.5, weightDecay: 0 });
  const gradient = new Float32Array(1000).fill(1);
  optimizer.step([gradient]);
  buffer.resize(1000);
  await failure('DT_DETACHED_BUFFER', () => optimizer.step([gradient]));
  buffer.resize(8000);
  array.fill(1);
  optimizer.step([gradient]);
  expect(array.every((value) => Math.abs(value - 0.5) < 1e-5)).toBe(true);
});

test('an array that is used as gradient of parameters of several shapes counts as each of them', () => {
  const gradient = Float32Array.of(1, 1, 1, 1);
  const square = tensor([
    [1, 1],
    [1, 1],
  ]);
  const flat = Float32Array.of(1, 1, 1, 1);
  for (let k = 0; k < 2; k++) {
    for (const parameter of [square, flat])
      new AdamW([parameter], { lr: 0.5, weightDecay: 0 }).step([gradient]);
  }
  expect([...square.toArray()]).toEqual([...flat]);
});

test('reading a tensor over a transferred buffer is refused', async () => {
  const array = Float32Array.of(1, 2);
  const x = wrap(array);
  detach(array);
  await failure('DT_DETACHED_BUFFER', () => x.toArray());
  await failure('DT_DETACHED_BUFFER', () => x.borrow());
});

test('a compiled function refuses a transferred buffer as input, run and runSync', async () => {
  const f = compile((x) => add(x, 1));
  const array = Float32Array.of(1, 2);
  const x = wrap(array);
  detach(array);
  await failure('DT_DETACHED_BUFFER', () => f(x));
  await failure('DT_DETACHED_BUFFER', () => f.runSync(x));
});

test('a compiled function refuses a captured tensor whose buffer was transferred', async () => {
  const array = Float32Array.of(1, 2);
  const captured = wrap(array);
  const f = compile((x) => add(x, captured));
  expect((await f(tensor([1, 1]))).toArray()).toEqual(Float32Array.of(2, 3));
  detach(array);
  await failure('DT_DETACHED_BUFFER', () => f(tensor([1, 1])));
});

test("a caller's buffer may be transferred while an awaited run uses it: the run has a copy", async () => {
  const f = compile((x) => mul(x, 2));
  const arrays = Array.from({ length: 50 }, (_, i) => new Float32Array(10_000).fill(i));
  const runs = arrays.map((array) => {
    const run = f(wrap(array));
    detach(array);
    return run;
  });
  const results = await Promise.all(runs);
  results.forEach((result, i) => {
    expect(result.toArray().every((value) => value === 2 * i)).toBe(true);
    result.dispose();
  });
});

test("a caller's array that changes after the call does not change the run", async () => {
  const f = compile((x) => mul(x, 2));
  const array = new Float32Array(100_000).fill(3);
  const run = f(wrap(array));
  array.fill(7);
  expect((await run).toArray().every((value) => value === 6)).toBe(true);
});

test("an awaited run that would write a caller's array is refused, and frees what it took", async () => {
  const weights = Float32Array.of(1, 2);
  const w = wrap(weights);
  const f = compile((x) => {
    assign(w, x);
    return add(x, 1);
  });
  const x = tensor([5, 6]);
  const expectNoMore = watchPool();
  const { message } = await failure('DT_NOT_SHARED', () => f(x));
  expect(message).toContain('tensor(array)');
  expect(message).toContain('runSync');
  expect(weights).toEqual(Float32Array.of(1, 2));
  expectNoMore();
});

test("runSync writes a caller's array in place", () => {
  const weights = Float32Array.of(1, 2);
  const adam = new AdamW([weights], { lr: 0.5, weightDecay: 0 });
  const f = compile((g) => adam.step([g]));
  f.runSync(tensor([1, -1]));
  expect(weights[0]).toBeCloseTo(0.5, 5);
  expect(weights[1]).toBeCloseTo(2.5, 5);
});

test('an array on a SharedArrayBuffer is used in place, by awaited runs too', async () => {
  const shared = new Float32Array(new SharedArrayBuffer(16));
  const w = wrap(shared);
  await compile((x) => assign(w, x))(tensor([1, 2, 3, 4]));
  expect([...shared]).toEqual([1, 2, 3, 4]);
});

test('views of one SharedArrayBuffer that overlap share a lock, whichever was wrapped first', async () => {
  const shared = new SharedArrayBuffer(4 * 2 ** 20);
  for (const [first, second] of [
    [new Float32Array(shared, 64, 16), new Float32Array(shared)],
    [new Float32Array(shared), new Float32Array(shared, 64, 16)],
    [new Float32Array(shared, 0, 32), new Float32Array(shared, 64, 32)],
    [new Float32Array(shared, 64, 32), new Float32Array(shared, 0, 32)],
  ] as const) {
    const [a, b] = [wrap(first), wrap(second)];
    const run = compile((x) => {
      const late = slowly(x, 200);
      assign(a, zeros(a.shape));
      return late;
    })(big());
    await failure('DT_TENSOR_BUSY', () => b.toArray());
    await run;
    b.toArray();
  }
});

describe.each([
  ['ArrayBuffer', () => new ArrayBuffer(16)],
  ['SharedArrayBuffer', () => new SharedArrayBuffer(16)],
])('%s memory that a program knows by two tensors', (_, makeBuffer) => {
  const makeArray = () => new Float32Array(makeBuffer());

  test('is one storage where one array was wrapped twice', () => {
    const array = makeArray();
    const [w, again] = [wrap(array), wrap(array, [2, 2])];
    const f = compile((x: Tensor) => {
      assign(w, x);
      return add(again, 0);
    });
    expect([...f.runSync(tensor([1, 2, 3, 4])).toArray()]).toEqual([1, 2, 3, 4]);
    expect(() => f.runSync(w)).toThrow(expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }));
  });

  test.each<[string, (array: Float32Array) => Float32Array]>([
    ['all of it', (array) => array.subarray(0)],
    ['its last element', (array) => array.subarray(3)],
  ])('is refused as two wraps where one is written: %s', async (_part, part) => {
    const array = makeArray();
    const [w, view] = [wrap(array), wrap(part(array))];
    const [x, y] = [tensor([1, 2, 3, 4]), zeros(view.shape)];
    const readAfter = compile((t: Tensor) => {
      assign(w, t);
      return add(view, 0);
    });
    const { message } = await failure('DT_INVALID_ARGUMENT', () => readAfter.runSync(x));
    expect(message).toContain('once');
    expect(message).toContain('slice');
    const writePart = compile((t: Tensor) => {
      assign(view, t);
      return add(w, 0);
    });
    await failure('DT_INVALID_ARGUMENT', () => writePart(y));
    expect([...array]).toEqual([0, 0, 0, 0]);
    expect([
      ...compile((t: Tensor) => add(add(w, view), t))
        .runSync(x)
        .toArray(),
    ]).toEqual([1, 2, 3, 4]);
  });

  test('is used as views of one wrap, and as wraps of parts that lie apart', () => {
    const array = makeArray();
    const w = wrap(array);
    const views = compile((x: Tensor) => {
      assign(w, x);
      return add(slice(w, 0, 2, 4), 0);
    });
    expect([...views.runSync(tensor([1, 2, 3, 4])).toArray()]).toEqual([3, 4]);
    const [first, last] = [wrap(array.subarray(0, 2)), wrap(array.subarray(2))];
    const apart = compile((x: Tensor) => {
      assign(first, x);
      return add(last, first);
    });
    expect([...apart.runSync(tensor([5, 6])).toArray()]).toEqual([8, 10]);
  });

  test('is refused as an input that overlaps what is written', async () => {
    const array = makeArray();
    const w = wrap(array.subarray(0, 3));
    const three = tensor([3, 3, 3]);
    const f = compile((x: Tensor) => {
      assign(w, three);
      return mul(x, 2);
    });
    const { message } = await failure('DT_INVALID_ARGUMENT', () => f.runSync(wrap(array.subarray(2))));
    expect(message).toContain('clone');
    await failure('DT_INVALID_ARGUMENT', () => f(wrap(array.subarray(2))));
    expect([...array]).toEqual([0, 0, 0, 0]);
    expect([...f.runSync(wrap(array.subarray(3))).toArray()]).toEqual([0]);
    expect([...array]).toEqual([3, 3, 3, 0]);
  });
});

test('a wrapped view of a tensor is refused beside the tensor, captured or as input, where one is written', async () => {
  const w = zeros([4]);
  const view = wrap(w.borrow() as Float32Array);
  const captured = compile((x: Tensor) => {
    assign(w, x);
    return add(view, 0);
  });
  await failure('DT_INVALID_ARGUMENT', () => captured(tensor([1, 2, 3, 4])));
  const writes = (target: Tensor) => compile((x: Tensor) => assign(target, add(x, 1)));
  await failure('DT_INVALID_ARGUMENT', () => writes(w)(view));
  await failure('DT_INVALID_ARGUMENT', () => writes(view)(w));
  expect([...w.toArray()]).toEqual([0, 0, 0, 0]);
});
