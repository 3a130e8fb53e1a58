import {
  abs,
  add,
  assign,
  broadcastTo,
  clamp,
  compile,
  equal,
  exp,
  gelu,
  grad,
  greater,
  layerNorm,
  less,
  logSoftmax,
  matmul,
  maximum,
  minimum,
  mul,
  neg,
  ones,
  permute,
  pow,
  relu,
  reshape,
  rmsNorm,
  sigmoid,
  softmax,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  transpose,
  where,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  awkwardNumbers,
  bothWays1,
  contentOf,
  expectSameBits,
  FLOATS,
  type Float,
  randomNumbers,
} from '../ops/support.js';
import { bits } from './support.js';

const filled = (shape: readonly number[], seed: number, dtype: Float = 'f32') =>
  tensor(
    randomNumbers(
      shape.reduce((a, b) => a * b, 1),
      seed,
      dtype,
    ),
    { shape, dtype },
  );

/** The ops of each instruction of a compiled function, after it was checked to give the bits of eager execution. */
async function instructionsOf(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Promise<string[]> {
  await bothWays1(fn, inputs);
  const { instructions } = compile((...symbols: Tensor[]) => fn(...symbols))
    .program(...inputs)
    .explain();
  return instructions.map(({ op, fused }) => (op === 'chain' ? fused.join(' ') : op));
}

/** What a chain may read beside what it makes, from a matrix, a row, a column and a vector of parameters. */
interface Given {
  readonly matrix: Tensor;
  readonly turned: Tensor;
  readonly row: Tensor;
  readonly column: Tensor;
  readonly parameters: Tensor;
}

const LINKS: Record<string, (x: Tensor, y: Tensor, given: Given) => Tensor> = {
  add: (x, y) => add(x, y),
  sub: (x, y) => sub(y, x),
  mul: (x, y) => mul(x, y),
  maximum: (x, y) => maximum(x, y),
  minimum: (x, y) => minimum(x, y),
  scale: (x) => mul(x, -0.3),
  from1: (x) => sub(1, x),
  neg: (x) => neg(x),
  abs: (x) => abs(x),
  tanh: (x) => tanh(x),
  sigmoid: (x) => sigmoid(x),
  relu: (x) => relu(x),
  gelu: (x) => gelu(x),
  expOfNegative: (x) => exp(neg(abs(x))),
  clamp: (x) => clamp(x, { min: -0.7, max: 1.5 }),
  square: (x) => pow(tanh(x), 2),
  root: (x) => pow(abs(x), 0.5),
  where: (x, y) => where(greater(x, y), x, mul(y, 0.5)),
  whereOfConstant: (x) => where(less(x, 0), 0.25, x),
  whereEqual: (x, y) => where(equal(x, y), 1, y),
  matrix: (x, _, { matrix }) => add(x, matrix),
  turned: (x, _, { turned }) => mul(x, turned),
  row: (x, _, { row }) => add(x, row),
  column: (x, _, { column }) => mul(x, column),
  layerNorm: (x, _, { row, parameters }) => layerNorm(x, parameters, row),
  rmsNorm: (x, _, { parameters }) => rmsNorm(x, parameters),
  softmax: (x) => softmax(x),
  logSoftmax: (x) => logSoftmax(x),
  reshaped: (x, y) => reshape(add(reshape(x, [-1]), reshape(y, [-1])), x.shape),
};

const chain = fc.array(fc.tuple(fc.constantFrom(...Object.keys(LINKS)), fc.nat(9), fc.nat(9)), {
  minLength: 1,
  maxLength: 24,
});
const shape = fc.oneof(
  fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 40 })),
  fc.constantFrom(
    [1, 1],
    [3, 1023],
    [3, 1024],
    [5, 1025],
    [1100, 3],
    [40, 130],
    [2, 4096],
    [2, 4097],
    [1, 70000],
  ),
);

