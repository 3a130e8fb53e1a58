import {
  compile,
  crossEntropy,
  Embedding,
  embedding,
  GELU,
  gelu,
  grad,
  LayerNorm,
  Linear,
  layerNorm,
  linear,
  logSoftmax,
  type Module,
  mseLoss,
  mul,
  ReLU,
  RMSNorm,
  relu,
  rmsNorm,
  Sequential,
  softmax,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { contentOf, expectSameBits, expectWithin, FLOATS, type Float, golden, UNIT } from '../ops/support.js';
import { load, type ModuleCase, type Packed, unpack } from './support.js';

type Cases = Record<string, ModuleCase & { labels?: number[]; target?: Packed }>;
const cases = { ...golden<Cases>('nn/layers.json'), ...golden<Cases>('nn/rms-norm.json') };

/** What each golden's module computes, by the functions, from its input and its parameters by name. */
const functions: Record<string, (x: Tensor, p: Record<string, Tensor>) => Tensor> = {
  linear: (x, p) => linear(x, p.weight!, p.bias),
  'linear without bias': (x, p) => linear(x, p.weight!),
  'linear of rank 3': (x, p) => linear(x, p.weight!, p.bias),
  'linear of rank 1': (x, p) => linear(x, p.weight!, p.bias),
  embedding: (x, p) => embedding(p.weight!, x),
  layerNorm: (x, p) => layerNorm(x, p.weight!, p.bias!),
  'layerNorm with eps 0.5': (x, p) => layerNorm(x, p.weight!, p.bias!, 0.5),
  gelu,
  relu,
  softmax,
  logSoftmax,
  crossEntropy: (x) => x,
  mseLoss: (x) => x,
  mlp: (x, p) => {
    const hidden = layerNorm(gelu(linear(x, p['0.weight']!, p['0.bias'])), p['2.weight']!, p['2.bias']!);
    return linear(relu(linear(hidden, p['3.weight']!, p['3.bias'])), p['5.weight']!, p['5.bias']);
  },
  rmsNorm: (x, p) => rmsNorm(x, p.weight!, { eps: 2 ** -23 }),
  'rmsNorm with eps 0.5': (x, p) => rmsNorm(x, p.weight!, { eps: 0.5 }),
};

const modules: Record<string, () => Module> = {
  linear: () => new Linear(5, 4),
  'linear without bias': () => new Linear(5, 4, { bias: false }),
  'linear of rank 3': () => new Linear(5, 4),
  'linear of rank 1': () => new Linear(5, 4),
  embedding: () => new Embedding(6, 3),
  layerNorm: () => new LayerNorm(9),
  'layerNorm with eps 0.5': () => new LayerNorm(9, { eps: 0.5 }),
  gelu: () => new GELU(),
  relu: () => new ReLU(),
  mlp: () =>
    new Sequential(
      new Linear(7, 19),
      new GELU(),
      new LayerNorm(19),
      new Linear(19, 17),
      new ReLU(),
      new Linear(17, 6),
    ),
  rmsNorm: () => new RMSNorm(9),
  'rmsNorm with eps 0.5': () => new RMSNorm(9, { eps: 0.5 }),
};

function lossOf(name: string, output: Tensor, dtype: Float): Tensor {
  const { labels, target, weights } = cases[name]!;
  if (labels !== undefined) return crossEntropy(output, tensor(labels, { dtype: 'i32' }));
  if (target !== undefined) return mseLoss(output, unpack(target, dtype));
  return sum(mul(output, unpack(weights, dtype)));
}

/**
 * A bound on the error against PyTorch's doubles. Each result is a chain of at most 6 layers of sums over at most 20
 * terms, whose roundings each count by the largest magnitude that occurs; 2000 of them is more than there are.
 */
function expectLike(actual: Tensor, want: Packed, dtype: Float, note: string): void {
  const largest = Math.max(1, ...want.data.map(Math.abs));
  expect(actual.shape, note).toEqual(want.shape);
  expectWithin(contentOf(actual), want.data, (dtype === 'f32' ? 400 : 2000) * UNIT[dtype] * largest, note);
}

const inputOf = (one: ModuleCase, dtype: Float): Tensor =>
  one.inputGradients[0] === null
    ? tensor([...one.inputs[0]!.data], { shape: one.inputs[0]!.shape, dtype: 'i64' })
    : unpack(one.inputs[0]!, dtype);

test('every golden is used', () => {
  expect(Object.keys(functions)).toEqual(Object.keys(cases));
});

describe.each(Object.entries(functions))('%s as a function', (name, fn) => {
  test.each(FLOATS)('has PyTorch’s output, loss and gradients in %s, eagerly and recorded', (dtype) => {
    const one = cases[name]!;
    const x = inputOf(one, dtype);
    const names = Object.keys(one.parameters);
    const parameters = names.map((key) => unpack(one.parameters[key]!, dtype));
    const wanted = one.inputGradients[0] === null ? parameters : [x, ...parameters];
    const forward = (input: Tensor, given: readonly Tensor[]) =>
      fn(input, Object.fromEntries(names.map((key, i) => [key, given[i]!])));

    const output = forward(x, parameters);
    expectLike(output, one.output, dtype, 'output');
    const { value, grads } = valueAndGrad(() => lossOf(name, forward(x, parameters), dtype), wanted)();
    expectLike(value, { shape: [], data: [one.loss] }, dtype, 'loss');
    const gradients = [one.inputGradients[0], ...names.map((key) => one.parameterGradients[key]!)].filter(
      (g) => g !== null,
    );
    grads.forEach((gradient, i) => {
      expectLike(gradient, gradients[i]!, dtype, `gradient ${i}`);
    });

    const recorded = compile((input: Tensor) => {
      const made = forward(input, parameters);
      const loss = lossOf(name, made, dtype);
      return [
        made,
        loss,
        ...grad(loss, one.inputGradients[0] === null ? parameters : [input, ...parameters]),
      ];
    }).runSync(x);
    [output, value, ...grads].forEach((eager, i) => {
      expectSameBits(contentOf(recorded[i]!), contentOf(eager));
    });
  });
});

describe.each(Object.entries(modules))('%s as a module', (name, make) => {
  test('has PyTorch’s output and gradients by name, eagerly and recorded', async () => {
    const one = cases[name]!;
    const model = make();
    load(model, one.parameters);
    const x = inputOf(one, 'f32');
    expectLike(model.forward(x), one.output, 'f32', 'output');
    const step = compile((input: Tensor) => {
      const output = model.forward(input);
      return { output, gradients: grad(lossOf(name, output, 'f32'), model.parameters()) };
    });
    const { output, gradients } = await step(x);
    expectLike(output, one.output, 'f32', 'recorded output');
    [...model.namedParameters().keys()].forEach((key, i) => {
      const theirs = one.parameterGradients[key.replace(/^layers\./, '')]!;
      expectLike(gradients[i]!, theirs, 'f32', key);
    });
  });
});
