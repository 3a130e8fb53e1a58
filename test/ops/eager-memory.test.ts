import {
  AdaptiveAvgPool2d,
  add,
  BatchNorm1d,
  BatchNorm2d,
  bceWithLogits,
  Conv2d,
  clipGradNorm,
  cosineEmbeddingLoss,
  crossEntropy,
  defaultPool,
  Flatten,
  huberLoss,
  LayerNorm,
  Linear,
  MaxPool2d,
  mean,
  mseLoss,
  mul,
  ones,
  quantize,
  ReLU,
  rand,
  Sequential,
  SiLU,
  softmax,
  sub,
  sum,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
  tensor,
  transpose,
  valueAndGrad,
} from 'drivetrain';
import { expect, test } from 'vitest';

const x = ones([4, 8]);
const labels = tensor([0, 1, 2, 3], { dtype: 'i32' });
const model = new Sequential(new Linear(8, 8), new ReLU(), new Linear(8, 8));
const small = quantize(model);
const differentiate = valueAndGrad((t: Tensor) => mean(mul(t, t)));
const image = ones([2, 1, 8, 8]);
const convolutional = new Sequential(
  new Conv2d(1, 4, 3),
  new BatchNorm2d(4),
  new SiLU(),
  new MaxPool2d(2),
  new AdaptiveAvgPool2d(2),
  new Flatten(),
  new BatchNorm1d(16),
  new Linear(16, 2),
);
const signs = tensor([1, -1, 1, -1]);
const sequence = ones([2, 5, 8]);
const padding = tensor(
  [
    [0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0],
  ],
  { dtype: 'bool' },
);
const encoder = new TransformerEncoder(() => new TransformerEncoderLayer(8, 2), 2, new LayerNorm(8));
const resting = new TransformerEncoder(() => new TransformerEncoderLayer(8, 2), 2).eval();
rand([1]).dispose(); // the default generator lasts

const calls: Record<string, () => Tensor | Tensor[]> = {
  'a number operand': () => mul(x, 2),
  'two number operands': () => add(1, 2),
  mean: () => mean(x),
  'a sum over a strided view': () => sum(transpose(x), { axis: 0 }),
  'softmax of a strided view': () => softmax(transpose(x)),
  mseLoss: () => mseLoss(x, x),
  crossEntropy: () => crossEntropy(x, labels),
  'random numbers': () => rand([10]),
  'a model': () => model.forward(x),
  'a convolutional model': () => convolutional.forward(image),
  'gradients of a convolutional model': () => {
    const { value, grads } = valueAndGrad(
      () => mean(convolutional.forward(image)),
      convolutional.parameters(),
    )();
    return [value, ...grads];
  },
  'a transformer encoder': () => encoder.forward(sequence, { keyPaddingMask: padding, isCausal: true }),
  'a transformer encoder in evaluation': () => resting.forward(sequence, { keyPaddingMask: padding }),
  'crossEntropy with an ignored label': () =>
    crossEntropy(x, labels, { ignoreIndex: 1, labelSmoothing: 0.1 }),
  bceWithLogits: () => bceWithLogits(x, x),
  cosineEmbeddingLoss: () => cosineEmbeddingLoss(x, x, signs),
  huberLoss: () => huberLoss(x, x, { reduction: 'none' }),
  'a quantized model': () => small.forward(x),
  clipGradNorm: () => {
    const { gradients, norm } = clipGradNorm([x], 1);
    return [...gradients, norm];
  },
  valueAndGrad: () => {
    const { value, grads } = differentiate(x);
    return [value, ...grads];
  },
  'an expression of one op each': () => sub(x, 1),
};

for (const [name, call] of Object.entries(calls)) {
  test(`${name} leaves no memory behind that its caller cannot dispose`, () => {
    const before = defaultPool.statistics.blocks;
    for (let i = 0; i < 10; i++) for (const result of [call()].flat()) result.dispose();
    expect(defaultPool.statistics.blocks).toBe(before);
  });
}
