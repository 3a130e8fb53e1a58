import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  BertForSequenceClassification,
  BertModel,
  cast,
  compile,
  crossEntropy,
  type DType,
  defaultPool,
  grad,
  rand,
  readBertForSequenceClassification,
  readBertModel,
  readSafetensors,
  seed,
  type Tensor,
  tensor,
  valueAndGrad,
  writeBert,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { failureOf, rejectionOf, temporaryFolder } from '../io/support.js';
import { golden } from '../ops/support.js';
import { ids, mask, mixed, modelFolder, type Packed } from './support.js';

interface Small {
  ids: Packed;
  mask: Packed;
  types: Packed;
  labels: Packed;
  weights: Record<string, Packed>;
  hidden: Packed;
  logits: Packed;
  loss: number;
  gradients: Record<string, Packed>;
}
const small = golden<Small>('models/bert.json');
const CONFIG = {
  model_type: 'bert',
  vocab_size: 20,
  hidden_size: 8,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 12,
  max_position_embeddings: 8,
  type_vocab_size: 2,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
  hidden_dropout_prob: 0,
  attention_probs_dropout_prob: 0,
  id2label: { 0: 'bad', 1: 'middling', 2: 'good' },
  transformers_version: '4.1.0',
};
const f32 = ({ shape, data }: Packed) => tensor(Float32Array.from(data), { shape });
const weights = () =>
  Object.fromEntries(Object.entries(small.weights).map(([name, packed]) => [name, f32(packed)]));
const inputs = () =>
  [ids(small.ids), { attentionMask: mask(small.mask), tokenTypeIds: ids(small.types) }] as const;

/** What f32 may be off beside double, of values of about `size`: two layers deep, sums of at most 24 terms. */
const close = (received: ArrayLike<number>, expected: readonly number[], size = 1) => {
  expect(received.length).toBe(expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs(received[i]! - value)).toBeLessThanOrEqual(1e-5 * Math.max(size, Math.abs(value)));
  });
};
const numbers = (t: Tensor) => Array.from(t.toArray() as Float32Array);

/** The names of our tensors by those in the file, for what is not joined; see `bertNames`. */
const own = (name: string) =>
  name
    .replace('bert.embeddings.word_embeddings', 'bert.embeddings.wordEmbeddings')
    .replace('position_embeddings', 'positionEmbeddings')
    .replace('token_type_embeddings', 'tokenTypeEmbeddings')
    .replace('embeddings.LayerNorm', 'embeddings.norm')
    .replace('encoder.layer', 'layers')
    .replace('attention.output.dense', 'attentionOutput')
    .replace('attention.output.LayerNorm', 'attentionNorm')
    .replace('intermediate.dense', 'intermediate')
    .replace('output.dense', 'output')
    .replace('output.LayerNorm', 'outputNorm')
    .replace('pooler.dense', 'pooler');

