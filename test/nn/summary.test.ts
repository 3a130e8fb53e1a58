import { inspect } from 'node:util';
import {
  BatchNorm2d,
  Conv2d,
  Dropout,
  defaultPool,
  Embedding,
  Flatten,
  Linear,
  MaxPool2d,
  Module,
  ReLU,
  Residual,
  Sequential,
  summary,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, refusalOf } from '../ops/support.js';

const convolutional = () =>
  new Sequential(
    new Conv2d(1, 6, 5),
    new BatchNorm2d(6),
    new ReLU(),
    new MaxPool2d(2),
    new Flatten(),
    new Dropout(0.5),
    new Linear(864, 10),
  );

describe('summary', () => {
  test('has each layer’s output, parameters and multiply-adds, as they are counted by hand', () => {
    const made = summary(convolutional(), [2, 1, 28, 28]);
    expect(made.rows).toEqual([
      { name: '', type: 'Sequential', outputShape: [2, 10], parameters: 8818, multiplyAdds: 172800 + 17280 },
      // 6 · 25 weights and 6 biases; 2 · 24 · 24 places of 150 products.
      {
        name: 'layers.0',
        type: 'Conv2d',
        outputShape: [2, 6, 24, 24],
        parameters: 156,
        multiplyAdds: 172800,
      },
      { name: 'layers.1', type: 'BatchNorm2d', outputShape: [2, 6, 24, 24], parameters: 12, multiplyAdds: 0 },
      { name: 'layers.2', type: 'ReLU', outputShape: [2, 6, 24, 24], parameters: 0, multiplyAdds: 0 },
      { name: 'layers.3', type: 'MaxPool2d', outputShape: [2, 6, 12, 12], parameters: 0, multiplyAdds: 0 },
      { name: 'layers.4', type: 'Flatten', outputShape: [2, 864], parameters: 0, multiplyAdds: 0 },
      { name: 'layers.5', type: 'Dropout', outputShape: [2, 864], parameters: 0, multiplyAdds: 0 },
      { name: 'layers.6', type: 'Linear', outputShape: [2, 10], parameters: 8650, multiplyAdds: 17280 },
    ]);
    expect(made).toMatchObject({
      inputShape: [2, 1, 28, 28],
      parameters: 8818,
      trainable: 8818,
      multiplyAdds: 190080,
      parameterBytes: 4 * (8818 + 12),
      inputBytes: 4 * 2 * 784,
      outputBytes: 4 * 2 * (3 * 6 * 576 + 3 * 864 + 10),
    });
  });

  test('of an encoder layer of the BERT-base shape has its published number of parameters', () => {
    const layer = new TransformerEncoderLayer(768, 12, { dimFeedforward: 3072 });
    const made = summary(layer, [1, 128, 768]);
    expect(made.parameters).toBe(7_087_872);
    // In eval() attention is one op; with dropout two products: both are 2 · 128² · 768.
    const products = 4 * 128 * 768 ** 2 + 2 * 128 * 768 * 3072 + 2 * 128 ** 2 * 768;
    expect(made.multiplyAdds).toBe(products);
    expect(summary(layer.eval(), [1, 128, 768]).multiplyAdds).toBe(products);
    for (const t of layer.parameters()) t.dispose();
  });

  test('counts frozen parameters apart, and a shared layer once', () => {
    const shared = new Linear(4, 4);
    const model = new Sequential(shared, new ReLU(), shared);
    expect(summary(model, [1, 4])).toMatchObject({ parameters: 20, trainable: 20, multiplyAdds: 32 });
    shared.freeze();
    expect(summary(model, [1, 4])).toMatchObject({ parameters: 20, trainable: 0 });
  });

  test('takes tokens, by dtype', () => {
    const model = new Sequential(new Embedding(50, 8), new Residual(new Linear(8, 8)));
    const made = summary(model, [2, 3], { dtype: 'i64' });
    expect(made.rows.map(({ name, outputShape }) => [name, outputShape])).toEqual([
      ['', [2, 3, 8]],
      ['layers.0', [2, 3, 8]],
      ['layers.1', [2, 3, 8]],
      ['layers.1.layer', [2, 3, 8]],
    ]);
    expect(made.inputBytes).toBe(48);
  });

  test('is printed as a table', () => {
    const text = String(summary(convolutional(), [1, 1, 28, 28]));
    expect(text).toContain('Output shape');
    expect(text).toMatch(/Conv2d \(layers\.0\) +\[1, 6, 24, 24\] +156 +86,400/);
    expect(text).toContain('Parameters: 8,818 (8,818 trainable)');
    expect(text).toContain('Memory: input 3.1 KiB, outputs 50.7 KiB, parameters 34.5 KiB');
    expect(inspect(summary(convolutional(), [1, 1, 28, 28]))).toBe(text);
  });

  test('changes nothing of the model, leaves no memory behind, and no trace in it where forward throws', () => {
    const model = convolutional();
    const bits = () => Object.values(model.stateDict()).map((t) => bitsOf(t.toArray()));
    const [before, blocks] = [bits(), defaultPool.statistics.blocks];
    summary(model, [2, 1, 28, 28]);
    expect(refusalOf(() => summary(model, [2, 1, 28, 29, 1])).code).toBe('DT_SHAPE_MISMATCH');
    expect(bits()).toEqual(before);
    expect(defaultPool.statistics.blocks).toBe(blocks);
    for (const child of [model, ...model.namedChildren().values()]) {
      expect(Object.hasOwn(child, 'forward')).toBe(false);
    }
  });

  test('refuses a misspelt option and a wrong shape', () => {
    const model = new Linear(2, 2);
    expect(refusalOf(() => summary(model, [1, 2], { dtypes: 'i64' } as never)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
    expect(refusalOf(() => summary(model, [1, -2])).message).toContain('-2');
  });
});

describe('a printed model', () => {
  test('shows what it is made of, and no weights', () => {
    const text = inspect(
      new Sequential(new Conv2d(1, 2, 3, { padding: [1, 0] }), new ReLU(), new Dropout(0.2)),
    );
    expect(text).toBe(
      [
        'Sequential(',
        '  layers.0: Conv2d(weight: f32 [2, 1, 3, 3], bias: f32 [2], stride: 1, padding: [ 1, 0 ], dilation: 1, groups: 1)',
        '  layers.1: ReLU()',
        '  layers.2: Dropout(p: 0.2)',
        ')',
      ].join('\n'),
    );
  });

  test('of any depth, and one’s own', () => {
    class Twice extends Module {
      readonly inner = new Linear(2, 2, { bias: false });
      forward(x: Tensor): Tensor {
        return this.inner.forward(this.inner.forward(x));
      }
    }
    expect(inspect({ model: new Residual(new Twice()) })).toBe(
      '{\n  model: Residual(\n    layer: Twice(\n      inner: Linear(weight: f32 [2, 2])\n    )\n  )\n}',
    );
    const encoder = new TransformerEncoder(() => new TransformerEncoderLayer(64, 4), 6);
    expect(inspect(encoder).length).toBeLessThan(10_000);
  });
});
