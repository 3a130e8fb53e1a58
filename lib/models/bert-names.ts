import type { BertForSequenceClassification, BertModel } from './bert.js';

/** A tensor of a model, and what Hugging Face's files call it: three of one shape, one under another, where there are three. */
export interface BertName {
  readonly own: string;
  readonly file: readonly string[];
}

const EMBEDDINGS = [
  ['wordEmbeddings.weight', 'word_embeddings.weight'],
  ['positionEmbeddings.weight', 'position_embeddings.weight'],
  ['tokenTypeEmbeddings.weight', 'token_type_embeddings.weight'],
  ['norm.weight', 'LayerNorm.weight'],
  ['norm.bias', 'LayerNorm.bias'],
] as const;

const LAYER = [
  ['queryKeyValue', 'attention.self.query', 'attention.self.key', 'attention.self.value'],
  ['attentionOutput', 'attention.output.dense'],
  ['attentionNorm', 'attention.output.LayerNorm'],
  ['intermediate', 'intermediate.dense'],
  ['output', 'output.dense'],
  ['outputNorm', 'output.LayerNorm'],
] as const;

/** The names of all tensors of a model, in the order of its fields. */
export function bertNames(model: BertModel | BertForSequenceClassification): BertName[] {
  if (!('bert' in model)) return encoderNames(model, '', '');
  return [...encoderNames(model.bert, 'bert.', 'bert.'), ...pair('classifier', ['classifier'])];
}

function encoderNames(model: BertModel, own: string, file: string): BertName[] {
  return [
    ...EMBEDDINGS.map(([ours, theirs]) => ({
      own: `${own}embeddings.${ours}`,
      file: [`${file}embeddings.${theirs}`],
    })),
    ...model.layers.flatMap((_, i) =>
      LAYER.flatMap(([ours, ...theirs]) =>
        pair(
          `${own}layers.${i}.${ours}`,
          theirs.map((name) => `${file}encoder.layer.${i}.${name}`),
        ),
      ),
    ),
    ...(model.pooler === undefined ? [] : pair(`${own}pooler`, [`${file}pooler.dense`])),
  ];
}

function pair(own: string, file: readonly string[]): BertName[] {
  return ['weight', 'bias'].map((part) => ({
    own: `${own}.${part}`,
    file: file.map((name) => `${name}.${part}`),
  }));
}

/** A name in a file as newer files have it: old ones call the tensors of a normalisation gamma and beta. */
export function modernName(name: string): string {
  return name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}

/** Tensors of files that say nothing to a model: positions that count up, and heads that were for training. */
export const SUPERFLUOUS = /(^|\.)embeddings\.position_ids$|^cls\./;
