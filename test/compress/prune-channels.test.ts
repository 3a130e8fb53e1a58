import {
  AdaptiveAvgPool2d,
  AvgPool1d,
  AvgPool2d,
  assign,
  BatchNorm1d,
  BatchNorm2d,
  Conv1d,
  Conv2d,
  Dropout,
  Flatten,
  GELU,
  LayerNorm,
  LeakyReLU,
  Linear,
  MaxPool1d,
  MaxPool2d,
  Module,
  pruneChannels,
  pruneUnits,
  quantize,
  ReLU,
  readCompressed,
  relu,
  reshape,
  Sequential,
  Sigmoid,
  Tanh,
  type Tensor,
  tensor,
  writeCompressed,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';
import {
  bothWays1,
  contentOf,
  expectSameBits,
  expectWithin,
  refusalOf,
  rejectionOf,
  UNIT,
} from '../ops/support.js';
import { numbers, random } from './support.js';

type Norm = BatchNorm1d | BatchNorm2d;

/** A normalisation that has seen something: nothing that it adds or scales by is 0 or 1. */
function seen<N extends Norm>(norm: N): N {
  const channels = norm.weight.size;
  const near = (middle: number) => Float32Array.from(numbers(random(channels)), (v) => middle + 0.3 * v);
  assign(norm.weight, tensor(near(1)));
  assign(norm.bias, tensor(near(0.5)));
  assign(norm.runningMean, tensor(near(0.2)));
  assign(norm.runningVar, tensor(near(1).map((v) => Math.max(0.5, v))));
  return norm;
}

/** The output channels that stay, by sums of squares that are written out. */
function keptChannels({ weight }: Conv1d | Conv2d, amount: number): number[] {
  const channels = weight.shape[0]!;
  const size = weight.size / channels;
  const values = numbers(weight);
  const scores = Array.from({ length: channels }, (_, c) => {
    let score = 0;
    for (let i = c * size; i < (c + 1) * size; i++) score += values[i]! ** 2;
    return score;
  });
  const removed = Math.min(channels - 1, Math.round(amount * channels));
  const order = scores.map((_, i) => i).sort((a, b) => scores[a]! - scores[b]!);
  return order.slice(removed).sort((a, b) => a - b);
}

/** Makes a layer's weights 0 for the channels that are not kept; `places` inputs come from each. */
function deafen({ weight }: Conv1d | Conv2d | Linear, kept: readonly number[], places = 1): void {
  const [inputs, window] = [weight.shape[1]!, weight.size / weight.shape[0]! / weight.shape[1]!];
  const values = numbers(weight).map((value, i) =>
    kept.includes(Math.floor((Math.floor(i / window) % inputs) / places)) ? value : 0,
  );
  assign(weight, tensor(Float32Array.from(values), { shape: weight.shape }));
}

/**
 * By how much two computations may differ that add the same terms in another order, for inputs of at most `size`: layer by
 * layer, the largest value and the largest difference. A sum of n products is off by less than (n + 2) u times that of their
 * magnitudes; no activation here is steeper than 1.13, or pooling than 1.
 */
function boundOf(layers: readonly Module[], size: number): number {
  let [most, apart] = [size, 0];
  for (const layer of layers) {
    if (layer instanceof Conv1d || layer instanceof Conv2d || layer instanceof Linear) {
      const [w, count] = [numbers(layer.weight).map(Math.abs), layer.weight.size / layer.weight.shape[0]!];
      const rows = Array.from({ length: layer.weight.shape[0]! }, (_, i) =>
        w.slice(i * count, (i + 1) * count).reduce((a, b) => a + b, 0),
      );
      const [sum, bias] = [
        Math.max(...rows),
        layer.bias ? Math.max(...numbers(layer.bias).map(Math.abs)) : 0,
      ];
      apart = sum * apart + 2 * (count + 2) * UNIT.f32 * (sum * most + bias);
      most = sum * most + bias;
    } else if (layer instanceof BatchNorm1d || layer instanceof BatchNorm2d) {
      const deviation = Math.sqrt(Math.min(...numbers(layer.runningVar)));
      const factor = largest(layer.weight) / deviation;
      const sum = factor * (most + largest(layer.runningMean)) + largest(layer.bias);
      apart = factor * apart + 16 * UNIT.f32 * sum;
      most = sum;
    } else {
      apart = 1.13 * apart + 16 * UNIT.f32 * Math.max(1, most);
    }
  }
  return apart;
}

const largest = (t: Tensor) => Math.max(...numbers(t).map(Math.abs));
const count = (model: Module) => model.parameters().reduce((sum, { size }) => sum + size, 0);

const images = (a: number, b: number, bias = true) =>
  new Sequential(
    new Conv2d(2, a, 3, { padding: 1, bias }),
    seen(new BatchNorm2d(a)),
    new Sigmoid(),
    new MaxPool2d(2),
    new Dropout(0.3),
    new Sequential(
      new Conv2d(a, b, [2, 3], { bias }),
      new GELU(),
      new AvgPool2d(2, { stride: 1 }),
      seen(new BatchNorm2d(b)),
    ),
    new AdaptiveAvgPool2d([2, 1]),
    new Flatten(),
    seen(new BatchNorm1d(2 * b)),
    new LeakyReLU(),
    new Linear(2 * b, 3),
  ).eval() as Sequential;

const signals = (a: number, b: number, bias = true) =>
  new Sequential(
    new Conv1d(2, a, 3, { padding: 1, bias }),
    seen(new BatchNorm1d(a)),
    new Tanh(),
    new MaxPool1d(2),
    new Conv1d(a, b, 2, { dilation: 2, bias }),
    new ReLU(),
    new AvgPool1d(2),
    new Flatten(),
    new Linear(2 * b, 3),
  ).eval() as Sequential;

/** All layers in a row. */
const flat = (model: Sequential): Module[] =>
  model.layers.flatMap((layer) => (layer instanceof Sequential ? flat(layer) : [layer]));
const convolutionsOf = (model: Sequential) =>
  flat(model).filter((layer): layer is Conv1d | Conv2d => layer instanceof Conv1d || layer instanceof Conv2d);

describe('pruneChannels', () => {
  test.each([
    ['of images', images, [3, 2, 8, 8]],
    ['of signals', signals, [3, 2, 13]],
  ] as const)(
    'gives the outputs of the net %s whose layers weigh these channels with 0',
    (_, make, shape) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 9 }),
          fc.integer({ min: 1, max: 9 }),
          fc.double({ min: 0, max: 0.99, noNaN: true }),
          fc.boolean(),
          (a, b, amount, bias) => {
            const whole = make(a, b, bias);
            const small = pruneChannels(whole, { amount }) as Sequential;
            const [first, second] = convolutionsOf(whole) as [Conv2d, Conv2d];
            const kept = [keptChannels(first, amount), keptChannels(second, amount)] as const;
            expect(kept.map(({ length }) => length)).toEqual(
              [a, b].map((n) => Math.max(1, n - Math.round(amount * n))),
            );
            const sizes = convolutionsOf(small).map(({ weight }) => weight.shape.slice(0, 2));
            expect(sizes).toEqual([
              [kept[0].length, 2],
              [kept[1].length, kept[0].length],
            ]);
            const x = random(...shape);
            const got = contentOf(small.forward(x));
            const bound = boundOf(flat(whole), largest(x));
            deafen(second, kept[0]);
            deafen(flat(whole).at(-1) as Linear, kept[1], 2);
            expectWithin(got, numbers(whole.forward(x)), bound);
            // A channel makes a difference of some tenths.
            expect(bound).toBeLessThan(0.05);
          },
        ),
        { numRuns: 50, seed: 4 },
      );
    },
  );

  test('leaves a smaller model: filters, entries of normalisations, and inputs of what comes next', () => {
    const [whole, small] = [images(8, 6), pruneChannels(images(8, 6), { amount: 0.5 })];
    const sizes = (a: number, b: number) => 2 * 9 * a + a + 2 * a + 6 * a * b + b + 2 * b + 4 * b + 6 * b + 3;
    expect([count(whole), count(small)]).toEqual([sizes(8, 6), sizes(4, 3)]);
    expect([...small.namedBuffers().values()].map(({ size }) => size)).toEqual([4, 4, 3, 3, 6, 6]);
    expect(Object.keys(small.stateDict())).toEqual(Object.keys(whole.stateDict()));
    expect(small.training).toBe(false);
    const normalisation = (small as Sequential).layers[1] as BatchNorm2d;
    expect(normalisation.training).toBe(false);
  });

  test('what it leaves shares no tensor of a layer that it cut', () => {
    const whole = images(8, 6);
    const own = new Set(Object.values(whole.stateDict()).map(({ storage }) => storage));
    const small = pruneChannels(whole, { amount: 0.5 });
    expect(Object.values(small.stateDict()).filter(({ storage }) => own.has(storage))).toEqual([]);
  });

  class Net extends Module {
    conv1 = new Conv2d(1, 6, 3);
    norm1 = seen(new BatchNorm2d(6));
    conv2 = new Conv2d(6, 4, 3, { stride: 2 });
    out = new Linear(16, 3);
    grouped = new Conv2d(6, 6, 1, { groups: 2 });
    forward(x: Tensor): Tensor {
      const first = relu(this.norm1.forward(this.conv1.forward(x)));
      const second = relu(this.conv2.forward(first));
      return this.out.forward(reshape(second, [x.shape[0]!, -1]));
    }
  }
  const layers = { conv1: ['norm1', 'conv2'], conv2: 'out' };

  test('takes the layers that it is told, in a model of one’s own', () => {
    const whole = new Net().eval() as Net;
    const small = pruneChannels(whole, { amount: 0.5, layers }) as Net;
    const kept = [keptChannels(whole.conv1, 0.5), keptChannels(whole.conv2, 0.5)] as const;
    expect([small.conv1, small.conv2, small.out].map(({ weight }) => weight.shape)).toEqual([
      [3, 1, 3, 3],
      [2, 3, 3, 3],
      [3, 8],
    ]);
    expect([small.conv2.stride, small.grouped]).toEqual([2, whole.grouped]);
    const x = random(2, 1, 7, 7);
    const got = contentOf(small.forward(x));
    const { conv1, norm1, conv2, out } = whole;
    const bound = boundOf([conv1, norm1, new ReLU(), conv2, new ReLU(), out], largest(x));
    deafen(conv2, kept[0]);
    deafen(out, kept[1], 4);
    expectWithin(got, numbers(whole.forward(x)), bound);
  });

  test('stops where something mixes channels, and at groups and layers in two places', () => {
    const twice = new Conv2d(4, 4, 1);
    const model = new Sequential(
      new Conv2d(2, 4, 1),
      new LayerNorm(3),
      twice,
      twice,
      new Conv2d(4, 4, 1, { groups: 2 }),
      new Conv2d(4, 4, 1),
      new ReLU(),
      new Conv2d(4, 2, 1),
      new Linear(3, 3),
    );
    const small = pruneChannels(model, { amount: 0.5 }) as Sequential;
    const changed = small.layers
      .map((layer, i) => (layer === model.layers[i] ? -1 : i))
      .filter((i) => i >= 0);
    expect(changed).toEqual([5, 7]);
    expect(small.forward(random(1, 2, 3, 3)).shape).toEqual([1, 2, 3, 3]);
  });

  test.each<[string, (model: Module) => Module]>([
    ['f32', (model) => model],
    ['dynamic INT8', (model) => quantize(model)],
    ['static INT8', (model) => quantize(model, { calibration: [random(6, 2, 8, 8)] })],
  ])('comes back from a file with the same bits, its linear layers in %s', async (_, compress) => {
    const small = compress(pruneChannels(images(8, 6), { amount: 0.4 }));
    const path = `${temporaryFolder()}/small.safetensors`;
    await writeCompressed(path, small);
    const fresh = images(8, 6);
    const before = Object.values(fresh.stateDict()).map(contentOf);
    const loaded = await readCompressed(path, fresh);
    const x = random(3, 2, 8, 8);
    expectSameBits(await bothWays1((t) => loaded.forward(t!), [x]), contentOf(small.forward(x)));
    Object.values(fresh.stateDict()).forEach((t, i) => {
      expect(t.shape).toEqual(before[i]!.shape);
    });
    expect([...loaded.namedBuffers().keys()]).toEqual([...small.namedBuffers().keys()]);
  });

  test('a file is refused by a model with other windows', async () => {
    const conv = (kernel: number) => new Sequential(new Conv2d(2, 4, kernel));
    const path = `${temporaryFolder()}/small.safetensors`;
    await writeCompressed(path, conv(3));
    for (const other of [conv(5), new Sequential(new Conv1d(2, 4, 3)), new Sequential(new Linear(2, 4))]) {
      const refusal = await rejectionOf(readCompressed(path, other));
      expect([refusal.code, refusal.message]).toEqual([
        'DT_INVALID_ARGUMENT',
        expect.stringContaining('layers.0'),
      ]);
    }
  });

  const broken = images(3, 3);
  assign(broken.parameters()[0]!, tensor(new Float32Array(54).fill(NaN), { shape: [3, 2, 3, 3] }));
  test.each<[string, string, () => unknown, string]>([
    [
      'a share that leaves no channel',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(images(3, 3), { amount: 1 }),
      '1',
    ],
    ['NaN as a share', 'DT_INVALID_ARGUMENT', () => pruneChannels(images(3, 3), { amount: NaN }), 'NaN'],
    [
      'a misspelt option',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(images(3, 3), { amount: 0.5, exclude: [] } as never),
      'exclude',
    ],
    [
      'an unknown layer',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv3: 'out' } }),
      'conv3',
    ],
    [
      'an unknown layer that takes the channels',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv1: 'conv3' } }),
      'conv3',
    ],
    [
      'a layer that is no convolution',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { out: 'conv1' } }),
      'Linear',
    ],
    [
      'a layer of another width',
      'DT_SHAPE_MISMATCH',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv1: 'out' } }),
      'out',
    ],
    [
      'groups',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv1: 'grouped' } }),
      '2 groups',
    ],
    [
      'nothing but a normalisation after it',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv1: 'norm1' } }),
      'norm1',
    ],
    [
      'a layer after two',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5, layers: { conv1: ['conv2', 'conv2'] } }),
      'conv2',
    ],
    [
      'a model whose order it cannot see',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Net(), { amount: 0.5 }),
      'layers',
    ],
    [
      'a model without convolutions',
      'DT_INVALID_ARGUMENT',
      () => pruneChannels(new Sequential(new ReLU()), { amount: 0.5 }),
      'convolutions',
    ],
    ['weights of NaN', 'DT_INVALID_ARGUMENT', () => pruneChannels(broken, { amount: 0.5 }), 'NaN'],
  ])('refuses %s', (_, code, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
  });
});

test('pruneUnits and pruneChannels go together', () => {
  const model = new Sequential(
    new Conv2d(1, 6, 3),
    new ReLU(),
    new Flatten(),
    new Linear(24, 10),
    new ReLU(),
    new Linear(10, 3),
  );
  const small = pruneUnits(pruneChannels(model, { amount: 0.5 }), { amount: 0.5 }) as Sequential;
  expect(small.parameters().map(({ shape }) => shape)).toEqual([
    [3, 1, 3, 3],
    [3],
    [5, 12],
    [5],
    [3, 5],
    [3],
  ]);
  expect(small.forward(random(2, 1, 4, 4)).shape).toEqual([2, 3]);
});
