import {
  add,
  assign,
  broadcastTo,
  clone,
  compile,
  dropout,
  exp,
  Generator,
  gelu,
  matmul,
  mean,
  mul,
  ones,
  rand,
  relu,
  reshape,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  transpose,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bits } from './support.js';

const SIDE = 4;
const matrix = (at: number) =>
  tensor(
    Float32Array.from({ length: SIDE * SIDE }, (_, i) => Math.sin(i * 0.7 + at)),
    { shape: [SIDE, SIDE] },
  );

/** Few ops on few operands, so that most of a long list stand in it more than once. */
const OPS: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  add,
  sub,
  mul,
  matmul,
  tanh: (a) => tanh(a),
  gelu: (a) => gelu(a),
  scaled: (a) => mul(a, 0.5),
  scaledOtherwise: (a) => mul(a, -0.5),
  // Not of a product itself, into which they would be fused.
  minusZero: (a) => mul(tanh(a), -0),
  zero: (a) => mul(tanh(a), 0),
  transposed: (a, b) => add(transpose(a), b),
  reshaped: (a) => broadcastTo(mean(reshape(a, [2, 2 * SIDE])), [SIDE, SIDE]),
  rowMeans: (a) => broadcastTo(mean(a, { axis: 1, keepDims: true }), [SIDE, SIDE]),
  columnMeans: (a) => broadcastTo(mean(a, { axis: 0, keepDims: true }), [SIDE, SIDE]),
};
const action = fc.record({
  op: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...Object.keys(OPS)) },
    { weight: 1, arbitrary: fc.constant('write') },
  ),
  a: fc.nat(5),
  b: fc.nat(5),
  again: fc.boolean(),
});

test('programs with repeated ops, and writes between them, give the bits of eager execution', () => {
  fc.assert(
    fc.property(fc.array(action, { minLength: 1, maxLength: 40 }), (actions) => {
      const make = () => {
        const state = [matrix(1), matrix(2)] as const;
        const run = (x: Tensor, y: Tensor): Tensor[] => {
          const values = [x, y, ...state];
          for (const { op, a, b, again } of actions) {
            const [left, right] = [values[a % values.length]!, values[b % values.length]!];
            if (op === 'write') {
              assign(state[a % 2]!, add(left, mul(right, 0.5)));
              continue;
            }
            for (let i = 0; i <= Number(again); i++) values.push(OPS[op]!(left, right));
          }
          return [
            values.slice(4).reduce((total, value) => add(mul(total, 0.5), value), x),
            ...values.slice(-2),
          ];
        };
        return { state, run };
      };
      const inputs = [matrix(3), matrix(4)] as const;
      const [eager, compiled] = [make(), make()];
      const f = compile(compiled.run);
      for (let i = 0; i < 2; i++) {
        const expected = eager.run(...inputs).map(bits);
        expect(f.runSync(...inputs).map(bits)).toEqual(expected);
        expect(compiled.state.map(bits)).toEqual(eager.state.map(bits));
      }
    }),
    { numRuns: 200, seed: 11 },
  );
});

const x = ones([SIDE, SIDE]);
/** How many ops a function takes, those of a chain one by one. */
const opsOf = (fn: (x: Tensor) => unknown, input = x) =>
  compile(fn)
    .program(input)
    .explain()
    .instructions.reduce((n, { op, fused }) => n + (op === 'chain' ? fused.length : 1), 0);

test('the same op on the same inputs is computed once, views of them and all', () => {
  expect(opsOf((x) => mul(exp(x), exp(x)))).toBe(2);
  expect(opsOf((x) => mul(exp(transpose(x)), exp(transpose(x))))).toBe(opsOf((x) => exp(transpose(x))) + 1);
  expect(opsOf((x) => add(relu(tanh(exp(x))), relu(tanh(exp(x)))))).toBe(4);
  // Constants too: one for both.
  expect(opsOf((x) => [mul(exp(x), 0.5), mul(sum(x), 0.5)])).toBe(5);
});

test('what differs in an attribute, in shape or in layout is not the same', () => {
  expect(opsOf((x) => add(sum(x, { axis: 0 }), sum(x, { axis: 1 })))).toBe(3);
  expect(opsOf((x) => mul(exp(x), exp(reshape(x, [1, SIDE, SIDE]))))).toBe(3);
  const [plus, minus] = compile((x: Tensor) => [mul(x, 0), mul(x, -0)]).runSync(x);
  expect([plus!.toArray()[0], minus!.toArray()[0]]).toEqual([0, -0]);
});

test('a write to what both read keeps both', () => {
  const w = zeros([SIDE]);
  const f = compile((x: Tensor) => {
    const before = exp(w);
    assign(w, x);
    return sub(exp(w), before);
  });
  expect(Array.from(f.runSync(ones([SIDE])).toArray() as Float32Array)).toEqual(
    Array(SIDE).fill(Math.fround(Math.fround(Math.E) - 1)),
  );
  // A write to something else does not.
  const other = zeros([SIDE]);
  const g = compile((x: Tensor) => {
    const before = exp(w);
    assign(other, x);
    return sub(exp(w), before);
  });
  expect(
    g
      .program(ones([SIDE]))
      .explain()
      .instructions.map(({ fused }) => fused),
  ).toEqual([['exp', 'sub'], []]);
});

test('random numbers are drawn as often as they are asked for', () => {
  const generator = new Generator(1);
  const rate = tensor(Float64Array.of(0.5), { shape: [] });
  const f = compile((x: Tensor) => [
    rand([64], { generator }),
    rand([64], { generator }),
    dropout(x, rate, generator),
    dropout(x, rate, generator),
  ]);
  const drawn = f.runSync(ones([64])).map(bits);
  expect(new Set(drawn).size).toBe(4);
});

test('results that are the same are tensors of their own', () => {
  const f = compile((x: Tensor) => [exp(x), exp(x), clone(x), clone(x)]);
  const results = f.runSync(x);
  expect(new Set(results.map(({ storage }) => storage)).size).toBe(4);
  expect(bits(results[0]!)).toBe(bits(results[1]!));
});
