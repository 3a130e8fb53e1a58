import {
  compile,
  Dropout,
  defaultPool,
  Embedding,
  GELU,
  Generator,
  LayerNorm,
  Linear,
  mseLoss,
  ReLU,
  Residual,
  RMSNorm,
  relu,
  Sequential,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, contentOf, expectSameBits, numbersOf, refusalOf } from '../ops/support.js';

const model = () =>
  new Sequential(
    new Embedding(5, 4),
    new Sequential(new Linear(4, 3), new ReLU(), new LayerNorm(3)),
    new GELU(),
    new Linear(3, 2, { bias: false }),
  );

const NAMES = [
  'layers.0.weight',
  'layers.1.layers.0.weight',
  'layers.1.layers.0.bias',
  'layers.1.layers.2.weight',
  'layers.1.layers.2.bias',
  'layers.3.weight',
];

const stateBits = (state: Readonly<Record<string, Tensor>>) =>
  Object.fromEntries(Object.entries(state).map(([name, t]) => [name, bitsOf(t.toArray())]));

test.each([
  ['the path of a file', 'model.safetensors', /received a string; .*readSafetensors\(path\)/],
  [
    'all that readSafetensors gives',
    { tensors: {}, metadata: {} },
    /received what readSafetensors gives; pass its tensors\.$/,
  ],
  ['a promise', Promise.resolve({}), /received a promise; await it first\.$/],
  ['nothing', undefined, /received undefined\.$/],
])('loadStateDict refuses %s, and says what to pass', (_, state, message) => {
  expect(refusalOf(() => new Linear(2, 1).loadStateDict(state as never)).message).toMatch(message);
});

describe('a model', () => {
  test('names its tensors by the path to their field, parameters and state alike', () => {
    const net = model();
    expect([...net.namedParameters().keys()]).toEqual(NAMES);
    expect(Object.keys(net.stateDict())).toEqual(NAMES);
    expect(net.parameters()).toEqual([...net.namedParameters().values()]);
  });

  test('loads the state of another, to the bit, and keeps its own tensors', () => {
    const [source, target] = [model(), model()];
    const held = target.parameters();
    expect(stateBits(target.stateDict())).not.toEqual(stateBits(source.stateDict()));
    target.loadStateDict(source.stateDict());
    expect(stateBits(target.stateDict())).toEqual(stateBits(source.stateDict()));
    target.parameters().forEach((t, i) => {
      expect(t).toBe(held[i]);
    });
  });

  const spoilt: [string, string, (state: Record<string, Tensor>) => void, string][] = [
    [
      'lacks one',
      'DT_INVALID_ARGUMENT',
      (state) => delete state['layers.3.weight'],
      'Missing: layers.3.weight',
    ],
    [
      'has one too many',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { more: tensor(1) }),
      'Unknown: more',
    ],
    [
      'has another shape',
      'DT_SHAPE_MISMATCH',
      (state) => Object.assign(state, { 'layers.3.weight': tensor([[1]]) }),
      '[1, 1]',
    ],
    [
      'has another dtype',
      'DT_SHAPE_MISMATCH',
      (state) => Object.assign(state, { 'layers.3.weight': tensor(new Float64Array(6), { shape: [2, 3] }) }),
      'f64',
    ],
    [
      'has a tensor that was disposed',
      'DT_DISPOSED',
      (state) => state['layers.3.weight']!.dispose(),
      '[2, 3]',
    ],
    [
      'has an array for a tensor',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { 'layers.3.weight': new Float32Array(6) }),
      'wrap(array)',
    ],
  ];
  test.each(spoilt)('refuses a state that %s, and stays as it was to the bit', (_, code, spoil, part) => {
    const target = model();
    const before = stateBits(target.stateDict());
    const state = model().stateDict();
    spoil(state);
    const refusal = refusalOf(() => target.loadStateDict(state));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
    expect(stateBits(target.stateDict())).toEqual(before);
  });
});

