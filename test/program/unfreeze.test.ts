import {
  add,
  assign,
  compile,
  defaultPool,
  Generator,
  Linear,
  linear,
  matmul,
  quantize,
  randn,
  relu,
  Sequential,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { big, bits, failure, slowly, watchPool } from './support.js';

const generator = new Generator(7);
const random = (...shape: number[]) => randn(shape, { generator });
const { limit } = defaultPool;
afterEach(() => {
  defaultPool.limit = limit;
});

/** Integers: sums of their products are exact in any order, so that results are compared bit by bit. */
function whole(rows: number, columns: number, seed: number): Tensor {
  const at = Array.from({ length: rows * columns }, (_, i) => ((i * 7 + seed * 13) % 17) - 8);
  return tensor(Float32Array.from(at), { shape: [rows, columns] });
}

describe('an unfrozen tensor', () => {
  test('takes writes, and programs that packed it follow, frozen again or not', async () => {
    const weight = whole(20, 30, 1).freeze();
    const x = whole(4, 30, 2);
    const f = compile((a: Tensor) => linear(a, weight));
    (await f(x)).dispose();
    expect(weight.unfreeze()).toBe(weight);
    assign(weight, whole(20, 30, 3));
    const want = bits(linear(x, weight));
    expect(bits(await f(x))).toBe(want);
    expect(bits(f.runSync(x))).toBe(want);
    weight.freeze();
    expect(bits(await f(x))).toBe(want);
  });

  test('lets go of its packed copies, and is packed again when it is frozen again', async () => {
    const weight = whole(20, 30, 1).freeze();
    const x = whole(4, 30, 2);
    const f = compile((a: Tensor) => linear(a, weight));
    const blocks = () => defaultPool.statistics.blocks;
    const run = async () => (await f(x)).dispose();
    const bare = blocks();
    await run();
    expect(blocks()).toBe(bare + 1);
    weight.unfreeze();
    expect(blocks()).toBe(bare);
    await run();
    expect(blocks()).toBe(bare);
    weight.freeze();
    await run();
    expect(blocks()).toBe(bare + 1);
    weight.dispose();
  });

  test('leaves runs in flight what they read', async () => {
    const expectNoMore = watchPool();
    const [weight, x, next] = [whole(200, 300, 1).freeze(), whole(64, 300, 2), whole(200, 300, 3)];
    const f = compile((a: Tensor) => linear(a, weight));
    const [first, second] = [linear(x, weight), linear(x, next)];
    const runs = [f(x), f(x), f(x)];
    weight.unfreeze();
    assign(weight, next);
    weight.freeze();
    runs.push(f(x));
    const got = await Promise.all(runs);
    expect(got.map(bits)).toEqual([first, first, first, second].map(bits));
    for (const t of [weight, x, next, first, second, ...got]) t.dispose();
    expectNoMore();
  });

  test('is refused to a program of its own that packed it, until it is frozen again', async () => {
    const weight = whole(20, 30, 1).freeze();
    const x = whole(4, 30, 2);
    const program = compile((a: Tensor) => linear(a, weight)).program(x);
    weight.unfreeze();
    await failure('DT_INVALID_ARGUMENT', () => program.run([x]));
    assign(weight, whole(20, 30, 3));
    weight.freeze();
    expect(bits(await program.run([x]))).toBe(bits(linear(x, weight)));
  });

  test('is none that was disposed', () => {
    const weight = random(3, 4).freeze();
    weight.dispose();
    return failure('DT_DISPOSED', () => weight.unfreeze());
  });
});

test('a served model takes a new checkpoint without being compiled anew', async () => {
  const make = () => new Sequential(new Linear(6, 8, { generator }), new Linear(8, 3, { generator }));
  const [served, next] = [make().freeze(), make()];
  const x = random(5, 6);
  const predict = compile((a: Tensor) => served.forward(a));
  const before = bits(await predict(x));
  expect(served.unfreeze()).toBe(served);
  served.loadStateDict(next.stateDict());
  served.freeze();
  next.freeze();
  const want = bits(await compile((a: Tensor) => next.forward(a))(x));
  expect(want).not.toBe(before);
  expect(bits(await predict(x))).toBe(want);
});

test('a model whose bias a run in flight reads is not loaded into, not even in part', async () => {
  const make = () => new Sequential(new Linear(6, 8, { generator }), new Linear(8, 3, { generator }));
  const [served, next] = [make().freeze(), make()];
  const x = random(5, 6);
  const predict = compile((a: Tensor, b: Tensor) => [served.forward(a), slowly(b, 600)]);
  const before = Object.values(served.stateDict()).map(bits);
  const run = predict(x, big());
  served.unfreeze();
  await failure('DT_TENSOR_BUSY', () => served.loadStateDict(next.stateDict()));
  expect(Object.values(served.stateDict()).map(bits)).toEqual(before);
  for (const y of await run) y.dispose();
  served.loadStateDict(next.stateDict());
  expect(Object.values(served.stateDict()).map(bits)).toEqual(Object.values(next.stateDict()).map(bits));
});

test('weights of quantized layers stay frozen: loading writes them and their copies', async () => {
  const model = quantize(new Sequential(new Linear(6, 8, { generator })));
  const weight = Object.values(model.stateDict()).find(({ dtype }) => dtype === 'i8')!;
  model.unfreeze();
  await failure('DT_FROZEN', () => assign(weight, zeros(weight.shape, { dtype: 'i8' })));
  await failure('DT_FROZEN', () => weight.unfreeze());
});

test('whatever is frozen, unfrozen, written and run in which order, results are the eager ones', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constantFrom('freeze', 'unfreeze'), which: fc.nat(1) }),
    fc.record({ do: fc.constant('write'), which: fc.nat(1), seed: fc.nat(50) }),
    fc.record({
      do: fc.constantFrom('run', 'runSync', 'start'),
      program: fc.nat(2),
      rows: fc.constantFrom(1, 5),
    }),
    fc.record({ do: fc.constantFrom('settle', 'drop') }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 40, size: 'max' }), async (steps) => {
      const expectNoMore = watchPool();
      const weights = [whole(16, 16, 1), whole(16, 16, 2)];
      const xs = new Map([1, 5].map((rows) => [rows, whole(rows, 16, 3)]));
      const [u, v] = weights as [Tensor, Tensor];
      const fns = [
        (a: Tensor) => matmul(a, u),
        (a: Tensor) => add(matmul(a, u), matmul(a, v)),
        (a: Tensor) => relu(linear(a, v)),
      ];
      const programs = fns.map((fn) => compile(fn));
      let flying: Promise<void>[] = [];
      const settle = async () => {
        await Promise.all(flying);
        flying = [];
      };
      const wanted = (fn: (a: Tensor) => Tensor, x: Tensor) => {
        const y = defaultPool.scope(() => fn(x));
        const want = bits(y);
        y.dispose();
        return want;
      };
      const compare = (y: Tensor, want: unknown) => {
        expect(bits(y)).toEqual(want);
        y.dispose();
      };
      for (const one of steps) {
        if ('which' in one) {
          const weight = weights[one.which]!;
          if (one.do === 'freeze') weight.freeze();
          else if (one.do === 'unfreeze') weight.unfreeze();
          else if ('seed' in one && !weight.storage.frozen) {
            const source = whole(16, 16, one.seed);
            try {
              assign(weight, source);
            } catch (error) {
              // A run in flight reads the weight itself: then nothing was written.
              expect(error).toMatchObject({ code: 'DT_TENSOR_BUSY' });
              expect(flying.length).toBeGreaterThan(0);
            }
            source.dispose();
          }
        } else if ('program' in one) {
          const [program, fn] = [programs[one.program]!, fns[one.program]!];
          const x = xs.get(one.rows)!;
          const want = wanted(fn, x);
          if (one.do === 'runSync') compare(program.runSync(x), want);
          else {
            const run = program(x).then((y) => compare(y, want));
            if (one.do === 'run') await run;
            else flying.push(run);
          }
        } else if (one.do === 'settle') await settle();
        else {
          // More than the limit: copies that no run reads are dropped.
          expect(() => defaultPool.allocate(2 * defaultPool.limit)).toThrow(/in the pool/);
        }
      }
      await settle();
      for (const t of [...weights, ...xs.values()]) t.dispose();
      expectNoMore();
    }),
    { numRuns: 200 },
  );
});

