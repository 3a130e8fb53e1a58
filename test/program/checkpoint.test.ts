import {
  AdamW,
  add,
  assign,
  checkpoint,
  compile,
  Dropout,
  GELU,
  Generator,
  grad,
  LayerNorm,
  Linear,
  type Module,
  mean,
  mul,
  ones,
  Sequential,
  scaledDotProductAttention,
  sigmoid,
  sum,
  type Tensor,
  tanh,
  tensor,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bits, failure } from './support.js';

const ROWS = 32;
const WIDTH = 64;
const input = () =>
  tensor(
    Float32Array.from({ length: ROWS * WIDTH }, (_, i) => Math.sin(i * 0.37)),
    { shape: [ROWS, WIDTH] },
  );

/** A deep model of blocks, each with a wide middle; `around` is done to each. */
function deep(blocks: number, around: (fn: (x: Tensor) => Tensor) => (x: Tensor) => Tensor) {
  const generator = new Generator(7);
  const block = () =>
    new Sequential(
      new LayerNorm(WIDTH),
      new Linear(WIDTH, 4 * WIDTH, { generator }),
      new GELU(),
      new Dropout(0.3, { generator }),
      new Linear(4 * WIDTH, WIDTH, { generator }),
    );
  const modules: Module[] = Array.from({ length: blocks }, block);
  const parameters = modules.flatMap((module) => module.parameters());
  const adam = new AdamW(parameters, { lr: 0.01 });
  const step = compile((x: Tensor) => {
    let y = x;
    for (const module of modules) y = add(y, around((h) => module.forward(h))(y));
    const loss = mean(mul(y, y));
    const gradients = grad(loss, parameters);
    adam.step(gradients);
    return [loss, ...gradients];
  });
  return { step, state: () => [...parameters, generator.state].map(bits) };
}

test('a deep model that is checkpointed plans less memory, and trains to the same bits, dropout and all', async () => {
  const [plain, saving] = [deep(8, (fn) => fn), deep(8, checkpoint)];
  const x = input();
  const [before, after] = [plain, saving].map(({ step }) => step.program(x).memory.planned);
  // Of 8 blocks' wide activations (four each of ROWS × 4 WIDTH), those of one are left beside the gradients.
  expect(before! - after!).toBeGreaterThan(6 * 2 * (ROWS * 4 * WIDTH * 4));
  const again = saving.step
    .program(x)
    .explain()
    .instructions.filter(({ recomputed }) => recomputed);
  // Norm, product, gelu and dropout of each block; nothing reads the second product again.
  expect(again.map(({ op }) => op).filter((op) => op === 'dropout')).toHaveLength(8);
  expect(again.filter(({ op }) => op === 'matmul')).toHaveLength(8);
  for (let i = 0; i < 3; i++) {
    const expected = (await plain.step(x)).map(bits);
    expect((await saving.step(x)).map(bits)).toEqual(expected);
    expect(saving.state()).toEqual(plain.state());
  }
});

test('what it saves grows with the depth', () => {
  const saved = [4, 8, 16].map((blocks) => {
    const [plain, saving] = [deep(blocks, (fn) => fn), deep(blocks, checkpoint)];
    const x = input();
    return plain.step.program(x).memory.planned - saving.step.program(x).memory.planned;
  });
  expect(saved[1]!).toBeGreaterThan(1.5 * saved[0]!);
  expect(saved[2]!).toBeGreaterThan(1.5 * saved[1]!);
});

const OPS: Record<string, (x: Tensor, w: Tensor) => Tensor> = {
  tanh: (x) => tanh(x),
  sigmoid: (x) => sigmoid(x),
  mul: (x, w) => mul(x, w),
  add: (x, w) => add(x, w),
  square: (x) => mul(x, x),
  attend: (x, w) => scaledDotProductAttention(x, w, x),
};

test('gradients through random parts, some of them checkpointed, have the bits of those without', () => {
  const part = fc.record({
    ops: fc.array(fc.constantFrom(...Object.keys(OPS)), { minLength: 1, maxLength: 5 }),
    saved: fc.boolean(),
    nested: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
      const w = tensor([0.5, -1.5, 2, 0.25], { shape: [2, 2] });
      const x = tensor([1, 2, -0.5, 0.1], { shape: [2, 2] });
      const make = (around: typeof checkpoint) =>
        compile((x: Tensor) => {
          let y = x;
          for (const { ops, saved, nested } of parts) {
            const inner = (h: Tensor) => ops.reduce((value, op) => OPS[op]!(value, w), h);
            const body = nested ? around(inner) : inner;
            y = (saved ? around(body) : body)(y);
          }
          return [y, ...grad(sum(y), [w, x])];
        });
      const expected = make((fn) => fn)
        .runSync(x)
        .map(bits);
      expect(make(checkpoint).runSync(x).map(bits)).toEqual(expected);
    }),
    { numRuns: 150, seed: 3 },
  );
});

test('what a checkpointed function writes is written once, and what was made of it before stays what it was', () => {
  const count = zeros([1]);
  const w = ones([2]);
  const make = (around: typeof checkpoint) =>
    compile((x: Tensor) => {
      const y = around((h: Tensor) => {
        const scaled = mul(h, add(tanh(count), 1));
        assign(count, add(count, 1));
        return tanh(mul(scaled, w));
      })(x);
      return grad(sum(y), [w]);
    });
  const x = tensor([0.5, -1]);
  const gradients = [make((fn) => fn), make(checkpoint)].map((f) => {
    const results = [f.runSync(x), f.runSync(x)].map(([g]) => bits(g!));
    const counted = count.item();
    assign(count, zeros([1]));
    return { results, counted };
  });
  expect(gradients[1]).toEqual(gradients[0]);
  expect(gradients[0]!.counted).toBe(2);
});

test('eagerly it calls the function; several inputs and results, and errors, pass through', async () => {
  const [x, w] = [tensor([1, 2]), tensor([3, 4])];
  const both = checkpoint((a: Tensor, b: Tensor) => [mul(a, b), add(a, b)] as const);
  expect(both(x, w).map((t) => [...(t.toArray() as Float32Array)])).toEqual([
    [3, 8],
    [4, 6],
  ]);
  const { grads } = valueAndGrad((a: Tensor) => sum(mul(...both(a, w))))(x);
  const compiled = compile((a: Tensor) => grad(sum(mul(...both(a, w))), [a])).runSync(x);
  expect(bits(compiled[0]!)).toBe(bits(grads[0]!));
  await failure('DT_SHAPE_MISMATCH', () =>
    compile((a: Tensor) => checkpoint((b: Tensor) => add(b, ones([3])))(a)).runSync(x),
  );
});