describe('beside PyTorch’s encoder', () => {
  test('hidden states, logits and gradients of a small one, eagerly and recorded', async () => {
    const model = await readBertForSequenceClassification(await modelFolder(CONFIG, weights()));
    expect([model.labels, model.training]).toEqual([['bad', 'middling', 'good'], false]);
    const [x, more] = inputs();
    const labels = ids(small.labels);
    const parameters = [...model.namedParameters()];
    const tensors = parameters.map(([, parameter]) => parameter);
    const lossOf = () => crossEntropy(model.forward(x, more), labels);
    const { value, grads } = valueAndGrad(lossOf, tensors)();
    const eager = {
      hidden: model.bert.forward(x, more),
      logits: model.forward(x, more),
      value,
      gradients: grads,
    };
    const recorded = await compile((x: Tensor, attentionMask: Tensor, tokenTypeIds: Tensor) => {
      const logits = model.forward(x, { attentionMask, tokenTypeIds });
      const value = crossEntropy(logits, labels);
      const hidden = model.bert.forward(x, { attentionMask, tokenTypeIds });
      return { hidden, logits, value, gradients: grad(value, tensors) };
    })(x, more.attentionMask, more.tokenTypeIds);
    for (const found of [eager, recorded]) {
      // Of a position that was filled up nothing is promised.
      const counts = small.mask.data.flatMap((bit) => new Array<number>(8).fill(bit));
      close(
        numbers(found.hidden).map((value, i) => value * counts[i]!),
        small.hidden.data,
      );
      close(numbers(found.logits), small.logits.data);
      expect(Math.abs(found.value.item() - small.loss)).toBeLessThan(1e-5);
      const byName = Object.fromEntries(parameters.map(([name], i) => [name, numbers(found.gradients[i]!)]));
      for (const [name, { data }] of Object.entries(small.gradients)) {
        const part = ['query', 'key', 'value'].findIndex((which) => name.includes(`self.${which}.`));
        if (part < 0) close(byName[own(name)]!, data);
        else {
          const joined = name.replace(
            /encoder\.layer\.(\d)\.attention\.self\.\w+/,
            'layers.$1.queryKeyValue',
          );
          close(byName[joined]!.slice(part * data.length, (part + 1) * data.length), data);
        }
      }
    }
  });

  interface Large {
    batch: number;
    length: number;
    lengths: number[];
    hidden: Packed;
    largest: number;
    logits: Packed;
    layers: number;
    heads: number;
    intermediate: number;
    rows: number[];
  }
  const large = golden<Record<string, Large & { hidden: Packed }>>('models/bert-large-shapes.json');

  test.each(Object.entries(large))('the shape of %s, to 1e-4', async (_, expected) => {
    const { batch, length, lengths, layers, heads, intermediate, rows } = expected;
    const hiddenSize = expected.hidden.shape[2]! * Math.round(intermediate / 4 / expected.hidden.shape[2]!);
    const model = new BertForSequenceClassification({
      hiddenSize,
      numHiddenLayers: layers,
      numAttentionHeads: heads,
      intermediateSize: intermediate,
    }).eval();
    const folder = temporaryFolder();
    await writeBert(folder, model);
    const { tensors } = await readSafetensors(join(folder, 'model.safetensors'));
    Object.keys(tensors)
      .sort()
      .forEach((name, seed) => {
        const target = tensors[name]!.borrow();
        const scale = tensors[name]!.rank === 2 ? Math.fround(0.05) : Math.fround(0.1);
        const base = name.endsWith('LayerNorm.weight') ? 1 : 0;
        mixed(target.length, seed).forEach((value, i) => {
          target[i] = Math.fround(value * scale) + base;
        });
      });
    const loaded = await readBertForSequenceClassification(
      await modelFolder(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), tensors),
    );
    for (const t of [...Object.values(tensors), ...Object.values(model.stateDict())]) t.dispose();
    const tokens = Int32Array.from(mixed(batch * length, 999), (value) => Math.trunc((value + 1) * 15261));
    const bits = Uint8Array.from(tokens, (_, i) => Number(i % length < lengths[Math.floor(i / length)]!));
    const inputIds = tensor(tokens, { shape: [batch, length] });
    const attentionMask = tensor(bits, { shape: [batch, length], dtype: 'bool' });
    const { hidden, logits } = await compile((x: Tensor, m: Tensor) => {
      const states = loaded.bert.forward(x, { attentionMask: m });
      return { hidden: states, logits: loaded.forward(x, { attentionMask: m }) };
    })(inputIds, attentionMask);
    const values = hidden.toArray();
    const step = hiddenSize / expected.hidden.shape[2]!;
    const sampled = Array.from({ length: batch }, (_, b) =>
      rows.flatMap((row) =>
        Array.from({ length: expected.hidden.shape[2]! }, (_, i) =>
          Number(values[(b * length + row) * hiddenSize + i * step]),
        ),
      ),
    ).flat();
    const worst = Math.max(...sampled.map((value, i) => Math.abs(value - expected.hidden.data[i]!)));
    expect(worst / expected.largest).toBeLessThan(1e-4);
    const apart = numbers(logits).map((value, i) => Math.abs(value - expected.logits.data[i]!));
    expect(Math.max(...apart)).toBeLessThan(1e-4 * Math.max(1, ...expected.logits.data.map(Math.abs)));
    for (const t of Object.values(loaded.stateDict())) t.dispose();
  });
});