describe('where an allocation does not fit', () => {
  test('packed copies make room, and are made again by the next run', async () => {
    const weight = whole(256, 256, 1).freeze();
    const x = whole(4, 256, 2);
    const f = compile((a: Tensor) => linear(a, weight));
    const want = bits(f.runSync(x));
    const { current, failures } = defaultPool.statistics;
    defaultPool.limit = current + 64;
    const block = defaultPool.allocate(128 * 1024);
    expect(defaultPool.statistics.failures).toBe(failures);
    block.dispose();
    defaultPool.limit = limit;
    expect(bits(f.runSync(x))).toBe(want);
    expect(bits(await f(x))).toBe(want);
    weight.dispose();
  });

  test('a copy that a run reads stays', async () => {
    const weight = whole(256, 256, 1).freeze();
    const x = whole(4, 256, 2);
    const f = compile((a: Tensor, b: Tensor) => [linear(a, weight), slowly(b, 600)]);
    const want = bits(linear(x, weight));
    const run = f(x, big());
    const { current } = defaultPool.statistics;
    defaultPool.limit = current + 64;
    await failure('DT_POOL_LIMIT', () => defaultPool.allocate(128 * 1024));
    expect(defaultPool.statistics.current).toBe(current);
    defaultPool.limit = limit;
    expect(bits((await run)[0]!)).toBe(want);
    weight.dispose();
  });
});