describe('initial values', () => {
  test('of Linear are uniform on ±1/√in, of the generator given', () => {
    const layer = new Linear(100, 200, { generator: new Generator(3) });
    const values = numbersOf(contentOf(layer.weight));
    const bound = 0.1;
    expect(values.every((x) => Math.abs(x) <= bound)).toBe(true);
    // 20,000 draws: the extremes come within 1 % of the bound, the variance of bound²/3 within five standard errors.
    expect(Math.max(...values)).toBeGreaterThan(0.99 * bound);
    expect(Math.min(...values)).toBeLessThan(-0.99 * bound);
    const variance = values.reduce((total, x) => total + x * x, 0) / values.length;
    expect(Math.abs(variance / (bound ** 2 / 3) - 1)).toBeLessThan(5 * Math.sqrt(4 / 5 / values.length));
    const again = new Linear(100, 200, { generator: new Generator(3) });
    expectSameBits(contentOf(again.weight), contentOf(layer.weight));
    expectSameBits(contentOf(again.bias!), contentOf(layer.bias!));
    expect(numbersOf(contentOf(layer.bias!)).every((x) => Math.abs(x) <= bound)).toBe(true);
  });

  test('of Embedding are standard normal, of LayerNorm ones and zeros', () => {
    const values = numbersOf(contentOf(new Embedding(100, 100, { generator: new Generator(1) }).weight));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((total, x) => total + x * x, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(5 / 100);
    expect(Math.abs(variance - 1)).toBeLessThan((5 * Math.SQRT2) / 100);
    const norm = new LayerNorm(3);
    expect([numbersOf(contentOf(norm.weight)), numbersOf(contentOf(norm.bias))]).toEqual([
      [1, 1, 1],
      [0, 0, 0],
    ]);
  });

  test('leave nothing behind but the parameters', () => {
    const before = defaultPool.statistics.blocks;
    const layer = new Linear(3, 4, { generator: new Generator(1) });
    // Weight, bias and the generator's state.
    expect(defaultPool.statistics.blocks - before).toBe(3);
    for (const t of layer.parameters()) t.dispose();
  });

  test.each([0, -1, 1.5, NaN])('a width of %d is refused', (width) => {
    for (const make of [
      () => new Linear(width, 2),
      () => new Linear(2, width),
      () => new Embedding(width, 2),
      () => new Embedding(2, width),
      () => new LayerNorm(width),
    ]) {
      expect(refusalOf(make).code).toBe('DT_INVALID_ARGUMENT');
    }
  });
});

describe('Dropout', () => {
  const x = tensor(new Float32Array(1000).fill(1));
  const zeroCount = (t: Tensor) => numbersOf(contentOf(t)).filter((value) => value === 0).length;

  test('drops in training and does nothing in evaluation, also inside a model and a program that was recorded before', async () => {
    const net = new Sequential(new Sequential(new Dropout(0.5, { generator: new Generator(1) })), new ReLU());
    const run = compile((t: Tensor) => net.forward(t));
    // Five standard deviations of a binomial of 1000 at one half.
    expect(Math.abs(zeroCount(await run(x)) - 500)).toBeLessThan(80);
    net.eval();
    expectSameBits(contentOf(await run(x)), contentOf(x));
    expectSameBits(contentOf(net.forward(x)), contentOf(x));
    net.train();
    expect(zeroCount(await run(x))).toBeGreaterThan(400);
    net.train(false);
    expect(zeroCount(run.runSync(x))).toBe(0);
  });

  test.each([-0.1, 1.1, NaN])('refuses p of %d', (p) => {
    expect(refusalOf(() => new Dropout(p)).code).toBe('DT_INVALID_ARGUMENT');
  });
});

test('Sequential refuses what is no module', () => {
  const layers = [new Linear(2, 2)] as unknown as Linear;
  expect(() => new Sequential(layers)).toThrow(expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }));
});

test.each([
  [[4, 1], [4]],
  [[4], [4, 1]],
  [[2, 3], [3]],
])('mseLoss of %j and %j is refused, as nothing is broadcast', (prediction, target) => {
  const refusal = refusalOf(() => mseLoss(zeros(prediction), zeros(target)));
  expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
  expect(refusal.message).toContain('nothing is broadcast');
});

test('mseLoss of two dtypes is refused', () => {
  expect(refusalOf(() => mseLoss(zeros([2]), zeros([2], { dtype: 'f64' }))).code).toBe('DT_DTYPE_MISMATCH');
});

test.each([0, -1, 1.5])('RMSNorm refuses %d features', (features) => {
  expect(refusalOf(() => new RMSNorm(features)).code).toBe('DT_INVALID_ARGUMENT');
});

test.each<[string, () => unknown]>([
  ['Linear', () => new Linear(2, 2, { biases: false } as never)],
  ['Embedding', () => new Embedding(2, 2, { seed: 1 } as never)],
  ['LayerNorm', () => new LayerNorm(2, { epsilon: 1 } as never)],
  ['RMSNorm', () => new RMSNorm(2, 1e-6 as never)],
  ['Dropout', () => new Dropout(0.5, { seed: 1 } as never)],
])('%s refuses options that it does not have', (layer, make) => {
  const refusal = refusalOf(make);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(`as options of ${layer}`);
});

test('Residual refuses what is no module', () => {
  expect(refusalOf(() => new Residual(relu as never)).message).toContain('function');
});
