import {
  add,
  clipGradNorm,
  crossEntropy,
  defaultPool,
  Linear,
  mean,
  mseLoss,
  mul,
  ones,
  quantize,
  ReLU,
  rand,
  Sequential,
  softmax,
  sub,
  sum,
  type Tensor,
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
