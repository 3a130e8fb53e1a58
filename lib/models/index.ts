export {
  BertForSequenceClassification,
  type BertInputs,
  BertLayer,
  BertModel,
  type BertOptions,
} from './bert.js';
export type { BertConfig } from './bert-config.js';
export { readBertForSequenceClassification, readBertModel, writeBert } from './bert-file.js';
export { readTextClassifier, type TextClass, TextClassifier } from './text-classifier.js';
export {
  type ReadTextEmbedderOptions,
  readTextEmbedder,
  TextEmbedder,
  type TextEmbedderOptions,
} from './text-embedder.js';
export type { TextOptions } from './texts.js';
