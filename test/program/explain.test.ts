import { inspect } from 'node:util';
import {
  AdamW,
  add,
  assign,
  compile,
  crossEntropy,
  Dropout,
  Generator,
  grad,
  Linear,
  matmul,
  ones,
  ReLU,
  relu,
  Sequential,
  scaledDotProductAttention,
  type Tensor,
  tanh,
  transpose,
  wrap,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { bits, failure, watchPool } from './support.js';

function training() {
  const generator = new Generator(3);
  const model = new Sequential(
    new Linear(20, 16, { generator }),
    new ReLU(),
    new Dropout(0.5, { generator }),
    new Linear(16, 4, { generator }),
  );
  const adam = new AdamW(model.parameters(), { lr: 0.1, maxGradNorm: 1 });
  const step = compile((x: Tensor, y: Tensor) => {
    const loss = crossEntropy(model.forward(x), y);
    adam.step(grad(loss, model.parameters()));
    return loss;
  });
  const state = () => [...model.parameters(), ...Object.values(adam.stateDict()), generator.state].map(bits);
  return { step, state, inputs: [ones([8, 20]), zeros([8], { dtype: 'i32' })] as const };
}

test('an explained training step has times for all instructions, and has changed nothing', async () => {
  const { step, state, inputs } = training();
  const before = state();
  const { instructions, microseconds, memory, flops } = step.explain(...inputs);
  expect(state()).toEqual(before);
  const program = step.program(...inputs);
  expect(instructions).toHaveLength(program.instructions);
  expect(memory).toEqual(program.memory);
  for (const one of instructions) expect(one.microseconds).toBeGreaterThanOrEqual(0);
  expect(microseconds).toBeGreaterThan(0);
  expect(flops).toBeGreaterThan(0);
  // All that is written stands at the end: the step, and the generator's advance.
  const commit = instructions.findIndex(({ section }) => section === 'commit');
  expect(instructions.slice(0, commit).every(({ writes }) => !writes[0]?.place.startsWith('captured'))).toBe(
    true,
  );
  expect(instructions.slice(commit).map(({ op }) => op)).toContain('adamw');
  await step(...inputs);
  expect(state()).not.toEqual(before);
});

test('explaining leaves no memory behind', () => {
  const { step, inputs } = training();
  step.explain(...inputs);
  const expectNoMore = watchPool();
  step.explain(...inputs);
  expectNoMore();
});

test("a caller's array that the program writes is as it was", () => {
  const array = new Float32Array(4);
  const state = wrap(array);
  const count = compile((x: Tensor) => assign(state, add(state, x)));
  count.explain(ones([4]));
  expect([...array]).toEqual([0, 0, 0, 0]);
});

test('products and attention count two operations for each multiply-add; what is fused is named', () => {
  const w = ones([5, 7]);
  const f = compile((x: Tensor) => relu(add(matmul(x, w), ones([7]))));
  const { instructions } = f.program(ones([3, 5])).explain();
  const product = instructions.find(({ op }) => op === 'matmul')!;
  expect(product).toMatchObject({ fused: ['bias', 'relu'], flops: 2 * 3 * 5 * 7, section: 'compute' });
  expect(product.bytes).toBe(4 * (3 * 5 + 5 * 7 + 7 + 3 * 7));
  expect(product.reads.map(({ place }) => place)).toEqual([
    'input 0',
    'captured 0',
    expect.stringMatching(/^arena/),
  ]);
  expect(product.writes).toEqual([{ dtype: 'f32', shape: [3, 7], place: 'result 0' }]);
  const attend = compile((q: Tensor, k: Tensor, v: Tensor) => scaledDotProductAttention(q, k, v));
  expect(attend.program(ones([2, 3, 8]), ones([2, 5, 8]), ones([2, 5, 6])).explain().flops).toBe(
    2 * 2 * 3 * 5 * (8 + 6),
  );
});

test('it prints as a table: a row for each instruction, the commit section, memory', () => {
  const { step, inputs } = training();
  const text = inspect(step.explain(...inputs));
  const { instructions } = step.program(...inputs);
  expect(text).toMatch(new RegExp(`^${instructions} instructions, .*FLOP, .* µs`));
  expect(text.split('\n').filter((line) => /^ ?\d+ {2}\w/.test(line))).toHaveLength(instructions);
  expect(text).toContain('matmul + bias + relu');
  expect(text).toContain('── commit');
  expect(text).toMatch(/temporaries .*planned/);
  const unmeasured = step.program(...inputs).explain();
  expect(unmeasured.microseconds).toBeUndefined();
  expect(`${unmeasured}`).not.toContain('µs');
});

test('inputs of any layout are explained; a wrong one is refused', async () => {
  const f = compile((x: Tensor) => tanh(x));
  expect(f.explain(transpose(ones([3, 4]))).instructions[0]!.reads[0]!.shape).toEqual([4, 3]);
  await failure('DT_INVALID_ARGUMENT', () => f.explain(3 as never));
  await failure('DT_SHAPE_MISMATCH', () => f.program(ones([2])).explain([ones([3])]));
});
