import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type BertConfig,
  BertForSequenceClassification,
  BertModel,
  defaultPool,
  Generator,
  quantize,
  readTextClassifier,
  readTextEmbedder,
  readTokenizer,
  TextClassifier,
  TextEmbedder,
  type TextEmbedderOptions,
  tensor,
  writeBert,
} from 'drivetrain';
import { Engine } from 'drivetrain/serve';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failureOf, rejectionOf, temporaryFolder } from '../io/support.js';

/** WordPiece of 15 entries; see test/io/tokenizer.test.ts. */
const TOKENIZER = fileURLToPath(new URL('../io/fixtures/tokenizer', import.meta.url));
const WORDS = ['the', 'cat', 'sat', 'on', 'mat', 'hello', 'unaffable', 'cats', '.', 'strange'];
const SHAPE: BertConfig = {
  vocabSize: 15,
  hiddenSize: 16,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  intermediateSize: 32,
  maxPositionEmbeddings: 24,
  initializerRange: 0.2,
  labels: ['no', 'perhaps', 'yes'],
};
const texts = fc.array(
  fc.array(fc.constantFrom(...WORDS), { maxLength: 30 }).map((words) => words.join(' ')),
  {
    maxLength: 9,
  },
);
const model = new BertModel(SHAPE, { generator: new Generator(1) }).eval();
const norm = (x: ArrayLike<number>) => Math.hypot(...Array.from(x));
/** Sums of some hundred terms in another order, relative to vectors of a size of about 1. */
const CLOSE = 2e-6;
const expectClose = (a: ArrayLike<number>, b: ArrayLike<number>, size = 1) => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(Math.abs(a[i]! - b[i]!)).toBeLessThanOrEqual(CLOSE * size);
};

async function folderOf(
  written: BertModel | BertForSequenceClassification,
  files: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const folder = temporaryFolder();
  await writeBert(folder, written);
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    writeFileSync(join(folder, name), readFileSync(join(TOKENIZER, name)));
  mkdirSync(join(folder, '1_Pooling'));
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), JSON.stringify(content));
  return folder;
}

/** Plainly: one text at a time, without padding, pooled in double. */
function plainly(ids: readonly number[], { pooling, normalize }: TextEmbedderOptions): number[] {
  const hidden = model.forward(tensor([ids] as number[][], { dtype: 'i32' })).toArray();
  const rows = pooling === 'cls' ? 1 : ids.length;
  const mean = Array.from({ length: 16 }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += Number(hidden[row * 16 + i]);
    return sum / rows;
  });
  return normalize ? mean.map((x) => x / norm(mean)) : mean;
}

