import {
  AdamW,
  BatchNorm1d,
  BatchNorm2d,
  compile,
  Generator,
  grad,
  Linear,
  mean,
  mul,
  ReLU,
  randn,
  Sequential,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, contentOf, expectSameBits, numbersOf, refusalOf, rejectionOf } from '../ops/support.js';

const generator = new Generator(3);
const model = () =>
  new Sequential(
    new Linear(4, 6, { generator }),
    new BatchNorm1d(6),
    new ReLU(),
    new Linear(6, 2, { generator }),
  );
const batch = () => randn([8, 4], { generator });
const stateBits = (net: { stateDict(): Record<string, Tensor> }) =>
  Object.fromEntries(Object.entries(net.stateDict()).map(([name, t]) => [name, bitsOf(t.toArray())]));

test('running statistics are state and buffers, but no parameters', () => {
  const net = model();
  expect(Object.keys(net.stateDict())).toEqual([
    'layers.0.weight',
    'layers.0.bias',
    'layers.1.weight',
    'layers.1.bias',
    'layers.1.runningMean',
    'layers.1.runningVar',
    'layers.3.weight',
    'layers.3.bias',
  ]);
  expect([...net.namedBuffers().keys()]).toEqual(['layers.1.runningMean', 'layers.1.runningVar']);
  expect([...net.namedParameters().keys()]).not.toContain('layers.1.runningMean');
  expect(net.parameters()).toHaveLength(6);
});

test('loading keeps a buffer a buffer', () => {
  const [a, b] = [model(), model()];
  a.forward(batch());
  b.loadStateDict(a.stateDict());
  expect(stateBits(b)).toEqual(stateBits(a));
  expect(b.parameters()).toHaveLength(6);
});

describe('a compiled model', () => {
  test('is in the mode of each call: the same bits as eagerly, in training, evaluation and again in training', async () => {
    const [eager, compiled] = [model(), model()];
    compiled.loadStateDict(eager.stateDict());
    let recordings = 0;
    const run = compile((x: Tensor) => {
      recordings++;
      return compiled.forward(x);
    });
    for (const training of [true, true, false, false, true, false]) {
      eager.train(training);
      compiled.train(training);
      const x = batch();
      expectSameBits(contentOf(await run(x)), contentOf(eager.forward(x)));
      expect(stateBits(compiled)).toEqual(stateBits(eager));
    }
    expect(recordings).toBe(2);
  });

  test('in evaluation writes nothing, so that runs share the model, and needs no more than one sample', async () => {
    const net = model().eval();
    const predict = compile((x: Tensor) => net.forward(x));
    const before = stateBits(net);
    const xs = Array.from({ length: 8 }, () => randn([1, 4], { generator }));
    const together = await Promise.all(xs.map((x) => predict(x)));
    xs.forEach((x, i) => {
      expectSameBits(contentOf(together[i]!), contentOf(net.forward(x)));
    });
    expect(stateBits(net)).toEqual(before);
    // A run that wrote them would have them for itself.
    const running = predict(xs[0]!);
    expect(net.namedBuffers().get('layers.1.runningMean')!.toArray()).toHaveLength(6);
    await running;
  });

  test('writes running statistics whole or not at all: a step that is refused or cancelled leaves them', async () => {
    const net = model();
    const optimizer = new AdamW(net.parameters(), { nonFinite: 'throw' });
    const step = compile((x: Tensor) => {
      const loss = mean(mul(net.forward(x), net.forward(x)));
      optimizer.step(grad(loss, net.parameters()));
      return loss;
    });
    await step(batch());
    const before = stateBits(net);
    const spoilt = batch();
    spoilt.borrow()[3] = NaN;
    expect((await rejectionOf(step(spoilt))).code).toBe('DT_NON_FINITE');
    expect(stateBits(net)).toEqual(before);
    const aborted = AbortSignal.abort();
    await expect(step.run([batch()], { signal: aborted })).rejects.toMatchObject({ code: 'DT_ABORTED' });
    expect(stateBits(net)).toEqual(before);
    await step(batch());
    expect(stateBits(net)).not.toEqual(before);
  });

  test('moves them once for each forward pass in one program, as eagerly', async () => {
    const [eager, compiled] = [new BatchNorm1d(4), new BatchNorm1d(4)];
    const [x, y] = [batch(), batch()];
    eager.forward(x);
    eager.forward(y);
    await compile((a: Tensor, b: Tensor) => [compiled.forward(a), compiled.forward(b)])(x, y);
    expect(stateBits(compiled)).toEqual(stateBits(eager));
  });

  test('recorded in one mode refuses to run as a program in the other, and says so', async () => {
    const norm = new BatchNorm1d(4);
    const run = compile((x: Tensor) => norm.forward(x));
    const x = batch();
    const program = run.program(x);
    program.runSync([x]);
    norm.eval();
    expect(refusalOf(() => program.runSync([x])).message).toContain('mode');
    expect((await rejectionOf(program.run([x]))).code).toBe('DT_INVALID_ARGUMENT');
    norm.train();
    await program.run([x]);
  });
});

test('frozen, it normalises by the running statistics in training too, and they stay', async () => {
  const norm = new BatchNorm2d(3);
  const x = randn([2, 3, 4, 4], { generator });
  norm.forward(x);
  const expected = contentOf(norm.eval().forward(x));
  norm.train();
  const run = compile((t: Tensor) => norm.forward(t));
  run.program(x); // recorded before
  norm.freeze();
  const before = stateBits(norm);
  expectSameBits(contentOf(norm.forward(x)), expected);
  expectSameBits(contentOf(await run(x)), expected);
  expect(stateBits(norm)).toEqual(before);
});

test('a batch that is refused leaves the running statistics', () => {
  const norm = new BatchNorm1d(4);
  const before = stateBits(norm);
  expect(refusalOf(() => norm.forward(randn([1, 4]))).code).toBe('DT_SHAPE_MISMATCH');
  expect(refusalOf(() => norm.forward(randn([3, 5]))).code).toBe('DT_SHAPE_MISMATCH');
  expect(refusalOf(() => norm.forward(randn([3, 4, 1, 1]))).code).toBe('DT_SHAPE_MISMATCH');
  expect(refusalOf(() => new BatchNorm2d(4).forward(randn([3, 4]))).message).toContain('[3, 4]');
  expect(stateBits(norm)).toEqual(before);
});

test('gradients of valueAndGrad move them once', () => {
  const [a, b] = [new BatchNorm1d(4), new BatchNorm1d(4)];
  const x = batch();
  valueAndGrad((t: Tensor) => mean(a.forward(t)))(x);
  b.forward(x);
  expect(stateBits(a)).toEqual(stateBits(b));
});

test.each<[string, () => unknown, string]>([
  ['no features', () => new BatchNorm1d(0), '0'],
  ['a misspelt option', () => new BatchNorm1d(2, { epsilon: 1 } as never), 'epsilon'],
  ['a negative eps', () => new BatchNorm2d(2, { eps: -1 }), '-1'],
  ['a momentum above 1', () => new BatchNorm2d(2, { momentum: 2 }), '2'],
])('BatchNorm refuses %s', (_, make, part) => {
  const refusal = refusalOf(make);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(part);
});

test('momentum 1 keeps the last batch alone, with Bessel’s correction', () => {
  const norm = new BatchNorm1d(1, { momentum: 1 });
  norm.forward(tensor([[1], [3]]));
  expect(numbersOf(contentOf(norm.runningMean))).toEqual([2]);
  expect(numbersOf(contentOf(norm.runningVar))).toEqual([2]);
});
