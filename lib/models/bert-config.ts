import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions } from '../tensor/index.js';

/** The shape of a BERT, under the names of Hugging Face's `config.json` in camelCase; defaults are those of BERT-base. */
export interface BertConfig {
  /** Tokens in the vocabulary; 30522 unless given. */
  vocabSize?: number;
  /** Width of the hidden states; 768 unless given. */
  hiddenSize?: number;
  /** 12 unless given. */
  numHiddenLayers?: number;
  /** It divides the hidden size; 12 unless given. */
  numAttentionHeads?: number;
  /** Width between the two linear layers; 3072 unless given. */
  intermediateSize?: number;
  /** 'gelu' (by the error function) unless given. */
  hiddenAct?: 'gelu' | 'relu';
  /** The probability of dropout in training; 0.1 unless given. */
  hiddenDropoutProb?: number;
  /** That of weights of attention; 0.1 unless given. */
  attentionProbsDropoutProb?: number;
  /** The most tokens in a text; 512 unless given. */
  maxPositionEmbeddings?: number;
  /** Kinds of tokens, such as of a first and a second sentence; 2 unless given. */
  typeVocabSize?: number;
  /** Added to the variance by all normalisations; 1e-12 unless given. */
  layerNormEps?: number;
  /** The deviation of initial weights; 0.02 unless given. */
  initializerRange?: number;
  /** The names of the classes, in order, of a classifier; `LABEL_0` and `LABEL_1` unless given. */
  labels?: readonly string[];
}

const WHOLE = {
  vocabSize: 30522,
  hiddenSize: 768,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
  intermediateSize: 3072,
  maxPositionEmbeddings: 512,
  typeVocabSize: 2,
};
const REAL = {
  hiddenDropoutProb: 0.1,
  attentionProbsDropoutProb: 0.1,
  layerNormEps: 1e-12,
  initializerRange: 0.02,
};
const ACTIVATIONS = ['gelu', 'relu'];
const LABELS = ['LABEL_0', 'LABEL_1'];
const KEYS = [...Object.keys(WHOLE), ...Object.keys(REAL), 'hiddenAct', 'labels'];

/** All of a configuration, checked; `DT_INVALID_ARGUMENT` where something cannot be. */
export function completeBertConfig(config: BertConfig): Required<BertConfig> {
  checkOptions('BertConfig', config, KEYS);
  const complete = { ...WHOLE, ...REAL, hiddenAct: 'gelu' as const, labels: LABELS, ...config };
  for (const name of Object.keys(WHOLE) as (keyof typeof WHOLE)[]) {
    if (!Number.isSafeInteger(complete[name]) || complete[name] < 1)
      throw unfit('a whole number from 1 on', name, complete[name]);
  }
  for (const name of Object.keys(REAL) as (keyof typeof REAL)[]) {
    if (!(complete[name] >= 0 && complete[name] <= 1)) throw unfit('from 0 to 1', name, complete[name]);
  }
  if (!ACTIVATIONS.includes(complete.hiddenAct))
    throw unfit(ACTIVATIONS.join(' or '), 'hiddenAct', complete.hiddenAct);
  const { labels, hiddenSize, numAttentionHeads } = complete;
  if (!Array.isArray(labels) || labels.length === 0 || labels.some((label) => typeof label !== 'string'))
    throw unfit('names of classes', 'labels', labels);
  if (hiddenSize % numAttentionHeads !== 0)
    throw unfit(`a divisor of hiddenSize, which is ${hiddenSize},`, 'numAttentionHeads', numAttentionHeads);
  return complete;
}

/** By the name in `config.json`. */
const FILE_NAMES = Object.fromEntries(
  KEYS.filter((name) => name !== 'labels').map((name) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    name,
  ]),
);

/** The configuration in the content of a `config.json`. What is of no consequence for inference is not looked at. */
export function parseBertConfig(content: Readonly<Record<string, unknown>>): BertConfig {
  const { model_type: type, position_embedding_type: positions, id2label, num_labels: count } = content;
  if (type !== undefined && type !== 'bert') throw unfit('bert', 'model_type', type);
  if (positions !== undefined && positions !== 'absolute')
    throw unfit('absolute', 'position_embedding_type', positions);
  if (content['is_decoder'] === true) throw unfit('false', 'is_decoder', true);
  const known = Object.entries(FILE_NAMES).flatMap(([file, name]) =>
    content[file] === undefined || content[file] === null ? [] : [[name, content[file]]],
  );
  const config: BertConfig = Object.fromEntries(known);
  if (id2label !== undefined) config.labels = labelsOf(id2label);
  else if (Number.isSafeInteger(count))
    config.labels = Array.from({ length: count as number }, (_, i) => `LABEL_${i}`);
  return config;
}

/** The content of a `config.json`. */
export function formatBertConfig(
  config: Required<BertConfig>,
  architecture: string,
): Record<string, unknown> {
  const named = Object.entries(FILE_NAMES).map(([file, name]) => [file, config[name as keyof BertConfig]]);
  return {
    architectures: [architecture],
    model_type: 'bert',
    position_embedding_type: 'absolute',
    ...Object.fromEntries(named),
    id2label: Object.fromEntries(config.labels.map((label, i) => [i, label])),
    label2id: Object.fromEntries(config.labels.map((label, i) => [label, i])),
  };
}

function labelsOf(id2label: unknown): string[] {
  const entries = Object.entries((id2label ?? {}) as Record<string, string>);
  const labels: string[] = [];
  for (const [id, label] of entries) labels[Number(id)] = label;
  if (labels.length !== entries.length) throw unfit('labels of 0, 1, 2 and so on', 'id2label', id2label);
  return labels;
}

function unfit(expected: string, name: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} as ${name} of a BERT but received ${inspect(received)}.`,
  );
}
