import {
  add,
  assign,
  compile,
  defaultPool,
  exp,
  matmul,
  mul,
  sum,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { big, bits, slowly, watchPool } from './support.js';

/** Some operations with temporaries in between, of the shape of x. */
const chain = (x: Tensor) => [mul(exp(add(x, 1)), add(mul(x, x), 2)), sum(mul(x, 3))] as const;

test('programs give the bits of eager calls, whether temporaries lie in scratch or in the pool', async () => {
  for (const n of [0, 1, 7, 1000, 16_384, 16_385, 40_000]) {
    const x = tensor(Float32Array.from({ length: n }, (_, i) => Math.sin(i)));
    const check = watchPool();
    const f = compile(chain);
    const want = defaultPool.scope(() => chain(x).map(bits));
    for (let round = 0; round < 3; round++) {
      for (const outputs of [f.runSync(x), await f(x), ...(await Promise.all([f(x), f(x), f(x)]))]) {
        expect(outputs.map(bits)).toEqual(want);
        for (const output of outputs) output.dispose();
      }
    }
    check();
    x.dispose();
  }
});

test('a loop of small awaited runs lets timers and immediates come', async () => {
  const x = tensor([1, 2, 3]);
  const f = compile((y: Tensor) => add(y, 1));
  let [timers, immediates] = [0, 0];
  const timer = setInterval(() => timers++, 1);
  const next = () => {
    immediates++;
    handle = setImmediate(next);
  };
  let handle = setImmediate(next);
  const end = performance.now() + 50;
  while (performance.now() < end) (await f(x)).dispose();
  clearInterval(timer);
  clearImmediate(handle);
  expect(timers).toBeGreaterThan(3);
  expect(immediates).toBeGreaterThan(3);
});

test('a small run waits for a longer one that writes what it reads, and others pass it', async () => {
  const target = zeros([4]);
  const write = compile((x: Tensor) => {
    assign(target, add(sum(slowly(x, 200)), tensor([1, 2, 3, 4])));
  });
  const order: string[] = [];
  const written = write(big()).then(() => order.push('written'));
  const read = compile(() => add(target, 0))().then((y) => {
    order.push('read');
    return y;
  });
  const other = compile((x: Tensor) => matmul(x, x))(zeros([2, 2])).then(() => order.push('other'));
  await Promise.all([written, read, other]);
  expect(order[0]).toBe('other');
  const sums = 200 * big().size;
  expect([...(await read).toArray()]).toEqual([1, 2, 3, 4].map((i) => Math.fround(sums + i)));
});

test('a small run that writes lasting state does so in order with the others', async () => {
  const count = zeros([1]);
  const advance = compile(() => assign(count, add(count, 1)));
  await Promise.all(Array.from({ length: 100 }, () => advance()));
  expect(count.item()).toBe(100);
});
