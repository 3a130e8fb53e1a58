import {
  AdamW,
  clone,
  compile,
  FakeQuantizedLinear,
  grad,
  Linear,
  type Module,
  MultiHeadAttention,
  mseLoss,
  Pruner,
  prepareQat,
  QuantizedLinear,
  quantizationReport,
  quantize,
  readCompressed,
  StaticQuantizedLinear,
  type Tensor,
  TransformerEncoderLayer,
  writeCompressed,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';
import { bothWays1, contentOf, expectSameBits, numbersOf } from '../ops/support.js';
import { numbers, random } from './support.js';

const layer = () =>
  new TransformerEncoderLayer(16, 4, {
    dimFeedforward: 24,
    dropout: 0,
  }).eval() as TransformerEncoderLayer;
const attention = () => new MultiHeadAttention(16, 4);

/** ‖a − b‖ / ‖b‖ */
function apart(a: Tensor, b: Tensor): number {
  const [found, wanted] = [numbers(a), numbers(b)];
  const norm = (values: number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0));
  return norm(found.map((v, i) => v - wanted[i]!)) / norm(wanted);
}

const ways: [string, (model: Module) => Module, typeof QuantizedLinear | typeof StaticQuantizedLinear][] = [
  ['dynamic', (model) => quantize(model), QuantizedLinear],
  ['static', (model) => quantize(model, { calibration: [random(20, 5, 16)] }), StaticQuantizedLinear],
  [
    'from training with fake quantization',
    (model) => {
      const qat = prepareQat(model, { averagingConstant: 1 });
      qat.forward(random(20, 5, 16));
      return quantize(qat.eval());
    },
    StaticQuantizedLinear,
  ],
];

describe.each(ways)('INT8 of attention, %s,', (_, compress, kind) => {
  test('reaches both projections, and the report lists them', () => {
    const whole = layer();
    const small = compress(whole) as TransformerEncoderLayer;
    expect([small.selfAttn.inProj, small.selfAttn.outProj]).toEqual([expect.any(kind), expect.any(kind)]);
    expect(whole.selfAttn.inProj).toBeInstanceOf(Linear);
    const report = quantizationReport(whole, small, [random(4, 5, 16)]);
    expect(report.layers.map(({ name }) => name)).toEqual([
      'selfAttn.inProj',
      'selfAttn.outProj',
      'linear1',
      'linear2',
    ]);
    for (const { kind, error } of report.layers) {
      expect(kind).not.toBe('f32');
      expect(error).toBeGreaterThan(0);
      // Steps of 1/255 of the range; a few inputs lie outside of a range that was seen in a hundred rows.
      expect(error).toBeLessThan(0.1);
    }
    expect(small.selfAttn.inProjWeight.dtype).toBe('i8');
    const x = random(4, 5, 16);
    expect(apart(small.forward(x), whole.forward(x))).toBeLessThan(0.1);
  });

  test('keeps the names of the state', () => {
    const names = Object.keys(compress(attention().eval()).stateDict());
    const inputs = kind === StaticQuantizedLinear ? ['InputScale', 'InputZeroPoint'] : [];
    expect(names.slice(0, 3 + inputs.length)).toEqual(
      ['Weight', 'Scale', 'Bias', ...inputs].map((part) => `inProj${part}`),
    );
    expect(names).toContain('outProj.weight');
  });

  test('gives the same bits for keys and values apart as together', () => {
    const small = compress(attention().eval()) as MultiHeadAttention;
    const x = random(3, 5, 16);
    const together = contentOf(small.forward(x));
    expectSameBits(contentOf(small.forward(x, clone(x))), together);
    expectSameBits(contentOf(small.forward(x, clone(x), clone(x))), together);
  });

  test('attends from one sequence to another as the original does, eagerly and recorded', async () => {
    const whole = attention().eval() as MultiHeadAttention;
    const small = compress(whole) as MultiHeadAttention;
    const [x, y] = [random(3, 5, 16), random(3, 7, 16)];
    const got = await bothWays1((q, k) => small.forward(q!, k!), [x, y]);
    const want = numbers(whole.forward(x, y));
    const error = Math.sqrt(numbersOf(got).reduce((sum, v, i) => sum + (v - want[i]!) ** 2, 0));
    expect(error / Math.sqrt(want.reduce((sum, v) => sum + v * v, 0))).toBeLessThan(0.1);
  });

  test('comes back from a file with the same bits', async () => {
    const small = compress(layer());
    const path = `${temporaryFolder()}/small.safetensors`;
    await writeCompressed(path, small);
    const loaded = await readCompressed(path, layer());
    const x = random(4, 5, 16);
    expectSameBits(contentOf(loaded.forward(x)), contentOf(small.forward(x)));
  });
});

test('a calibration of attention between two sequences sees both', () => {
  const whole = attention().eval() as MultiHeadAttention;
  const [x, y] = [random(1, 5, 16), random(1, 5, 16)];
  (y.borrow() as Float32Array)[3] = 40;
  (x.borrow() as Float32Array)[3] = -20;
  const small = quantize(whole, { calibration: [[x, y]] }) as MultiHeadAttention;
  const [low, high] = (small.inProj as unknown as StaticQuantizedLinear).inputRange;
  // The ends are whole steps of the scale.
  expect(low).toBeCloseTo(-20, 0);
  expect(high).toBeCloseTo(40, 0);
});

test('attention may keep its projection in f32', () => {
  const small = quantize(layer(), { exclude: ['selfAttn.inProj'] }) as TransformerEncoderLayer;
  expect(small.selfAttn.inProj).toBeInstanceOf(Linear);
  expect(small.selfAttn.outProj).toBeInstanceOf(QuantizedLinear);
});

test('training with fake quantization trains the tensors of the attention, under their names', async () => {
  const whole = attention();
  const qat = prepareQat(whole) as MultiHeadAttention;
  expect(qat.inProj).toBeInstanceOf(FakeQuantizedLinear);
  expect([...qat.namedParameters().keys()]).toEqual([...whole.namedParameters().keys()]);
  const before = contentOf(whole.inProjWeight);
  const [x, y] = [random(8, 5, 16), random(8, 5, 16)];
  const adam = new AdamW(qat.namedParameters(), { lr: 0.01 });
  const step = compile((input: Tensor, target: Tensor) => {
    const loss = mseLoss(qat.forward(input), target);
    adam.step(grad(loss, qat.parameters()));
    return loss;
  });
  const first = (await step(x, y)).item();
  let last = first;
  for (let i = 0; i < 30; i++) last = (await step(x, y)).item();
  expect(last).toBeLessThan(0.9 * first);
  expect(numbers(whole.inProjWeight)).not.toEqual(numbersOf(before));
});

test('masks have the names of the weights', () => {
  const pruner = new Pruner(layer());
  pruner.prune(0.5);
  expect(Object.keys(pruner.stateDict())).toEqual([
    'selfAttn.inProjWeight',
    'selfAttn.outProj.weight',
    'linear1.weight',
    'linear2.weight',
  ]);
});

test('a state with PyTorch’s names is loaded as before', () => {
  const [one, other] = [attention(), attention()];
  const state = one.stateDict();
  expect(Object.keys(state)).toEqual(['inProjWeight', 'inProjBias', 'outProj.weight', 'outProj.bias']);
  other.loadStateDict(state);
  expectSameBits(contentOf(other.inProjWeight), contentOf(one.inProjWeight));
  expect(other.inProjWeight).not.toBe(one.inProjWeight);
});
