import {
  add,
  assign,
  compile,
  defaultPool,
  div,
  full,
  grad,
  mean,
  mul,
  ones,
  relu,
  sum,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
  wrap,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { bits, failure } from './support.js';

test('an asynchronous function cannot be compiled, and its own failure does not end the process', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  const f = compile((async (x: Tensor) => {
    await null;
    return x.toArray();
  }) as never);
  const { message } = await failure('DT_INVALID_ARGUMENT', () => f(ones([2])));
  expect(message).toContain('synchronous');
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

test('an asynchronous function in a scope is refused, and its own failure does not end the process', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  await failure('DT_INVALID_ARGUMENT', () =>
    defaultPool.scope(async () => {
      const x = ones([2]);
      await null;
      return x.toArray();
    }),
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

test('writes to an argument, or to a result of one, are refused while recording', async () => {
  const { message } = await failure('DT_INVALID_ARGUMENT', () =>
    compile((x: Tensor) => assign(x, zeros([2])))(ones([2])),
  );
  expect(message).toContain('made outside');
  await failure('DT_INVALID_ARGUMENT', () => compile((x: Tensor) => assign(add(x, 1), x))(ones([2])));
});

test('a tensor that the function writes cannot be its input at the same time', async () => {
  const w = ones([2]);
  const f = compile((x: Tensor) => {
    assign(w, add(x, 1));
    return mul(x, 2);
  });
  const { message } = await failure('DT_INVALID_ARGUMENT', () => f(w));
  expect(message).toContain('clone');
  await failure('DT_INVALID_ARGUMENT', () => f.runSync(w));
  expect([...w.toArray()]).toEqual([1, 1]);
});

test('grad outside of compile and valueAndGrad is refused', async () => {
  const w = ones([2]);
  await failure('DT_NOT_RECORDING', () => grad(sum(w), [w]));
});

test('a write in place between the parameters and the loss is not differentiable', async () => {
  const w = ones([2]);
  const f = compile((x: Tensor) => {
    const loss = sum(mul(w, x));
    assign(w, x);
    return grad(loss, [w]);
  });
  const { message } = await failure('DT_NOT_DIFFERENTIABLE', () => f(ones([2])));
  expect(message).toContain('differentiate before writing');
  await failure('DT_NOT_DIFFERENTIABLE', () =>
    compile((x: Tensor) => {
      const y = mul(w, x);
      assign(w, x);
      return grad(sum(mul(y, w)), [w]);
    })(ones([2])),
  );
  await failure('DT_NOT_DIFFERENTIABLE', () =>
    valueAndGrad(
      (x: Tensor) => {
        const y = mul(w, x);
        assign(w, x);
        return sum(y);
      },
      [w],
    )(ones([2])),
  );
  const scratch = zeros([2]);
  await failure('DT_NOT_DIFFERENTIABLE', () =>
    valueAndGrad(
      (x: Tensor) => {
        const y = mul(w, x);
        assign(y, scratch);
        return sum(y);
      },
      [w],
    )(ones([2])),
  );
});

test('what is computed after a write is differentiated at the new value', async () => {
  const w = tensor([3, 4]);
  const f = compile((x: Tensor) => {
    assign(w, x);
    return grad(sum(mul(w, w)), [w])[0]!;
  });
  expect([...(await f(tensor([5, 6]))).toArray()]).toEqual([10, 12]);
});

test('grad before the write is fine', async () => {
  const w = tensor([3, 4]);
  const [g] = await compile((x: Tensor) => {
    const grads = grad(sum(mul(w, x)), [w]);
    assign(w, zeros([2]));
    return grads;
  })(tensor([5, 6]));
  expect([...g!.toArray()]).toEqual([5, 6]);
});

test('a loss of more than one element is refused', async () => {
  const w = ones([2]);
  await failure('DT_SHAPE_MISMATCH', () => compile(() => grad(mul(w, 2), [w]))());
});

test('values are not known while recording', async () => {
  await failure('DT_SYMBOLIC_VALUE', () => compile((x: Tensor) => add(x, x.item()))(ones([])));
  await failure('DT_SYMBOLIC_VALUE', () =>
    compile((x: Tensor) => {
      x.toArray();
      return x;
    })(ones([2])),
  );
  await failure('DT_SYMBOLIC_VALUE', () =>
    compile((x: Tensor) => {
      x.borrow();
      return x;
    })(ones([2])),
  );
});

test('a tensor that leaves its recording has no value anywhere else', async () => {
  let leaked!: Tensor;
  await compile((x: Tensor) => {
    leaked = add(x, 1);
    return leaked;
  })(ones([2]));
  await failure('DT_SYMBOLIC_VALUE', () => leaked.toArray());
  await failure('DT_SYMBOLIC_VALUE', () => add(leaked, 1));
  await failure('DT_SYMBOLIC_VALUE', () => compile((x: Tensor) => add(x, leaked))(ones([2])));
  await failure('DT_SYMBOLIC_VALUE', () => compile(() => leaked)());
});

test('compiled functions cannot be called while another records', async () => {
  const inner = compile((x: Tensor) => add(x, 1));
  await failure('DT_INVALID_ARGUMENT', () =>
    compile((x: Tensor) => {
      inner.runSync(x);
      return x;
    })(ones([2])),
  );
});

test('inputs and results that are no tensors are refused by name', async () => {
  const f = compile((x: Tensor) => add(x, 1));
  const array = Float32Array.of(1, 2);
  const { message } = await failure('DT_INVALID_ARGUMENT', () => f(array as never));
  expect(message).toContain('wrap(array)');
  await failure('DT_INVALID_ARGUMENT', () => f(3 as never));
  await failure('DT_INVALID_ARGUMENT', () => compile((() => 3) as never)());
  await failure('DT_INVALID_ARGUMENT', () => compile((() => null) as never)());
  expect([...(await f(wrap(array))).toArray()]).toEqual([2, 3]);
});

test('a function that throws while it is recorded rejects with its own error and leaves everything usable', async () => {
  const w = ones([2]);
  const f = compile((x: Tensor) => {
    assign(w, zeros([2]));
    if (x.shape[0] === 3) throw new RangeError('mine');
    return add(x, w);
  });
  await expect(f(ones([3]))).rejects.toThrow('mine');
  expect([...w.toArray()]).toEqual([1, 1]);
  expect([...add(w, 1).toArray()]).toEqual([2, 2]);
  expect([...(await f(ones([2]))).toArray()]).toEqual([1, 1]);
});

test('shapes that do not fit are refused while recording, with the op named', async () => {
  const { message } = await failure('DT_SHAPE_MISMATCH', () =>
    compile((a: Tensor, b: Tensor) => div(a, b))(ones([2]), ones([3])),
  );
  expect(message).toContain('div');
});

test('recording changes no state', () => {
  const w = ones([4]);
  const before = bits(w);
  const f = compile((x: Tensor) => {
    assign(w, relu(x));
    return mean(w);
  });
  f.program(zeros([4]));
  expect(bits(w)).toBe(before);
});

test('a program refuses inputs of other shapes than it was recorded for', () => {
  const program = compile((x: Tensor) => sum(x)).program(ones([1000]));
  expect(() => program.runSync([ones([2])])).toThrow(expect.objectContaining({ code: 'DT_SHAPE_MISMATCH' }));
  expect(() => program.runSync([])).toThrow(expect.objectContaining({ code: 'DT_SHAPE_MISMATCH' }));
});

test('a signal that is none is refused before the run begins', async () => {
  const fn = compile((x: Tensor) => sum(x));
  const signal = {} as AbortSignal;
  await failure('DT_INVALID_ARGUMENT', () => fn.run([ones([2])], { signal }));
});

test('a gradient is refused where something else that its op read was written since', async () => {
  const w = tensor([2]);
  const c = tensor([3]);
  const fn = compile(() => {
    const y = mul(w, c);
    assign(c, full([1], 10));
    return grad(sum(y), [w]);
  });
  await failure('DT_NOT_DIFFERENTIABLE', () => fn());
});

test('a view of a parameter that was made outside is refused rather than given no gradient', async () => {
  const w = ones([2, 3]);
  const view = transpose(w);
  await failure('DT_NOT_DIFFERENTIABLE', () => valueAndGrad(() => sum(view), [w])());
});