describe('an embedder', () => {
  test.each([
    { pooling: 'mean', normalize: true },
    { pooling: 'mean', normalize: false },
    { pooling: 'cls', normalize: true },
    { pooling: 'cls', normalize: false },
  ] as const)(
    'gives each text what it has by itself, in their order, whatever stands beside it: %o',
    async (options) => {
      const tokenizer = await readTokenizer(TOKENIZER);
      const embedder = new TextEmbedder(model, tokenizer, options);
      await fc.assert(
        fc.asyncProperty(texts, fc.integer({ min: 1, max: 4 }), async (some, batchSize) => {
          const vectors = await embedder.embed(some, { batchSize });
          expect(vectors.length).toBe(some.length);
          some.forEach((text, i) => {
            expectClose(vectors[i]!, plainly(tokenizer.encode(text), options), 4);
          });
        }),
        { numRuns: 30 },
      );
    },
  );

  test('is read from a folder as sentence-transformers writes it, and options say otherwise', async () => {
    const modules = (...types: string[]) =>
      types.map((type, idx) => ({ idx, type: `sentence_transformers.models.${type}` }));
    const folder = await folderOf(model, {
      '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false },
      'modules.json': modules('Transformer', 'Pooling'),
      'sentence_bert_config.json': { max_seq_length: 5 },
    });
    const embedder = await readTextEmbedder(folder);
    expect([embedder.pooling, embedder.normalize, embedder.tokenizer.maxLength]).toEqual(['cls', false, 5]);
    const other = await readTextEmbedder(folder, { pooling: 'mean', normalize: true, maxLength: 7 });
    expect([other.pooling, other.normalize, other.tokenizer.maxLength]).toEqual(['mean', true, 7]);
    expect(norm((await other.embed(['the cat']))[0]!)).toBeCloseTo(1, 6);
    writeFileSync(
      join(folder, 'modules.json'),
      JSON.stringify(modules('Transformer', 'Pooling', 'Normalize')),
    );
    expect((await readTextEmbedder(folder)).normalize).toBe(true);
    writeFileSync(join(folder, '1_Pooling/config.json'), JSON.stringify({ pooling_mode_max_tokens: true }));
    expect((await rejectionOf(readTextEmbedder(folder))).message).toContain('pooling_mode_max_tokens');
    const plain = await readTextEmbedder(await folderOf(model));
    expect([plain.pooling, plain.normalize, plain.tokenizer.maxLength]).toEqual(['mean', true, 16]);
    expectClose(
      (await plain.embed(['the cat']))[0]!,
      plainly([2, 7, 8, 3], { pooling: 'mean', normalize: true }),
    );
  });

  test('holds no memory from call to call', async () => {
    const embedder = new TextEmbedder(model, await readTokenizer(TOKENIZER));
    const all = Array.from({ length: 40 }, (_, i) => 'the cat sat on mat . '.repeat(1 + (i % 3)));
    await embedder.embed(all, { batchSize: 8 });
    const { current } = defaultPool.statistics;
    for (let i = 0; i < 20; i++) await embedder.embed(all, { batchSize: 8 });
    expect(defaultPool.statistics.current).toBeLessThanOrEqual(current);
  });

  test('in eight bits stays near, and is served like any model', async () => {
    const tokenizer = await readTokenizer(TOKENIZER);
    const small = new TextEmbedder(quantize(model) as BertModel, tokenizer);
    const embedder = new TextEmbedder(model, tokenizer);
    const some = ['the cat sat on mat .', 'hello cats', ''];
    const [exact, near] = [await embedder.embed(some), await small.embed(some)];
    exact.forEach((vector, i) => {
      expect(vector.reduce((sum, x, j) => sum + x * near[i]![j]!, 0)).toBeGreaterThan(0.999);
      expect(near[i]).not.toEqual(vector);
    });
    const engine = new Engine().add({
      name: 'embedder',
      inputs: [
        { name: 'input_ids', datatype: 'INT32', shape: [-1, -1] },
        { name: 'attention_mask', datatype: 'BOOL', shape: [-1, -1] },
      ],
      outputs: [{ name: 'vectors', datatype: 'FP32', shape: [-1, 16] }],
      predict: async (ids, mask) => embedder.forward(ids!, mask!),
      batching: false,
    });
    const { inputIds, attentionMask } = tokenizer.batch(some);
    const { vectors } = await engine.infer('embedder', {
      input_ids: inputIds,
      attention_mask: attentionMask,
    });
    expectClose(
      vectors!.toArray() as Float32Array,
      exact.flatMap((v) => [...v]),
    );
  });

  test('refuses what does not go together', async () => {
    const tokenizer = await readTokenizer(TOKENIZER, { maxLength: 25 });
    expect(failureOf(() => new TextEmbedder(model, tokenizer)).message).toContain('maxLength: 24');
    const fitting = await readTokenizer(TOKENIZER);
    expect(failureOf(() => new TextEmbedder({} as never, fitting)).code).toBe('DT_INVALID_ARGUMENT');
    expect(failureOf(() => new TextEmbedder(model, {} as never)).code).toBe('DT_INVALID_ARGUMENT');
    expect(failureOf(() => new TextEmbedder(model, fitting, { pooling: 'max' as never })).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
    const embedder = new TextEmbedder(model, fitting);
    for (const bad of ['the cat', [1], undefined])
      expect((await rejectionOf(embedder.embed(bad as never))).code).toBe('DT_INVALID_ARGUMENT');
    for (const options of [{ batchSize: 0 }, { batch: 2 }])
      expect((await rejectionOf(embedder.embed([], options))).code).toBe('DT_INVALID_ARGUMENT');
  });
});

describe('a classifier', () => {
  test('says which class and how sure, one text or many alike, also read from a folder', async () => {
    const own = new BertForSequenceClassification(SHAPE, { generator: new Generator(2) }).eval();
    const classifier = new TextClassifier(own, await readTokenizer(TOKENIZER));
    const read = await readTextClassifier(await folderOf(own));
    await fc.assert(
      fc.asyncProperty(texts, async (some) => {
        const found = await classifier.classify(some, { batchSize: 3 });
        const [alone, again] = [[], []] as (typeof found)[];
        for (const text of some) alone.push(...(await classifier.classify([text])));
        again.push(...(await read.classify(some)));
        for (const others of [alone, again])
          others.forEach(({ probabilities }, i) => {
            expectClose(probabilities, found[i]!.probabilities);
          });
        for (const { label, score, probabilities } of found) {
          expect(score).toBe(Math.max(...probabilities));
          expect(own.labels[probabilities.indexOf(score)]).toBe(label);
          expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
        }
      }),
      { numRuns: 20 },
    );
    expect(failureOf(() => new TextClassifier(model as never, read.tokenizer)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
  });
});
