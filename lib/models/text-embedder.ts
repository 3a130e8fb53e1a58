import { join } from 'node:path';
import { readJson, type Tokenizer } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import { cast, div, matmul, maximum, mul, reshape, slice, sqrt, sum, transient } from '../ops/index.js';
import { type Compiled, compile } from '../program/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { BertModel } from './bert.js';
import { readBertModel } from './bert-file.js';
import { checkTokenizer, mapTexts, readFittingTokenizer, type TextOptions, takeRows } from './texts.js';

export interface TextEmbedderOptions {
  /** What of the hidden states makes the vector: their mean over the tokens, or that of the first one. 'mean' unless given. */
  pooling?: 'mean' | 'cls';
  /** Whether vectors have length 1, so that their product is the cosine of their angle; true unless given. */
  normalize?: boolean;
}

export interface ReadTextEmbedderOptions extends TextEmbedderOptions {
  /** Longer texts are cut at their end, special tokens counted; what the folder says unless given. */
  maxLength?: number;
}

const POOLINGS = ['mean', 'cls'];
const LEAST_NORM = 1e-12;

/** Makes vectors of texts, so that texts of like meaning have vectors of like direction. */
export class TextEmbedder {
  readonly model: BertModel;
  readonly tokenizer: Tokenizer;
  readonly pooling: 'mean' | 'cls';
  readonly normalize: boolean;
  readonly #embed: Compiled<[Tensor, Tensor], Tensor>;

  constructor(model: BertModel, tokenizer: Tokenizer, options: TextEmbedderOptions = {}) {
    checkOptions('TextEmbedder', options, ['pooling', 'normalize']);
    const { pooling = 'mean', normalize = true } = options;
    if (!(model instanceof BertModel)) throw invalid('a BertModel for TextEmbedder', typeof model);
    checkTokenizer('TextEmbedder', tokenizer, model.config.maxPositionEmbeddings);
    if (!POOLINGS.includes(pooling)) throw invalid(`${POOLINGS.join(' or ')} as pooling`, String(pooling));
    this.model = model;
    this.tokenizer = tokenizer;
    this.pooling = pooling;
    this.normalize = normalize;
    this.#embed = compile((inputIds: Tensor, attentionMask: Tensor) => this.forward(inputIds, attentionMask));
  }

  /** Tokens [batch, length] and their mask, as a tokenizer's `batch` gives them, to vectors [batch, hiddenSize]. */
  forward(inputIds: Tensor, attentionMask: Tensor): Tensor {
    return transient(() => {
      const hidden = this.model.forward(inputIds, { attentionMask });
      const pooled = this.pooling === 'cls' ? firstOf(hidden) : meanOf(hidden, attentionMask);
      if (!this.normalize) return pooled;
      const norm = sqrt(sum(mul(pooled, pooled), { axis: -1, keepDims: true }));
      return div(pooled, maximum(norm, LEAST_NORM));
    });
  }

  /** The vector of each text, of `hiddenSize` numbers. */
  async embed(texts: readonly string[], options: TextOptions = {}): Promise<Float32Array[]> {
    checkOptions('embed', options, ['batchSize']);
    const { model, tokenizer } = this;
    const most = model.config.maxPositionEmbeddings;
    return mapTexts('embed', texts, options, { tokenizer, most }, async (inputIds, attentionMask) =>
      takeRows(await this.#embed(inputIds, attentionMask)),
    );
  }
}

/**
 * Reads a `TextEmbedder` from a folder in Hugging Face's layout, frozen for inference: `config.json`, `model.safetensors`
 * and `tokenizer.json`. Where sentence-transformers wrote the folder, its `1_Pooling/config.json`, `modules.json` and
 * `sentence_bert_config.json` say how vectors are made, unless the options do. Throws as `readBertModel` and
 * `readTokenizer` do.
 */
export async function readTextEmbedder(
  folder: string,
  options: ReadTextEmbedderOptions = {},
): Promise<TextEmbedder> {
  checkOptions('readTextEmbedder', options, ['pooling', 'normalize', 'maxLength']);
  const [pooling, modules, sentences] = await Promise.all(
    ['1_Pooling/config.json', 'modules.json', 'sentence_bert_config.json'].map((name) =>
      readIfThere(join(folder, name)),
    ),
  );
  const model = await readBertModel(folder);
  const maxLength = options.maxLength ?? (sentences?.['max_seq_length'] as number | undefined);
  const tokenizer = await readFittingTokenizer(folder, model.config.maxPositionEmbeddings, maxLength);
  return new TextEmbedder(model.freeze(), tokenizer, {
    pooling: options.pooling ?? (pooling === undefined ? 'mean' : poolingOf(pooling)),
    normalize: options.normalize ?? (modules === undefined || /Normalize/.test(JSON.stringify(modules))),
  });
}

function firstOf(hidden: Tensor): Tensor {
  const [batch, , size] = hidden.shape as [number, number, number];
  return reshape(slice(hidden, 1, 0, 1), [batch, size]);
}

function meanOf(hidden: Tensor, attentionMask: Tensor): Tensor {
  const [batch, length, size] = hidden.shape as [number, number, number];
  const counts = reshape(cast(attentionMask, 'f32'), [batch, 1, length]);
  const total = reshape(matmul(counts, hidden), [batch, size]);
  return div(total, maximum(sum(counts, { axis: -1 }), 1));
}

function poolingOf(config: Readonly<Record<string, unknown>>): 'mean' | 'cls' {
  const modes = Object.keys(config).filter(
    (name) => name.startsWith('pooling_mode_') && config[name] === true,
  );
  if (modes.length === 1 && modes[0] === 'pooling_mode_mean_tokens') return 'mean';
  if (modes.length === 1 && modes[0] === 'pooling_mode_cls_token') return 'cls';
  throw invalid('pooling by mean or by first token in 1_Pooling/config.json', modes.join(' and ') || 'none');
}

async function readIfThere(path: string): Promise<Record<string, unknown> | undefined> {
  try {
    return await readJson(path);
  } catch (error) {
    if (error instanceof DrivetrainError && error.code === 'DT_NOT_FOUND') return undefined;
    throw error;
  }
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} but received ${received}.`);
}
