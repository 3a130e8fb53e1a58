import {
  AdaptiveAvgPool2d,
  AvgPool1d,
  AvgPool2d,
  BatchNorm1d,
  BatchNorm2d,
  Conv1d,
  Conv2d,
  Flatten,
  LeakyReLU,
  Linear,
  LogSoftmax,
  MaxPool1d,
  MaxPool2d,
  type Module,
  ReLU,
  Sequential,
  Sigmoid,
  SiLU,
  Softmax,
  Tanh,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { FLOATS, golden } from '../ops/support.js';
import { expectTorch, type TorchCase } from './torch-support.js';

const cases = golden<Record<string, TorchCase>>('nn/convolutions.json');

const modules: Record<string, () => Module> = {
  conv1d: () => new Conv1d(3, 4, 3),
  'conv1d with all options': () =>
    new Conv1d(4, 6, 3, { stride: 2, padding: 2, dilation: 2, groups: 2, bias: false }),
  conv2d: () => new Conv2d(3, 5, 3),
  'conv2d of 1 x 1': () => new Conv2d(6, 5, 1),
  'conv2d of 1 x 1 in groups': () => new Conv2d(6, 4, 1, { groups: 2 }),
  'conv2d of 1 x 1 with a stride': () => new Conv2d(3, 2, 1, { stride: 2 }),
  'conv2d with all options': () =>
    new Conv2d(4, 6, [3, 2], { stride: [2, 3], padding: [1, 2], dilation: [2, 1], groups: 2, bias: false }),
  'conv2d by depth': () => new Conv2d(4, 8, 3, { padding: 1, groups: 4 }),
  'conv2d whose kernel is the plane': () => new Conv2d(2, 3, [4, 5]),
  maxPool1d: () => new MaxPool1d(3, { stride: 2, padding: 1 }),
  maxPool2d: () => new MaxPool2d(2),
  'maxPool2d with all options': () =>
    new MaxPool2d([3, 2], { stride: [1, 2], padding: [1, 1], dilation: [2, 1] }),
  'maxPool2d of equals': () => new MaxPool2d(2),
  avgPool1d: () => new AvgPool1d(3, { stride: 2, padding: 1 }),
  avgPool2d: () => new AvgPool2d(2),
  'avgPool2d with all options': () => new AvgPool2d([3, 2], { stride: [1, 2], padding: 1 }),
  'adaptiveAvgPool2d to one': () => new AdaptiveAvgPool2d(1),
  adaptiveAvgPool2d: () => new AdaptiveAvgPool2d([3, 4]),
  'adaptiveAvgPool2d to more': () => new AdaptiveAvgPool2d([5, 3]),
  batchNorm1d: () => new BatchNorm1d(5),
  'batchNorm1d of sequences': () => new BatchNorm1d(3, { eps: 0.5, momentum: 0.3 }),
  batchNorm2d: () => new BatchNorm2d(4),
  'batchNorm2d in evaluation': () => new BatchNorm2d(4).eval(),
  'batchNorm1d in evaluation': () => new BatchNorm1d(4).eval(),
  'a convolutional network': () =>
    new Sequential(
      new Conv2d(1, 4, 3, { padding: 1, bias: false }),
      new BatchNorm2d(4),
      new ReLU(),
      new MaxPool2d(2),
      new Conv2d(4, 6, 3),
      new BatchNorm2d(6),
      new ReLU(),
      new AdaptiveAvgPool2d(1),
      new Flatten(),
      new Linear(6, 3),
    ),
  tanh: () => new Tanh(),
  sigmoid: () => new Sigmoid(),
  silu: () => new SiLU(),
  leakyReLU: () => new LeakyReLU(0.2),
  softmax: () => new Softmax(),
  logSoftmax: () => new LogSoftmax(),
  flatten: () => new Flatten(),
  'flatten in the middle': () => new Flatten(1, 2),
};

test('every golden is used', () => {
  expect(Object.keys(modules)).toEqual(Object.keys(cases));
});

describe.each(Object.entries(modules))('%s', (name, make) => {
  test.each(FLOATS)('has PyTorch’s output, gradients and buffers in %s, eagerly and recorded', (dtype) => {
    expectTorch(make, cases[name]!, dtype);
  });
});
