import {
  abs,
  assign,
  type BertConfig,
  BertModel,
  type Linear,
  linear,
  Module,
  MultiHeadAttention,
  mul,
  pruneHeads,
  quantize,
  readCompressed,
  Sequential,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
  tensor,
  writeBert,
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

/** The projections of an attention and the width of its heads. */
interface Attention {
  readonly into: Linear;
  readonly out: Linear;
  readonly headDim: number;
}

const partsOf = ({ inProj, outProj, headDim }: MultiHeadAttention): Attention => ({
  into: inProj,
  out: outProj,
  headDim,
});

/** The heads that stay, by sums of squares that are written out. */
function keptHeads({ into, out, headDim }: Attention, amount: number): number[] {
  const [w, v] = [numbers(into.weight), numbers(out.weight)];
  const [columns, width] = [into.weight.shape[1]!, out.weight.shape[1]!];
  const heads = width / headDim;
  const scores = Array.from({ length: heads }, (_, head) => {
    let score = 0;
    for (let j = head * headDim; j < (head + 1) * headDim; j++) {
      for (const row of [j, width + j, 2 * width + j])
        for (let c = 0; c < columns; c++) score += w[row * columns + c]! ** 2;
      for (let row = 0; row < out.weight.shape[0]!; row++) score += v[row * width + j]! ** 2;
    }
    return score;
  });
  const removed = Math.min(heads - 1, Math.round(amount * heads));
  const order = scores.map((_, i) => i).sort((a, b) => scores[a]! - scores[b]!);
  return order.slice(removed).sort((a, b) => a - b);
}

/** Makes an attention's projection out 0 for the heads that are not kept. */
function silence({ out, headDim }: Attention, kept: readonly number[]): void {
  const [rows, width] = out.weight.shape as [number, number];
  const values = numbers(out.weight).map((value, i) =>
    kept.includes(Math.floor((i % width) / headDim)) ? value : 0,
  );
  assign(out.weight, tensor(Float32Array.from(values), { shape: [rows, width] }));
}

/** The largest Σ |w| |x| + |b| of a layer: what it gives is at most that, and its roundings go by it. */
function sizeAfter({ weight, bias }: Linear, x: Tensor): number {
  return largest(linear(abs(x), abs(weight), bias && abs(bias)));
}

/**
 * By how much two computations of attention in f32 may differ that add the same terms in another order, where what comes
 * before the heads is at most `before`. A sum of n products is off by less than (n + 2) u times that of their magnitudes.
 */
function boundOf({ into, out, headDim }: Attention, length: number, before: number): number {
  const u = UNIT.f32;
  const projected = 2 * (into.weight.shape[1]! + 2) * u * before;
  const root = Math.sqrt(headDim);
  const scores = root * (2 * before * projected + projected ** 2 + 2 * (headDim + 3) * u * before ** 2);
  // Of a weight e^s / Σ e^s, relatively; exponentials are off by some units in the last place.
  const weights = Math.expm1(2 * scores) + 2 * (length + 10) * u;
  const attended = projected + before * (weights + 2 * (length + 2) * u);
  const width = out.weight.shape[1]!;
  const ones = tensor(new Float32Array(width).fill(1), { shape: [1, width] });
  const sum = sizeAfter(out, ones);
  return sum * attended + 2 * (width + 2) * u * sum * Math.max(1, before);
}

const largest = (t: Tensor) => Math.max(...numbers(t).map(Math.abs));

describe('pruneHeads', () => {
  test('gives the outputs of the attention whose projection out is 0 for the heads that go', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 7 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        fc.boolean(),
        fc.constantFrom('self', 'causal', 'cross'),
        (heads, headDim, length, amount, bias, kind) => {
          const embed = heads * headDim;
          const whole = new MultiHeadAttention(embed, heads, { bias });
          if (bias) {
            assign(whole.inProjBias!, mul(random(3 * embed), 0.3));
            assign(whole.outProj.bias!, random(embed));
          }
          const parts = partsOf(whole);
          const small = pruneHeads(whole, { amount }) as MultiHeadAttention;
          const kept = keptHeads(parts, amount);
          expect(kept).toHaveLength(Math.max(1, heads - Math.round(amount * heads)));
          expect([small.numHeads, small.headDim, whole.numHeads]).toEqual([kept.length, headDim, heads]);
          expect(small.inProjWeight.shape).toEqual([3 * kept.length * headDim, embed]);
          expect(small.outProj.weight.shape).toEqual([embed, kept.length * headDim]);
          const [x, y] = [mul(random(2, length, embed), 0.5), mul(random(2, length + 1, embed), 0.5)];
          const run = (model: MultiHeadAttention) =>
            kind === 'cross' ? model.forward(x, y) : model.forward(x, x, x, { isCausal: kind === 'causal' });
          const got = contentOf(run(small));
          const before = Math.max(sizeAfter(parts.into, x), sizeAfter(parts.into, y));
          const bound = boundOf(parts, length + 1, before);
          silence(parts, kept);
          expectWithin(got, numbers(run(whole)), bound);
          // A head makes a difference of some tenths.
          expect(bound).toBeLessThan(0.05);
        },
      ),
      { numRuns: 60, seed: 4 },
    );
  });

  const encoder = () =>
    new TransformerEncoder(
      () =>
        new TransformerEncoderLayer(16, 4, {
          dimFeedforward: 24,
          dropout: 0,
          normFirst: true,
        }),
      2,
    );

  test('takes the attentions of encoders, by name, and shares what it does not touch', () => {
    const whole = encoder();
    const small = pruneHeads(whole, { amount: 0.5, exclude: ['layers.1.selfAttn'] }) as TransformerEncoder;
    const heads = small.layers.map(({ selfAttn }) => selfAttn.numHeads);
    expect(heads).toEqual([2, 4]);
    expect(small.layers[1]).toBe(whole.layers[1]);
    expect(small.layers[0]!.linear1).toBe(whole.layers[0]!.linear1);
    const count = (model: Module) => model.parameters().reduce((sum, { size }) => sum + size, 0);
    // Two heads of width 4: 8 rows of 16 and a bias for each of queries, keys and values, and 8 columns of 16.
    expect(count(whole) - count(small)).toBe(3 * 8 * (16 + 1) + 8 * 16);
    expect(Object.keys(small.stateDict())).toEqual(Object.keys(whole.stateDict()));
    expect(small.forward(random(3, 5, 16)).shape).toEqual([3, 5, 16]);
  });

  test('what it leaves does not train the original', () => {
    const whole = new MultiHeadAttention(8, 2);
    const own = new Set(Object.values(whole.stateDict()).map(({ storage }) => storage));
    const small = pruneHeads(whole, { amount: 0.5 });
    expect(Object.values(small.stateDict()).filter(({ storage }) => own.has(storage))).toEqual([]);
  });

  test.each<[string, (model: Module) => Module]>([
    ['f32', (model) => model],
    ['dynamic INT8', (model) => quantize(model)],
    ['static INT8', (model) => quantize(model, { calibration: [random(6, 5, 16)] })],
  ])('comes back from a file with the same bits, in %s', async (_, compress) => {
    const small = compress(pruneHeads(encoder().eval(), { amount: 0.4 }));
    const path = `${temporaryFolder()}/small.safetensors`;
    await writeCompressed(path, small);
    const loaded = (await readCompressed(path, encoder())) as TransformerEncoder;
    const x = random(3, 5, 16);
    expectSameBits(await bothWays1((t) => loaded.forward(t!), [x]), contentOf(small.forward(x)));
    expect(loaded.layers.map(({ selfAttn }) => selfAttn.numHeads)).toEqual([2, 2]);
  });

  const config: BertConfig = {
    vocabSize: 30,
    hiddenSize: 12,
    numHiddenLayers: 1,
    numAttentionHeads: 4,
    intermediateSize: 16,
    maxPositionEmbeddings: 8,
    hiddenDropoutProb: 0,
    attentionProbsDropoutProb: 0,
    initializerRange: 0.1,
  };
  const bert = () => new BertModel(config).eval();
  const ids = tensor(Int32Array.of(3, 1, 4, 15, 9, 2), { shape: [2, 3] });

  test('takes the attentions of a BERT', async () => {
    const whole = bert();
    const small = pruneHeads(whole, { amount: 0.5 }) as BertModel;
    const got = contentOf(small.forward(ids));
    const [layer] = whole.layers;
    const parts = { into: layer!.queryKeyValue, out: layer!.attentionOutput, headDim: 3 };
    const kept = keptHeads(parts, 0.5);
    expect(small.layers[0]!.queryKeyValue.weight.shape).toEqual([18, 12]);
    expect(small.layers[0]!.attentionOutput.weight.shape).toEqual([12, 6]);
    // After attention, what is off grows by what two normalisations (by 2 / σ, σ at least a half) and the layers between
    // can: less than 100 times.
    const embedded = whole.embeddings.forward(ids);
    const bound = 100 * boundOf(parts, 3, sizeAfter(parts.into, embedded));
    silence(parts, kept);
    const zeroed = numbers(whole.forward(ids));
    expectWithin(got, zeroed, bound);
    expect(bound).toBeLessThan(0.05);
    const folder = temporaryFolder();
    const path = `${folder}/small.safetensors`;
    await writeCompressed(path, small);
    const loaded = (await readCompressed(path, bert())) as BertModel;
    expectSameBits(contentOf(loaded.forward(ids)), got);
    // Its configuration could not say how many heads a layer has.
    const refusal = await rejectionOf(writeBert(folder, small));
    expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
    expect(refusal.message).toContain('queryKeyValue');
  });

  class Twins extends Module {
    left = new MultiHeadAttention(8, 2);
    right = Object.assign(new MultiHeadAttention(8, 2), { outProj: this.left.outProj });
    forward(x: Tensor): Tensor {
      return this.right.forward(this.left.forward(x));
    }
  }
  const attention = () => new MultiHeadAttention(8, 2);
  const broken = attention();
  assign(broken.outProj.weight, tensor(new Float32Array(64).fill(NaN), { shape: [8, 8] }));
  test.each<[string, () => unknown, string]>([
    ['a share that leaves no head', () => pruneHeads(attention(), { amount: 1 }), 'amount in [0, 1)'],
    ['a share below 0', () => pruneHeads(attention(), { amount: -0.1 }), '-0.1'],
    ['no share', () => pruneHeads(attention(), {} as never), 'undefined'],
    ['a misspelt option', () => pruneHeads(attention(), { amount: 0.5, skip: [] } as never), 'skip'],
    ['an unknown layer', () => pruneHeads(encoder(), { amount: 0.5, exclude: ['layers.0'] }), 'layers.0'],
    ['a model without attention', () => pruneHeads(new Sequential(), { amount: 0.5 }), 'attention'],
    ['integers', () => pruneHeads(quantize(attention()), { amount: 0.5 }), 'QuantizedLinear'],
    ['a projection of two attentions', () => pruneHeads(new Twins(), { amount: 0.5 }), 'right.outProj'],
    ['NaN', () => pruneHeads(broken, { amount: 0.5 }), 'NaN'],
  ])('refuses %s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });
});
