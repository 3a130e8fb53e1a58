import {
  AdamW,
  Conv1d,
  Conv2d,
  compile,
  Dropout,
  defaultPool,
  Flatten,
  Generator,
  grad,
  LearnedPositionalEncoding,
  Linear,
  MaxPool2d,
  MultiHeadAttention,
  mean,
  mul,
  PositionalEncoding,
  ReLU,
  Residual,
  randn,
  Sequential,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
  tensor,
  zeros,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import {
  bitsOf,
  contentOf,
  expectSameBits,
  expectWithin,
  numbersOf,
  refusalOf,
  UNIT,
} from '../ops/support.js';

const generator = new Generator(9);

describe('freezing a part of a model', () => {
  test('takes it out of the parameters, so that the rest is trained, and it stays to the bit', async () => {
    const model = new Sequential(
      new Linear(4, 8, { generator }),
      new ReLU(),
      new Linear(8, 2, { generator }),
    );
    const [first, , last] = model.layers as [Linear, ReLU, Linear];
    first.freeze();
    expect([...model.namedParameters().keys()]).toEqual(['layers.2.weight', 'layers.2.bias']);
    expect(Object.keys(model.stateDict())).toHaveLength(4);
    const optimizer = new AdamW(model.namedParameters(), { lr: 0.1 });
    const step = compile((x: Tensor) => {
      const y = model.forward(x);
      const loss = mean(mul(y, y));
      optimizer.step(grad(loss, model.parameters()));
      return loss;
    });
    const bits = (t: Tensor) => bitsOf(t.toArray());
    const [frozen, trained] = [bits(first.weight), bits(last.weight)];
    const x = randn([16, 4], { generator });
    const losses = [];
    for (let i = 0; i < 20; i++) losses.push((await step(x)).item());
    expect(losses[19]).toBeLessThan(losses[0]! / 2);
    expect(bits(first.weight)).toBe(frozen);
    expect(bits(last.weight)).not.toBe(trained);
    expect(refusalOf(() => model.loadStateDict(model.stateDict())).code).toBe('DT_FROZEN');
  });
});

describe('MultiHeadAttention', () => {
  const options = { generator } as const;
  const mask = tensor(
    [
      [0, 0, 0, 1, 1],
      [1, 1, 1, 1, 1],
    ],
    { dtype: 'bool' },
  );

  test('with dropout gives, where nothing is dropped, what the fused attention does, masked queries too', () => {
    const fused = new MultiHeadAttention(8, 2, options);
    const dropping = new MultiHeadAttention(8, 2, { dropout: Number.MIN_VALUE, generator });
    dropping.loadStateDict(fused.stateDict());
    const x = randn([2, 5, 8], { generator });
    for (const masks of [
      {},
      { isCausal: true },
      { keyPaddingMask: mask },
      { keyPaddingMask: mask, isCausal: true },
    ]) {
      const want = fused.forward(x, x, x, masks);
      // Chains of three products of at most 8 terms under 8, and a softmax.
      expectWithin(
        contentOf(dropping.forward(x, x, x, masks)),
        want.toArray() as Float32Array,
        200 * UNIT.f32,
      );
    }
  });

  test('drops weights in training alone, also in a program that was recorded before', async () => {
    const attention = new MultiHeadAttention(8, 2, { dropout: 0.5, generator });
    const run = compile((x: Tensor) => attention.forward(x));
    const x = randn([2, 5, 8], { generator });
    const [first, second] = [contentOf(await run(x)), contentOf(await run(x))];
    expect(bitsOf(first.data)).not.toBe(bitsOf(second.data));
    attention.eval();
    const resting = contentOf(await run(x));
    expectSameBits(contentOf(await run(x)), resting);
    expectSameBits(contentOf(attention.forward(x)), resting);
    attention.train();
    expect(bitsOf(contentOf(await run(x)).data)).not.toBe(bitsOf(resting.data));
  });

  test('begins with Xavier-uniform projections and biases of zero', () => {
    const attention = new MultiHeadAttention(32, 4, options);
    const bound = Math.sqrt(6 / (4 * 32));
    const largest = Math.max(...numbersOf(contentOf(attention.inProjWeight)).map(Math.abs));
    expect(largest).toBeLessThanOrEqual(bound * (1 + 2 ** -22));
    expect(largest).toBeGreaterThan(0.99 * bound);
    for (const bias of [attention.inProjBias!, attention.outProj.bias!]) {
      expect(numbersOf(contentOf(bias)).every((b) => b === 0)).toBe(true);
    }
    expect(Object.keys(attention.stateDict())).toEqual([
      'inProjWeight',
      'inProjBias',
      'outProj.weight',
      'outProj.bias',
    ]);
  });

  const attention = new MultiHeadAttention(8, 2, options);
  const x = zeros([2, 5, 8]);
  test.each<[string, string, () => unknown, string]>([
    ['heads that do not divide', 'DT_INVALID_ARGUMENT', () => new MultiHeadAttention(8, 3), '3'],
    [
      'a misspelt option',
      'DT_INVALID_ARGUMENT',
      () => new MultiHeadAttention(8, 2, { heads: 2 } as never),
      'heads',
    ],
    [
      'a misspelt mask',
      'DT_INVALID_ARGUMENT',
      () => attention.forward(x, x, x, { padding: mask } as never),
      'padding',
    ],
    [
      'a mask of another shape',
      'DT_SHAPE_MISMATCH',
      () => attention.forward(zeros([2, 4, 8]), undefined, undefined, { keyPaddingMask: mask }),
      '[2, 5]',
    ],
    [
      'a mask of floats',
      'DT_DTYPE_MISMATCH',
      () => attention.forward(x, x, x, { keyPaddingMask: zeros([2, 5]) }),
      'bool',
    ],
    ['another width', 'DT_SHAPE_MISMATCH', () => attention.forward(zeros([2, 5, 6])), '[2, 5, 6]'],
    ['no batch', 'DT_SHAPE_MISMATCH', () => attention.forward(zeros([5, 8])), '[5, 8]'],
    [
      'values of another length',
      'DT_SHAPE_MISMATCH',
      () => attention.forward(x, x, zeros([2, 4, 8])),
      '[2, 4, 8]',
    ],
    ['keys of another batch', 'DT_SHAPE_MISMATCH', () => attention.forward(x, zeros([3, 5, 8])), '[3, 5, 8]'],
  ])('refuses %s', (_, code, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
  });
});

describe('TransformerEncoder', () => {
  const make = () => new TransformerEncoderLayer(8, 2, { dimFeedforward: 16, generator });

  test('has layers that begin apart, named as in PyTorch', () => {
    const encoder = new TransformerEncoder(make, 2);
    const state = encoder.stateDict();
    expect(Object.keys(state).filter((name) => name.startsWith('layers.0.'))).toEqual(
      [
        'selfAttn.inProjWeight',
        'selfAttn.inProjBias',
        'selfAttn.outProj.weight',
        'selfAttn.outProj.bias',
        'linear1.weight',
        'linear1.bias',
        'linear2.weight',
        'linear2.bias',
        'norm1.weight',
        'norm1.bias',
        'norm2.weight',
        'norm2.bias',
      ].map((name) => `layers.0.${name}`),
    );
    expect(bitsOf(state['layers.0.linear1.weight']!.toArray())).not.toBe(
      bitsOf(state['layers.1.linear1.weight']!.toArray()),
    );
  });

  test('drops in training and rests in evaluation', () => {
    const encoder = new TransformerEncoder(make, 2);
    const x = randn([1, 3, 8], { generator });
    const bits = () => bitsOf(encoder.forward(x).toArray());
    expect(bits()).not.toBe(bits());
    encoder.eval();
    expect(bits()).toBe(bits());
  });

  test('of an empty batch is empty', () => {
    const encoder = new TransformerEncoder(make, 1);
    expect(encoder.forward(zeros([0, 3, 8])).shape).toEqual([0, 3, 8]);
  });

  test.each<[string, () => unknown, string]>([
    ['a layer in the place of a function', () => new TransformerEncoder(make() as never, 2), '() =>'],
    ['no layers', () => new TransformerEncoder(make, 0), '0'],
    [
      'an unknown activation',
      () => new TransformerEncoderLayer(8, 2, { activation: 'swish' as never }),
      'swish',
    ],
    [
      'a misspelt option',
      () => new TransformerEncoderLayer(8, 2, { dimFeedForward: 2 } as never),
      'dimFeedForward',
    ],
  ])('refuses %s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });
});

describe('positions', () => {
  test('that are learned are a row for each, with a gradient', () => {
    const positions = new LearnedPositionalEncoding(3, 4, { generator });
    const y = positions.forward(zeros([2, 2, 3]));
    const rows = numbersOf(contentOf(positions.weight)).slice(0, 6);
    expect(numbersOf(contentOf(y))).toEqual([...rows, ...rows]);
    expect([...positions.namedParameters().keys()]).toEqual(['weight']);
    const [gradient] = compile((x: Tensor) =>
      grad(mean(positions.forward(x)), positions.parameters()),
    ).runSync(zeros([2, 2, 3]));
    expect(numbersOf(contentOf(gradient!)).map((g) => Math.round(g * 12))).toEqual([
      2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0,
    ]);
  });

  test('by sines are no state', () => {
    const positions = new PositionalEncoding(4, 10);
    expect(positions.stateDict()).toEqual({});
    expect(positions.forward(zeros([3, 4])).shape).toEqual([3, 4]);
    expect(positions.forward(zeros([3, 4], { dtype: 'f64' })).dtype).toBe('f64');
  });

  test.each([[[11, 4]], [[5, 3]], [[4]]])('of %j are refused, where 10 of width 4 are there', (shape) => {
    for (const layer of [new PositionalEncoding(4, 10), new LearnedPositionalEncoding(4, 10)]) {
      const refusal = refusalOf(() => layer.forward(zeros(shape)));
      expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
      expect(refusal.message).toContain(`[${shape.join(', ')}]`);
    }
  });
});

test('Residual adds what its layer makes to what it took', () => {
  const residual = new Residual(new Linear(3, 3, { generator }));
  const x = randn([2, 3], { generator });
  const [sum, inner] = [residual.forward(x), residual.layer.forward(x)].map((t) => numbersOf(contentOf(t)));
  expect(sum).toEqual(inner!.map((v, i) => Math.fround(v + numbersOf(contentOf(x))[i]!)));
  expect(Object.keys(residual.stateDict())).toEqual(['layer.weight', 'layer.bias']);
});

describe('convolutions', () => {
  test('begin uniform on ±1/√(elements of a window), of the generator given', () => {
    const layer = new Conv2d(8, 20, [3, 2], { groups: 2, generator: new Generator(1) });
    const bound = 1 / Math.sqrt(4 * 6);
    const weights = numbersOf(contentOf(layer.weight)).map(Math.abs);
    expect(layer.weight.shape).toEqual([20, 4, 3, 2]);
    expect(Math.max(...weights)).toBeLessThanOrEqual(bound);
    expect(Math.max(...weights)).toBeGreaterThan(0.97 * bound);
    const again = new Conv2d(8, 20, [3, 2], { groups: 2, generator: new Generator(1) });
    expectSameBits(contentOf(again.weight), contentOf(layer.weight));
    expect(Object.keys(new Conv1d(2, 3, 4, { bias: false }).stateDict())).toEqual(['weight']);
  });

  test.each<[string, () => unknown, string]>([
    ['no channels', () => new Conv2d(0, 2, 3), 'inChannels'],
    ['groups that do not divide', () => new Conv2d(4, 6, 3, { groups: 4 }), '6 out'],
    ['a kernel of 0', () => new Conv2d(1, 1, [3, 0]), 'kernelSize'],
    ['a pair for one dimension', () => new Conv1d(1, 1, [3, 3] as never), '[ 3, 3 ]'],
    ['a misspelt option', () => new Conv2d(1, 1, 3, { strides: 2 } as never), 'strides'],
    ['a stride of 0', () => new Conv1d(1, 1, 3, { stride: 0 }), 'stride'],
    ['a pool of 0', () => new MaxPool2d(0), 'kernelSize'],
    ['a misspelt option of a pool', () => new MaxPool2d(2, { ceilMode: true } as never), 'ceilMode'],
  ])('refuse %s', (_, make, part) => {
    const refusal = refusalOf(make);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });
});

test('Flatten refuses dimensions that are not there', () => {
  expect(refusalOf(() => new Flatten(1).forward(zeros([3]))).code).toBe('DT_SHAPE_MISMATCH');
});

test('layers leave nothing behind but their parameters', () => {
  const before = defaultPool.statistics.blocks;
  const made = [
    new MultiHeadAttention(8, 2, { generator }),
    new Conv2d(2, 3, 3, { generator }),
    new Dropout(),
  ];
  expect(defaultPool.statistics.blocks - before).toBe(6);
  for (const layer of made) for (const t of layer.parameters()) t.dispose();
});