describe('files', () => {
  test('are written as they were read, byte for byte, and configurations say the same', async () => {
    const folder = await modelFolder(CONFIG, weights());
    const again = temporaryFolder();
    await writeBert(again, await readBertForSequenceClassification(folder));
    const { tensors } = await readSafetensors(join(again, 'model.safetensors'));
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(small.weights).sort());
    for (const [name, { shape, data }] of Object.entries(small.weights)) {
      expect([name, tensors[name]!.shape, numbers(tensors[name]!)]).toEqual([name, shape, data]);
    }
    const { transformers_version, ...said } = CONFIG;
    const written = JSON.parse(readFileSync(join(again, 'config.json'), 'utf8'));
    expect(written).toMatchObject(JSON.parse(JSON.stringify(said)));
    expect(written.architectures).toEqual(['BertForSequenceClassification']);
  });

  test('of another size than the configuration says are refused before memory is taken', async () => {
    const before = defaultPool.statistics.peak;
    for (const [wrong, code, said] of [
      [{ vocab_size: 20_000_000 }, 'DT_SHAPE_MISMATCH', 'embeddings.word_embeddings.weight'],
      [{ num_hidden_layers: 20_000 }, 'DT_INVALID_ARGUMENT', '20000 layers'],
    ] as const) {
      const folder = await modelFolder({ ...CONFIG, ...wrong }, weights());
      const refusal = await rejectionOf(readBertForSequenceClassification(folder));
      expect([refusal.code, refusal.message]).toEqual([code, expect.stringContaining(said)]);
      expect(refusal.message.length).toBeLessThan(500);
    }
    expect(defaultPool.statistics.peak - before).toBeLessThan(100e6);
  });

  test('of encoders: bare, under a head, with old names, in 16 bits, without a pooler', async () => {
    const [x, more] = inputs();
    const full = weights();
    const bare = (state: Record<string, Tensor>) =>
      Object.fromEntries(
        Object.entries(state)
          .filter(([name]) => name.startsWith('bert.'))
          .map(([name, t]) => [name.slice(5), t]),
      );
    const old = Object.fromEntries(
      Object.entries(full).map(([name, t]) => [
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'),
        t,
      ]),
    );
    const positions = tensor(Int32Array.from({ length: 8 }, (_, i) => i));
    const withoutPooler = Object.fromEntries(
      Object.entries(bare(full)).filter(([name]) => !/pooler/.test(name)),
    );
    for (const state of [
      full,
      bare(full),
      old,
      { ...bare(full), 'embeddings.position_ids': positions, 'cls.predictions.bias': positions },
      withoutPooler,
    ]) {
      const model = await readBertModel(await modelFolder(CONFIG, state));
      const reference = await readBertModel(await modelFolder(CONFIG, full));
      expect(numbers(model.forward(x, more))).toEqual(numbers(reference.forward(x, more)));
      if (state === withoutPooler)
        expect(failureOf(() => model.pool(model.forward(x))).code).toBe('DT_INVALID_ARGUMENT');
      else expect(model.pool(model.forward(x)).shape).toEqual([2, 8]);
    }
    for (const dtype of ['f16', 'bf16'] as DType[]) {
      const state = Object.fromEntries(Object.entries(full).map(([name, t]) => [name, cast(t, dtype)]));
      const model = await readBertModel(await modelFolder(CONFIG, state));
      const rounded = Object.fromEntries(Object.entries(state).map(([name, t]) => [name, cast(t, 'f32')]));
      const reference = await readBertModel(await modelFolder(CONFIG, rounded));
      expect(numbers(model.forward(x, more))).toEqual(numbers(reference.forward(x, more)));
    }
  });

  test('are read without a random number', async () => {
    const folder = await modelFolder(CONFIG, weights());
    seed(5);
    const expected = numbers(rand([4]));
    seed(5);
    await readBertModel(folder);
    await readBertForSequenceClassification(folder);
    expect(numbers(rand([4]))).toEqual(expected);
  });

  test('that do not fit are refused by name, and nothing is left behind', async () => {
    const { 'bert.pooler.dense.bias': _, ...lacking } = weights();
    const wide = tensor(new Float32Array(9), { shape: [9] });
    for (const [config, state, message] of [
      [CONFIG, lacking, /Missing: bert\.pooler\.dense\.bias\./],
      [CONFIG, { ...weights(), extra: wide }, /Unknown: extra\./],
      [CONFIG, { ...weights(), 'classifier.bias': wide }, /\[3\] for classifier\.bias/],
      [{ ...CONFIG, model_type: 'roberta' }, weights(), /bert as model_type/],
      [{ ...CONFIG, hidden_act: 'gelu_new' }, weights(), /gelu or relu as hiddenAct/],
      [
        { ...CONFIG, position_embedding_type: 'relative_key' },
        weights(),
        /absolute as position_embedding_type/,
      ],
      [{ ...CONFIG, num_attention_heads: 3 }, weights(), /divisor of hiddenSize/],
      [{ ...CONFIG, hidden_size: '8' }, weights(), /whole number from 1 on as hiddenSize/],
      [{ ...CONFIG, id2label: { 0: 'a', 2: 'b' } }, weights(), /id2label/],
    ] as const) {
      const folder = await modelFolder(config, state);
      const { current } = defaultPool.statistics;
      const found = await rejectionOf(readBertForSequenceClassification(folder));
      expect(defaultPool.statistics.current).toBeLessThanOrEqual(current);
      expect([found.code.slice(0, 3), found.message]).toEqual(['DT_', expect.stringMatching(message)]);
    }
    expect((await rejectionOf(readBertModel(temporaryFolder()))).code).toBe('DT_NOT_FOUND');
  });
});

