import {
  abs,
  adaptiveAvgPool2d,
  add,
  avgPool1d,
  avgPool2d,
  batchNorm,
  broadcastTo,
  cast,
  clamp,
  clone,
  compile,
  concat,
  conv1d,
  conv2d,
  div,
  dropout,
  embedding,
  exp,
  Generator,
  gelu,
  grad,
  layerNorm,
  linear,
  log,
  logSoftmax,
  matmul,
  max,
  maximum,
  maxPool1d,
  maxPool2d,
  mean,
  minimum,
  mul,
  neg,
  permute,
  pow,
  relu,
  reshape,
  rmsNorm,
  scaledDotProductAttention,
  sigmoid,
  sign,
  slice,
  softmax,
  sqrt,
  stack,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  topk,
  transpose,
  valueAndGrad,
  where,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { crossEntropyRows, gradientRule, OPCODES, type Opcode } from '../../dist/ops/index.js';
import { record } from '../../dist/program/record.js';
import { expectGradients, type Input, input, weighted } from './finite-differences.js';
import { contentOf, numbersOf, refusalOf } from './support.js';

interface Case {
  readonly fn: (...inputs: Tensor[]) => Tensor;
  readonly inputs: readonly Input[];
  readonly fresh?: () => void;
}

/** Elements 0.07 apart in a shuffled order: no ties, and nothing nearer to a kink than a step. */
const apart = (shape: readonly number[], offset = 0): Input => {
  const n = shape.reduce((a, b) => a * b, 1);
  return {
    shape,
    data: Array.from({ length: n }, (_, i) => (((i * 7 + 3) % n) - n / 2 + 0.3) * 0.07 + offset),
  };
};
const unary = (fn: (x: Tensor) => Tensor, x: Input = apart([3, 5])): Case => ({
  fn: fn as Case['fn'],
  inputs: [x],
});
const binary = (fn: (a: Tensor, b: Tensor) => Tensor): Case[] => [
  { fn: fn as Case['fn'], inputs: [apart([3, 5]), apart([3, 5], 1.51)] },
  { fn: fn as Case['fn'], inputs: [apart([3, 5]), apart([5], 1.51)] },
  { fn: fn as Case['fn'], inputs: [apart([3, 1]), apart([2, 1, 5], 1.51)] },
  { fn: ((a: Tensor) => fn(a, add(mul(a, a), 1.5))) as Case['fn'], inputs: [apart([4])] },
];

const labels = tensor([2, 0, 2, 1], { dtype: 'i32' });
const rows = tensor(
  [
    [1, 1, 4],
    [0, 1, 3],
  ],
  { dtype: 'i64' },
);
const mask = tensor([[1], [0], [1]], { dtype: 'bool' });
const rate = tensor(0.4, { dtype: 'f64' });
let generator = new Generator(6);
const again = () => {
  generator = new Generator(6);
};

/** For every op with a gradient rule, functions that use it. */
const cases: Partial<Record<Opcode, Case[]>> = {
  neg: [unary(neg)],
  abs: [unary(abs)],
  sign: [unary((x) => add(sign(x), x))],
  exp: [unary(exp)],
  log: [unary(log, apart([3, 5], 2))],
  sqrt: [unary(sqrt, apart([3, 5], 2))],
  tanh: [unary(tanh)],
  sigmoid: [unary(sigmoid)],
  relu: [unary(relu)],
  gelu: [unary(gelu, input([3, 7], 1, 3)), unary(gelu, input([5], 2, 0.01))],
  add: binary(add),
  sub: binary(sub),
  mul: binary(mul),
  div: binary(div),
  maximum: [...binary(maximum), unary((x) => maximum(x, 0.1))],
  minimum: [...binary(minimum), unary((x) => minimum(0.1, x))],
  where: [
    { fn: (a, b) => where(mask, a!, b!), inputs: [apart([3, 5]), apart([5], 1)] },
    { fn: (a) => where(mask, 2, a!), inputs: [apart([2, 1, 5])] },
  ],
  clamp: [unary((x) => clamp(x, { min: -0.2, max: 0.25 })), unary((x) => clamp(transpose(x), { max: 0.1 }))],
  pow: [
    unary((x) => pow(x, 3), apart([3, 5])),
    unary((x) => pow(x, 2), apart([3, 5])),
    unary((x) => pow(x, 1), apart([3, 5])),
    unary((x) => add(pow(x, 0), x), apart([3, 5])),
    unary((x) => pow(x, -1.5), apart([3, 5], 2)),
    unary((x) => pow(x, 0.5), apart([3, 5], 2)),
  ],
  concat: [
    { fn: (a, b) => concat([a!, b!]), inputs: [apart([3, 5]), apart([2, 5], 1)] },
    { fn: (a, b) => concat([a!, mul(b!, 2), a!], -1), inputs: [apart([2, 3, 2]), apart([2, 3, 4], 1)] },
    { fn: (a, b) => concat([transpose(a!), b!], 1), inputs: [apart([3, 5]), apart([5, 2], 1)] },
    { fn: (a, b) => stack([a!, b!], 1), inputs: [apart([3, 5]), apart([3, 5], 1)] },
  ],
  topk: [
    unary((x) => topk(x, 2)[0]),
    unary((x) => topk(x, 3)[0], apart([2, 3, 5])),
    unary((x) => topk(x, 2, { axis: 0 })[0], apart([4, 3])),
  ],
  copy: [unary(clone), unary((x) => reshape(transpose(x), [5, 3]))],
  cast: [unary((x) => cast(cast(x, 'f64'), 'f64')), { ...castThroughSingle() }],
  sum: [
    unary((x) => sum(x)),
    unary((x) => sum(x, { axis: 0 })),
    unary((x) => sum(x, { axis: [0, 2], keepDims: true }), apart([2, 3, 4])),
    unary((x) => sum(x, { axis: 1 }), apart([2, 3, 4])),
    unary((x) => mean(x, { axis: [] })),
    unary((x) => mean(x, { axis: -1 })),
  ],
  max: [
    unary((x) => max(x)),
    unary((x) => max(x, { axis: 0 })),
    unary((x) => max(x, { axis: [0, 2], keepDims: true }), apart([2, 3, 4])),
    unary((x) => max(x, { axis: 1 }), apart([2, 3, 4])),
  ],
  matmul: [
    { fn: matmul as Case['fn'], inputs: [input([3, 4], 1), input([4, 5], 2)] },
    { fn: matmul as Case['fn'], inputs: [input([2, 1, 3, 4], 1), input([3, 4, 2], 2)] },
    { fn: (a, b) => matmul(transpose(a!), transpose(b!)), inputs: [input([4, 3], 1), input([5, 4], 2)] },
    { fn: (a, b) => matmul(a!, b!, { alpha: -0.3 }), inputs: [input([3, 4], 1), input([4, 5], 2)] },
    { fn: (a, b) => matmul(a!, transpose(b!), { alpha: 2 }), inputs: [input([3, 4], 1), input([5, 4], 2)] },
    { fn: (a) => matmul(a!, transpose(a!)), inputs: [input([3, 4], 1)] },
    { fn: linear as Case['fn'], inputs: [input([2, 3, 4], 1), input([5, 4], 2), input([5], 3)] },
    {
      fn: (x, w, b) => relu(linear(x!, w!, b!)),
      inputs: [input([3, 4], 1), input([5, 4], 2), input([5], 3)],
    },
    { fn: linear as Case['fn'], inputs: [input([4], 1), input([5, 4], 2)] },
  ],
  softmax: [unary(softmax, input([3, 7], 1, 3)), unary(softmax, input([2, 2, 1], 1))],
  logSoftmax: [unary(logSoftmax, input([3, 7], 1, 3)), unary(logSoftmax, input([1, 17], 1))],
  crossEntropy: [
    { fn: (x) => crossEntropyRows(x!, labels), inputs: [input([4, 3], 1)] },
    {
      fn: (x) => crossEntropyRows(x!, labels, { labelSmoothing: 0.3, ignoreIndex: 0 }),
      inputs: [input([4, 3], 1)],
    },
    { fn: (x) => crossEntropyRows(x!, labels, { labelSmoothing: 1 }), inputs: [input([4, 3], 1)] },
  ],
  layerNorm: [
    { fn: (x, g, b) => layerNorm(x!, g!, b!), inputs: [input([3, 9], 1), input([9], 2), input([9], 3)] },
    {
      fn: (x, g, b) => layerNorm(x!, g!, b!, 0.5),
      inputs: [input([2, 3, 5], 1), input([5], 2), input([5], 3)],
    },
    {
      fn: (x, g, b) => layerNorm(transpose(x!), g!, b!),
      inputs: [input([4, 6], 1), input([4], 2), input([4], 3)],
    },
  ],
  rmsNorm: [
    { fn: (x, w) => rmsNorm(x!, w!), inputs: [input([3, 9], 1), input([9], 2)] },
    { fn: (x, w) => rmsNorm(x!, w!, { eps: 0.5 }), inputs: [input([2, 3, 5], 1), input([5], 2)] },
    { fn: (x, w) => rmsNorm(transpose(x!), w!), inputs: [input([4, 6], 1), input([4], 2)] },
  ],
  scaledDotProductAttention: [
    {
      fn: (q, k, v) => scaledDotProductAttention(q!, k!, v!),
      inputs: [input([2, 3, 4], 1), input([2, 5, 4], 2), input([2, 5, 3], 3)],
    },
    {
      fn: (q, k, v) => scaledDotProductAttention(q!, k!, v!, { isCausal: true, scale: 0.7 }),
      inputs: [input([4, 3], 1), input([3, 4, 3], 2), input([4, 3], 3)],
    },
    {
      fn: (x) => scaledDotProductAttention(x!, x!, transpose(x!, 0, 1), { mask }),
      inputs: [input([3, 3, 4], 1)],
    },
  ],
  conv2d: [
    {
      fn: conv2d as Case['fn'],
      inputs: [input([2, 3, 5, 4], 1), input([2, 3, 2, 3], 2), input([2], 3)],
    },
    {
      fn: (x, w) =>
        conv2d(x!, w!, undefined, { stride: [2, 1], padding: [2, 1], dilation: [1, 2], groups: 2 }),
      inputs: [input([2, 4, 5, 5], 1), input([6, 2, 3, 2], 2)],
    },
    { fn: conv2d as Case['fn'], inputs: [input([2, 3, 2, 3], 1), input([4, 3, 1, 1], 2)] },
    {
      fn: (x, w, b) => conv1d(transpose(x!), w!, b!, { stride: 2, padding: 1 }),
      inputs: [input([2, 6, 3], 1), input([4, 3, 3], 2), input([4], 3)],
    },
  ],
  maxPool2d: [
    unary((x) => maxPool2d(x, 2), apart([2, 4, 5])),
    unary((x) => maxPool2d(x, [3, 2], { stride: 1, padding: 1, dilation: [1, 2] }), apart([1, 2, 5, 5])),
    unary((x) => maxPool1d(x, 3, { stride: 1 }), apart([3, 7])),
  ],
  avgPool2d: [
    unary((x) => avgPool2d(x, 2), apart([2, 4, 5])),
    unary((x) => avgPool2d(x, [3, 2], { stride: 1, padding: 1 }), apart([1, 2, 4, 5])),
    unary((x) => avgPool1d(x, 3, { stride: 1, padding: 1 }), apart([3, 7])),
  ],
  batchNorm: [
    {
      fn: (x, g, b) => batchNorm(x!, g!, b!).y,
      inputs: [input([5, 3], 1), input([3], 2), input([3], 3)],
    },
    {
      fn: (x, g, b) => batchNorm(x!, g!, b!, 0.5).y,
      inputs: [input([2, 3, 4], 1), input([3], 2), input([3], 3)],
    },
    {
      fn: (x, g, b) => batchNorm(permute(x!, [1, 0, 3, 2]), g!, b!).y,
      inputs: [input([2, 3, 2, 2], 1), input([2], 2), input([2], 3)],
    },
  ],
  embedding: [{ fn: (w) => embedding(w!, rows), inputs: [input([5, 3], 1)] }],
  dropout: [{ fn: (x) => dropout(x!, rate, generator), inputs: [input([30], 1)], fresh: again }],
};

/** f32 on the way: its slope is exact where the function is linear and its numbers are short. */
function castThroughSingle(): Case {
  const short = { shape: [3, 4], data: Array.from({ length: 12 }, (_, i) => i / 4 - 1) };
  return { fn: (x) => cast(mul(cast(x!, 'f32'), 2), 'f64'), inputs: [short] };
}

test('every op that has a gradient rule has a case here, which uses it', () => {
  const differentiable = OPCODES.filter((name) => gradientRule(name) !== undefined);
  expect(Object.keys(cases).sort()).toEqual([...differentiable].sort());
  for (const [name, list] of Object.entries(cases)) {
    for (const { fn, inputs } of list) {
      const { steps } = record(
        fn,
        inputs.map(({ shape }) => ({ shape, dtype: 'f64' as const })),
      );
      const used = steps.map(({ op }) => op.name);
      if (list[0]?.fn === fn && name === 'cast') continue; // to the same dtype, which records nothing
      expect(used).toContain(name);
    }
  }
});

describe.each(Object.entries(cases))('the gradient of %s', (_, list) => {
  test.each(list.map((one, i) => [i, one] as const))(
    'is that of central differences, both ways (%d)',
    (_, one) => {
      const { fn, inputs, fresh } = one;
      expectGradients((...tensors) => weighted(fn(...tensors)), inputs, fresh);
    },
  );
});

test('the gradient of adaptiveAvgPool2d is that of central differences, both ways', () => {
  expectGradients((x) => weighted(adaptiveAvgPool2d(x!, [3, 2])), [input([2, 4, 5], 5)]);
  expectGradients((x) => weighted(adaptiveAvgPool2d(x!, 1)), [input([2, 4, 5], 5)]);
});

describe('the gradient of a view is that of central differences, both ways:', () => {
  test.each<[string, (x: Tensor) => Tensor]>([
    ['reshape', (x) => reshape(x, [4, -1])],
    ['reshape of what is not contiguous', (x) => reshape(transpose(x), [4, 6])],
    ['permute', (x) => permute(x, [2, 0, 1])],
    ['transpose', (x) => transpose(x, 0, 2)],
    ['slice', (x) => slice(x, 1, 1, 3)],
    ['slice of nothing', (x) => add(sum(slice(x, 1, 1, 1)), sum(x))],
    ['two slices that overlap', (x) => mul(slice(x, 2, 0, 3), slice(x, 2, 1, 4))],
    ['broadcastTo', (x) => broadcastTo(x, [5, 2, 3, 4])],
    ['broadcastTo along a dimension of one', (x) => broadcastTo(slice(x, 1, 1, 2), [2, 6, 4])],
    ['one after another', (x) => mul(reshape(permute(slice(x, 0, 1, 2), [2, 1, 0]), [3, 4]), 2)],
  ])('%s', (_, view) => {
    expectGradients((x) => weighted(view(x!)), [input([2, 3, 4], 5)]);
  });
});

test('a composed network has the gradient of central differences, both ways', () => {
  const network = (x: Tensor, w1: Tensor, b1: Tensor, g: Tensor, b: Tensor, w2: Tensor, b2: Tensor) => {
    const hidden = dropout(gelu(layerNorm(linear(x, w1, b1), g, b)), rate, generator);
    const logits = linear(add(hidden, tanh(hidden)), w2, b2);
    return mean(crossEntropyRows(logits, labels));
  };
  expectGradients(
    network as Case['fn'],
    [
      input([4, 5], 1),
      input([8, 5], 2),
      input([8], 3),
      input([8], 4, 1, 1),
      input([8], 5),
      input([3, 8], 6),
      input([3], 7),
    ],
    again,
  );
});

describe('gradients', () => {
  const gradientsOf = (loss: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]) => {
    const eager = valueAndGrad(loss)(...inputs).grads.map(contentOf);
    const recorded = compile((...t: Tensor[]) => grad(loss(...t), t)).runSync(...inputs);
    expect(recorded.map(contentOf)).toEqual(eager);
    return eager.map(numbersOf);
  };

  test('are shared by equal operands and equal maxima, as in PyTorch', () => {
    const [a, b] = [tensor([1, 5, 2]), tensor([1, 2, 5])];
    expect(gradientsOf((x, y) => sum(maximum(x!, y!)), a, b)).toEqual([
      [0.5, 1, 0],
      [0.5, 0, 1],
    ]);
    expect(gradientsOf((x, y) => sum(minimum(x!, y!)), a, b)).toEqual([
      [0.5, 0, 1],
      [0.5, 1, 0],
    ]);
    expect(gradientsOf((x) => max(x!), tensor([3, 1, 3, 3, 3]))).toEqual([[0.25, 0, 0.25, 0.25, 0.25]]);
  });

  test('of clamp pass at the bounds, and no further, as in PyTorch', () => {
    expect(gradientsOf((x) => sum(clamp(x!, { min: -1, max: 1 })), tensor([-2, -1, 0, 1, 2, NaN]))).toEqual([
      [0, 1, 1, 1, 0, 0],
    ]);
  });

  test('are zero at the kinks of relu, abs and sign', () => {
    expect(gradientsOf((x) => sum(relu(x!)), tensor([0, -0, 1]))).toEqual([[0, 0, 1]]);
    expect(gradientsOf((x) => sum(abs(x!)), tensor([0, -2, 1]))).toEqual([[0, -1, 1]]);
    expect(gradientsOf((x) => sum(sign(x!)), tensor([0, -2, 1]))).toEqual([[0, 0, 0]]);
  });

  test('are zeros for what the loss does not depend on', () => {
    const [x, y] = [tensor([1, 2]), tensor([[3, 4]], { dtype: 'f64' })];
    expect(gradientsOf((a) => sum(a!), x, y)).toEqual([
      [1, 1],
      [0, 0],
    ]);
  });

  test('add up over all uses of a tensor', () => {
    expect(gradientsOf((x) => sum(add(add(x!, x!), mul(x!, 3))), tensor([1, 2]))).toEqual([[5, 5]]);
  });

  test('reach parameters that were captured', () => {
    const weight = tensor([2, 3]);
    const { grads } = valueAndGrad((x: Tensor) => sum(mul(x, weight)), [weight])(tensor([5, 7]));
    expect(grads.map((t) => [...(t.toArray() as Float32Array)])).toEqual([[5, 7]]);
    const [recorded] = compile((x: Tensor) => grad(sum(mul(x, weight)), [weight])).runSync(tensor([5, 7]));
    expect([...(recorded!.toArray() as Float32Array)]).toEqual([5, 7]);
  });

  test('of equal indices add up in an embedding', () => {
    const indices = tensor([1, 1, 0], { dtype: 'i32' });
    expect(
      gradientsOf(
        (w) => sum(embedding(w!, indices)),
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ),
    ).toEqual([[1, 1, 2, 2]]);
  });

  test.each<[string, string, () => unknown]>([
    ['outside of recording', 'DT_NOT_RECORDING', () => grad(tensor(1), [])],
    [
      'of more than one element',
      'DT_SHAPE_MISMATCH',
      () => valueAndGrad((x: Tensor) => mul(x, 2))(tensor([1, 2])),
    ],
  ])('are refused %s', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});