test('chains of any ops, on any layout and of any length, have the bits of their ops one by one', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(
      shape,
      chain,
      fc.constantFrom(...FLOATS),
      fc.nat(2 ** 20),
      async ([rows, columns], links, dtype, seed) => {
        const size = [rows!, columns!];
        const given: Given = {
          matrix: filled(size, seed, dtype),
          turned: transpose(filled([columns!, rows!], seed + 1, dtype)),
          row: filled([columns!], seed + 2, dtype),
          column: filled([rows!, 1], seed + 3, dtype),
          parameters: filled([columns!], seed + 4, dtype),
        };
        const fn = (...inputs: Tensor[]) => {
          const values = [...inputs];
          for (const [name, a, b] of links) {
            // Mostly what was made last.
            const [x, y] = [a, b].map((at) => values.at(-1 - (at % values.length) * (at % 2))!);
            values.push(LINKS[name]!(x!, y!, given));
          }
          return values.at(-1)!;
        };
        for (const name of await instructionsOf(
          fn,
          filled(size, seed + 5, dtype),
          filled(size, seed + 6, dtype),
        ))
          seen.add(name);
      },
    ),
    { numRuns: 200, seed: 3 },
  );
  expect([...seen].some((names) => names.split(' ').length > 8)).toBe(true);
}, 60_000);

test('NaN, infinities, zeros of both signs and extremes come through as they do one by one', async () => {
  for (const dtype of FLOATS) {
    const data = awkwardNumbers(300, 5, dtype);
    const x = tensor(data, { dtype });
    const y = tensor([...data].reverse(), { dtype });
    for (const link of Object.values(LINKS)) {
      const given: Given = { matrix: y, turned: y, row: y, column: y, parameters: y };
      await bothWays1((a, b) => mul(link(add(a!, 0), neg(b!), given), 1), [x, y]);
    }
  }
});

describe('is one instruction:', () => {
  const [x, y] = [filled([6, 20], 1), filled([6, 20], 2)];
  const [gamma, beta] = [filled([20], 3), filled([20], 4)];
  const cases: [string, string, (...t: Tensor[]) => Tensor][] = [
    ['a swish', 'sigmoid mul', (a) => mul(a!, sigmoid(a!))],
    ['a residual sum and a norm', 'add layerNorm', (a, b) => layerNorm(add(a!, b!), gamma, beta)],
    ['a norm and what follows it', 'rmsNorm mul gelu', (a) => gelu(mul(rmsNorm(a!, gamma), 3))],
    ['scaled, masked scores', 'mul add softmax', (a, b) => softmax(add(mul(a!, 0.3), b!))],
    ['clamp', 'maximum minimum neg', (a) => neg(clamp(a!, { min: -1, max: 1 }))],
    ['a condition', 'greater where', (a, b) => where(greater(a!, b!), a!, 0)],
    ['ops through another shape', 'tanh exp', (a) => reshape(exp(reshape(tanh(a!), [3, 40])), [6, 20])],
    [
      'what a value is read by twice',
      'exp add mul',
      (a) => {
        const e = exp(a!);
        return mul(e, add(e, 1));
      },
    ],
  ];
  test.each(cases)('%s', async (_, names, fn) => {
    expect(await instructionsOf(fn, x, y)).toEqual([names]);
  });

  test('sigmoid and its gradient, in one pass', async () => {
    const step = compile((a: Tensor, b: Tensor) => grad(sum(mul(sigmoid(a), b)), [a])[0]!);
    const names = step
      .program(x, y)
      .explain()
      .instructions.map(({ op }) => op);
    expect(names).toContain('chain');
    const s = sigmoid(x);
    const want = mul(mul(y, s), sub(1, s));
    const got = contentOf(await step(x, y)).data as Float32Array;
    // Three roundings in each.
    Array.from(want.toArray() as Float32Array).forEach((value, i) => {
      expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(6 * 2 ** -24 * Math.abs(value));
    });
  });
});

