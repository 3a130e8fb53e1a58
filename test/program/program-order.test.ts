import {
  AdamW,
  add,
  assign,
  clone,
  compile,
  Generator,
  grad,
  matmul,
  mean,
  mul,
  ones,
  rand,
  reshape,
  SGD,
  slice,
  sub,
  type Tensor,
  tensor,
  transpose,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bits, failure } from './support.js';

const list = (t: Tensor) => [...(t.toArray() as Float32Array)];

test('captured tensors are taken by reference: what is assigned between two runs shows in the second', async () => {
  const w = tensor([1, 2]);
  const f = compile((x: Tensor) => add(x, w));
  expect(list(await f(zeros([2])))).toEqual([1, 2]);
  assign(w, tensor([5, 6]));
  expect(list(await f(zeros([2])))).toEqual([5, 6]);
});

test('a read after a write sees the new value, a read before it the old one', async () => {
  const w = tensor([1, 2]);
  const f = compile((x: Tensor) => {
    const before = mul(w, 10);
    assign(w, x);
    const after = mul(w, 100);
    return { before, after };
  });
  const { before, after } = await f(tensor([3, 4]));
  expect(list(before)).toEqual([10, 20]);
  expect(list(after)).toEqual([300, 400]);
  expect(list(w)).toEqual([3, 4]);
});

test('a read through a view sees a write to the tensor, and the other way round', async () => {
  const w = tensor([1, 2, 3, 4]);
  const tail = slice(w, 0, 2, 4);
  const { whole, part } = await compile(() => {
    assign(tail, tensorOf(w));
    const whole = clone(w);
    assign(w, mul(w, 2));
    return { whole, part: clone(tail) };
  })();
  expect(list(whole)).toEqual([1, 2, 1, 2]);
  expect(list(part)).toEqual([2, 4]);
  expect(list(w)).toEqual([2, 4, 2, 4]);
  function tensorOf(t: Tensor): Tensor {
    return slice(t, 0, 0, 2);
  }
});

test('several writes to one tensor take effect in order', async () => {
  const w = tensor([1]);
  const seen = await compile((x: Tensor) => {
    const values = [clone(w)];
    for (let i = 0; i < 4; i++) {
      assign(w, add(mul(w, 2), x));
      values.push(clone(w));
    }
    return values;
  })(tensor([1]));
  expect(seen.map((t) => t.item())).toEqual([1, 3, 7, 15, 31]);
  expect(w.item()).toBe(31);
});

test('what is copied from a tensor between two writes is what stood there then', async () => {
  const [a, b] = [tensor([1]), tensor([2])];
  await compile((x: Tensor, y: Tensor) => {
    assign(b, x);
    assign(a, b);
    assign(b, y);
  })(tensor([3]), tensor([4]));
  expect([a.item(), b.item()]).toEqual([3, 4]);
});

test('two tensors are exchanged', async () => {
  const [a, b] = [tensor([1]), tensor([2])];
  const swap = compile(() => {
    const old = clone(a);
    assign(a, b);
    assign(b, old);
  });
  await swap();
  expect([a.item(), b.item()]).toEqual([2, 1]);
  swap.runSync();
  expect([a.item(), b.item()]).toEqual([1, 2]);
});

test('a forward pass after an optimizer step in the same function uses the new weights', async () => {
  const make = () => {
    const w = tensor([[1], [2]]);
    return { w, sgd: new SGD([w], { lr: 0.5 }) };
  };
  const x = tensor([[1, 1]]);
  const recorded = make();
  const { before, after } = await compile((input: Tensor) => {
    const before = mean(matmul(input, recorded.w));
    recorded.sgd.step(grad(before, [recorded.w]));
    return { before, after: mean(matmul(input, recorded.w)) };
  })(x);
  expect([before.item(), after.item()]).toEqual([3, 2]);
  expect(list(recorded.w)).toEqual([0.5, 1.5]);
});

test('two steps in one function give the same bits as two runs of one', async () => {
  const make = () => {
    const w = tensor([
      [0.3, -0.2],
      [0.7, 0.1],
    ]);
    const adam = new AdamW([w], { lr: 0.05 });
    const step = (x: Tensor) => {
      const y = matmul(x, w);
      const loss = mean(mul(y, y));
      adam.step(grad(loss, [w]));
      return loss;
    };
    return { step, state: () => [w, ...Object.values(adam.stateDict())].map(bits) };
  };
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  const [single, double] = [make(), make()];
  const one = compile(single.step);
  const two = compile((input: Tensor) => [double.step(input), double.step(input)] as const);
  const losses = [await one(x), await one(x)];
  expect((await two(x)).map(bits)).toEqual(losses.map(bits));
  expect(double.state()).toEqual(single.state());
});