describe('a model', () => {
  const shape = {
    vocabSize: 20,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
    intermediateSize: 12,
    maxPositionEmbeddings: 8,
  };
  test('begins with the initial values of the paper, by a seed', () => {
    const model = new BertModel({ ...shape, hiddenSize: 64, intermediateSize: 256 });
    const state = model.stateDict();
    const values = numbers(state['layers.0.intermediate.weight']!);
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    // 16,384 draws: the deviation of their deviation is 0.02 / √(2 · 16384).
    expect(Math.abs(deviation - 0.02)).toBeLessThan((6 * 0.02) / Math.sqrt(2 * values.length));
    expect(new Set(numbers(state['layers.0.intermediate.bias']!))).toEqual(new Set([0]));
  });

  test('refuses what it cannot read, before anything runs', () => {
    const model = new BertModel(shape);
    const x = ids({ shape: [1, 3], data: [1, 2, 3] });
    for (const [call, code] of [
      [() => model.forward(tensor([1, 2])), 'DT_DTYPE_MISMATCH'],
      [() => model.forward(ids({ shape: [3], data: [1, 2, 3] })), 'DT_SHAPE_MISMATCH'],
      [() => model.forward(ids({ shape: [1, 9], data: new Array(9).fill(1) })), 'DT_SHAPE_MISMATCH'],
      [() => model.forward(x, { attentionMask: x }), 'DT_DTYPE_MISMATCH'],
      [() => model.forward(x, { attentionMask: mask({ shape: [1, 2], data: [1, 1] }) }), 'DT_SHAPE_MISMATCH'],
      [() => model.forward(x, { tokenTypeIds: ids({ shape: [1, 2], data: [1, 1] }) }), 'DT_SHAPE_MISMATCH'],
      [() => new BertModel({ ...shape, layers: 2 } as never), 'DT_INVALID_ARGUMENT'],
      [() => new BertModel({ ...shape, hiddenDropoutProb: 2 }), 'DT_INVALID_ARGUMENT'],
      [() => new BertForSequenceClassification({ ...shape, labels: [] }), 'DT_INVALID_ARGUMENT'],
    ] as const) {
      expect(failureOf(call).code).toBe(code);
    }
  });
});