describe('stays an instruction of its own:', () => {
  const [x, y] = [filled([6, 20], 1), filled([6, 20], 2)];
  test.each<[string, string[], (...t: Tensor[]) => Tensor]>([
    ['one op', ['tanh'], (a) => tanh(a!)],
    [
      'what a sum reads as well',
      ['tanh', 'sum', 'add'],
      (a) => {
        const t = tanh(a!);
        return add(t, sum(t));
      },
    ],
    ['what is read in another order', ['tanh', 'exp'], (a) => exp(transpose(tanh(a!)))],
    [
      'what is repeated',
      ['exp', 'sub'],
      (a) => sub(exp(broadcastTo(sum(a!, { axis: 0, keepDims: true }), [1, 20])), a!),
    ],
  ])('%s', async (_, names, fn) => {
    const got = await instructionsOf(fn, x, y);
    for (const name of names) expect(got).toContain(name);
  });

  test('rows too long to be held', async () => {
    expect(await instructionsOf((a) => softmax(tanh(a!)), filled([2, 4097], 1))).toEqual(['tanh', 'softmax']);
    expect(await instructionsOf((a) => softmax(tanh(a!)), filled([2, 4096], 1))).toEqual(['tanh softmax']);
  });

  test('what reads more than eight tensors', async () => {
    const inputs = Array.from({ length: 12 }, (_, i) => filled([7], i));
    const names = await instructionsOf(
      (first, ...rest) => rest.reduce((total, t) => add(total, t), first!),
      ...inputs,
    );
    expect(names).toEqual([Array(4).fill('add').join(' '), Array(7).fill('add').join(' ')]);
  });

  test('more than 32 ops', async () => {
    const names = await instructionsOf(
      (a) => Array.from({ length: 40 }).reduce((t: Tensor) => tanh(t), a!),
      x,
    );
    expect(names.map((name) => name.split(' ').length)).toEqual([8, 32]);
  });

  test('more than 32 constants', async () => {
    const names = await instructionsOf(
      (a) =>
        Array.from({ length: 15 }).reduce(
          (t: Tensor, _, i) => where(greater(t, i / 10), 0.3 - i, 0.7 + i),
          a!,
        ),
      x,
    );
    expect(names.length).toBeGreaterThan(1);
    expect(names.join(' ').match(/where/g)).toHaveLength(15);
  });

  test('what is a result too', async () => {
    const f = compile((a: Tensor) => {
      const t = tanh(a);
      return [t, exp(t)];
    });
    const results = await f(x);
    expect(f.program(x).instructions).toBe(2);
    expect(results.map(bits)).toEqual([bits(tanh(x)), bits(exp(tanh(x)))]);
  });

  test('ops that a write stands between', async () => {
    const [state, before] = [filled([6, 20], 8), filled([6, 20], 8)];
    const f = compile((a: Tensor) => {
      const t = mul(state, 2);
      assign(state, a);
      return exp(t);
    });
    expectSameBits(contentOf(await f(x)), contentOf(exp(mul(before, 2))));
    expect(bits(state)).toBe(bits(x));
  });
});

test('fusing keeps no more alive than it saves', () => {
  const side = 64;
  const f = compile((x: Tensor) => {
    const [a, b] = [matmul(x, x), matmul(x, transpose(x))];
    // Their difference is read at the end: were it made there, both of them would live as long.
    const difference = sub(a, b);
    let y = matmul(a, b);
    for (let i = 0; i < 4; i++) y = matmul(y, x);
    return exp(mul(difference, y));
  });
  const { instructions } = f.program(ones([side, side])).explain();
  const at = (name: string) => instructions.findIndex(({ op, fused }) => op === name || fused.includes(name));
  expect(at('sub')).toBeLessThan(at('mul'));
  expect(instructions.at(-1)!.fused).toEqual(['mul', 'exp']);
});

test('the memory of an operand is used again, wherever it stands', () => {
  const state = ones([64, 64]);
  const planned = (fn: (x: Tensor) => Tensor) => compile(fn).program(ones([64, 64])).memory.planned;
  const product = (x: Tensor) => matmul(x, x);
  expect(planned((x) => matmul(tanh(add(state, product(x))), x))).toBe(
    planned((x) => matmul(tanh(add(product(x), state)), x)),
  );
});

test('results may take the memory of what a chain reads, in whatever order it is read', async () => {
  const fn = (x: Tensor, y: Tensor) => {
    const [a, b] = [matmul(x, y), matmul(y, x)];
    // Reads a as it lies and turned: its memory is not to be written.
    const turned = add(mul(a, 2), permute(a, [1, 0]));
    return matmul(sub(exp(mul(turned, 0.01)), b), x);
  };
  const inputs = [filled([70, 70], 1), filled([70, 70], 2)];
  expect(bits(await compile(fn)(inputs[0]!, inputs[1]!))).toBe(bits(fn(inputs[0]!, inputs[1]!)));
});
