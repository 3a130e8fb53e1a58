import {
  abs,
  add,
  broadcastTo,
  compile,
  exp,
  GELU,
  gelu,
  LayerNorm,
  Linear,
  logSoftmax,
  matmul,
  max,
  mean,
  mul,
  permute,
  relu,
  reshape,
  Sequential,
  scaledDotProductAttention,
  sigmoid,
  slice,
  softmax,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  transpose,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bits } from './support.js';

const SIDE = 6;

/** Steps from [SIDE, SIDE] tensors to another one, whatever their layout. */
const UNARY: Record<string, (x: Tensor) => Tensor> = {
  tanh,
  sigmoid,
  relu,
  gelu,
  abs,
  softmax: (x) => softmax(x),
  logSoftmax: (x) => logSoftmax(x),
  expOfNegativeAbs: (x) => exp(mul(abs(x), -1)),
  scale: (x) => mul(x, 0.5),
  transpose: (x) => transpose(x),
  reshapeTwice: (x) => reshape(reshape(x, [SIDE * SIDE]), [SIDE, SIDE]),
  columnMeans: (x) => broadcastTo(mean(x, { axis: 0, keepDims: true }), [SIDE, SIDE]),
  rowMaxima: (x) => broadcastTo(max(x, { axis: 1, keepDims: true }), [SIDE, SIDE]),
  firstRow: (x) => broadcastTo(slice(x, 0, 0, 1), [SIDE, SIDE]),
  lastColumn: (x) => broadcastTo(slice(x, 1, SIDE - 1, SIDE), [SIDE, SIDE]),
};
const BINARY: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  add,
  sub,
  mul,
  matmul,
  reluOfMatmul: (a, b) => relu(matmul(a, b)),
  matmulAndOperand: (a, b) => add(a, matmul(a, b)),
  scaledMatmulAndRow: (a, b) => add(mul(matmul(a, b), 0.3), slice(b, 0, 2, 3)),
  reluOfPartOfMatmul: (a, b) => broadcastTo(relu(slice(matmul(a, b), 0, 1, 2)), [SIDE, SIDE]),
};

const node = fc.oneof(
  fc.record({ op: fc.constantFrom(...Object.keys(UNARY)), a: fc.nat(1000) }),
  fc.record({ op: fc.constantFrom(...Object.keys(BINARY)), a: fc.nat(1000), b: fc.nat(1000) }),
);
const graph = fc.record({
  nodes: fc.array(node as fc.Arbitrary<{ op: string; a: number; b?: number }>, {
    minLength: 1,
    maxLength: 40,
  }),
  outputs: fc.array(fc.nat(1000), { minLength: 1, maxLength: 4 }),
  seed: fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 8, maxLength: 8 }),
});

test('recorded graphs give the bits of eager execution: temporaries alive at once never overlap', async () => {
  const matrix = (seed: number[], at: number) =>
    tensor(
      Float32Array.from({ length: SIDE * SIDE }, (_, i) => seed[(i * 5 + at) % 8]! + Math.sin(i + at)),
      {
        shape: [SIDE, SIDE],
      },
    );
  let [planned, naive] = [0, 0];
  await fc.assert(
    fc.asyncProperty(graph, async ({ nodes, outputs, seed }) => {
      const inputs = [matrix(seed, 0), matrix(seed, 3)] as const;
      const captured = matrix(seed, 6);
      const build = (x: Tensor, y: Tensor): Tensor[] => {
        const values = [x, y, captured];
        for (const { op, a, b } of nodes) {
          const left = values[a % values.length]!;
          values.push(b === undefined ? UNARY[op]!(left) : BINARY[op]!(left, values[b % values.length]!));
        }
        return [values.at(-1)!, sum(values.at(-1)!), ...outputs.map((at) => values[at % values.length]!)];
      };
      const expected = build(...inputs).map(bits);
      const f = compile(build);
      const { memory } = f.program(...inputs);
      planned += memory.planned;
      naive += memory.naive;
      expect((await f(...inputs)).map(bits)).toEqual(expected);
      expect(f.runSync(...inputs).map(bits)).toEqual(expected);
    }),
    { numRuns: 150, seed: 5 },
  );
  expect(planned).toBeLessThan(naive);
});

test('elementwise ops that are too many for one instruction take the memory of one', () => {
  const f = compile((x: Tensor) => {
    let y = x;
    for (let i = 0; i < 200; i++) y = tanh(add(y, x));
    return sum(y);
  });
  const { memory, instructions } = f.program(tensor(new Float32Array(1024)));
  // Chains, all but the first on what the one before left, and the sum.
  expect(instructions).toBe(400 / 32 + 1.5);
  expect(memory).toEqual({ planned: 4096, naive: 13 * 4096, reuse: 1 / 13 });
});

test('an encoder takes less than an eighth of what its temporaries would take by themselves', () => {
  const [width, heads, rows] = [32, 4, 16];
  const layers = Array.from({ length: 4 }, () => ({
    project: [0, 1, 2, 3].map(() => new Linear(width, width)),
    feedForward: new Sequential(new Linear(width, 4 * width), new GELU(), new Linear(4 * width, width)),
    norms: [new LayerNorm(width), new LayerNorm(width)],
  }));
  const split = (x: Tensor) => permute(reshape(x, [2, rows, heads, width / heads]), [0, 2, 1, 3]);
  const encode = (x: Tensor) =>
    layers.reduce((h, { project, feedForward, norms }) => {
      const [q, k, v] = project.slice(0, 3).map((linear) => split(linear.forward(h)));
      const attended = permute(scaledDotProductAttention(q!, k!, v!), [0, 2, 1, 3]);
      const y = norms[0]!.forward(add(h, project[3]!.forward(reshape(attended, [2, rows, width]))));
      return norms[1]!.forward(add(y, feedForward.forward(y)));
    }, x);
  const x = tensor(
    Float32Array.from({ length: 2 * rows * width }, (_, i) => Math.sin(i)),
    { shape: [2, rows, width] },
  );
  const f = compile(encode);
  const { planned, reuse } = f.program(x).memory;
  expect(reuse).toBeLessThan(1 / 8);
  // The operands and the result of the widest instruction, which nothing can do without: [64, 128] and two of [64, 32].
  expect(planned).toBe(4 * 2 * rows * (4 * width + 2 * width));
  expect(bits(f.runSync(x))).toBe(bits(encode(x)));
});

test('a program without temporaries needs no arena', () => {
  const f = compile((x: Tensor) => tanh(x));
  expect(f.program(tensor([1, 2])).memory).toEqual({ planned: 0, naive: 0, reuse: 1 });
});