test('random draws in one function differ, and each run goes on where the last one ended', async () => {
  const [recorded, eager] = [new Generator(7), new Generator(7)];
  const f = compile(() => [
    rand([5], { generator: recorded }),
    rand([3], { generator: recorded }),
    rand([5], { generator: recorded }),
  ]);
  for (let i = 0; i < 3; i++) {
    const expected = [5, 3, 5].map((n) => bits(rand([n], { generator: eager })));
    expect((await f()).map(bits)).toEqual(expected);
    expect(expected[0]).not.toBe(expected[2]);
  }
});

test('outputs are fresh tensors: an input, a parameter, a view, the same tensor twice', async () => {
  const w = tensor([
    [1, 2],
    [3, 4],
  ]);
  const x = tensor([
    [5, 6],
    [7, 8],
  ]);
  const f = compile((input: Tensor) => {
    const y = add(input, w);
    return { input, w, turned: transpose(w), y, again: y, flat: reshape(y, [4]), part: slice(y, 0, 1, 2) };
  });
  const out = await f(x);
  const storages = new Set([...Object.values(out), w, x].map(({ storage }) => storage));
  expect(storages.size).toBe(9);
  expect(Object.values(out).map(list)).toEqual([
    [5, 6, 7, 8],
    [1, 2, 3, 4],
    [1, 3, 2, 4],
    [6, 8, 10, 12],
    [6, 8, 10, 12],
    [6, 8, 10, 12],
    [10, 12],
  ]);
  expect(out.turned.contiguous).toBe(true);
  assign(out.w, zeros([2, 2]));
  assign(out.input, zeros([2, 2]));
  expect(list(w)).toEqual([1, 2, 3, 4]);
  expect(list(x)).toEqual([5, 6, 7, 8]);
});

test('a returned parameter shows the value at the end of the function', async () => {
  const w = tensor([1]);
  const f = compile((x: Tensor) => {
    assign(w, add(w, x));
    return w;
  });
  expect((await f(tensor([1]))).item()).toBe(2);
  expect((await f(tensor([1]))).item()).toBe(3);
  expect(w.item()).toBe(3);
});

test('random sequences of reads and writes give the same as eager execution', async () => {
  const operation = fc.record({
    kind: fc.constantFrom('add', 'sub', 'assign', 'assignView', 'keep'),
    to: fc.nat(3),
    a: fc.nat(3),
    b: fc.nat(3),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 14 }), async (operations) => {
      const makeState = () => Array.from({ length: 4 }, (_, i) => tensor([i + 1, 10 * i, -i, 0.5]));
      const program = (state: readonly Tensor[]) => {
        const kept: Tensor[] = [];
        for (const { kind, to, a, b } of operations) {
          const [target, left, right] = [state[to]!, state[a]!, state[b]!];
          if (kind === 'add') assign(target, add(left, mul(right, 0.5)));
          else if (kind === 'sub') assign(target, sub(left, right));
          else if (kind === 'assign' && to !== a) assign(target, left);
          else if (kind === 'assignView' && to !== a) assign(slice(target, 0, 1, 3), slice(left, 0, 2, 4));
          else kept.push(clone(left));
        }
        return kept;
      };
      const [eager, recorded] = [makeState(), makeState()];
      const expected = program(eager).map(bits);
      const kept = await compile(() => program(recorded))();
      expect(kept.map(bits)).toEqual(expected);
      expect(recorded.map(bits)).toEqual(eager.map(bits));
    }),
    { numRuns: 150, seed: 11 },
  );
});

test('a tensor of another dtype or shape is refused as source of a write, recorded or not', async () => {
  const w = ones([2]);
  await failure('DT_SHAPE_MISMATCH', () => compile((x: Tensor) => assign(w, x))(ones([3])));
  await failure('DT_DTYPE_MISMATCH', () => compile((x: Tensor) => assign(w, x))(ones([2], { dtype: 'f64' })));
});
