import type { Tokenizer } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import { softmax } from '../ops/index.js';
import { type Compiled, compile } from '../program/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { BertForSequenceClassification } from './bert.js';
import { readBertForSequenceClassification } from './bert-file.js';
import { checkTokenizer, mapTexts, readFittingTokenizer, type TextOptions, takeRows } from './texts.js';

export interface TextClass {
  /** The name of the most probable class. */
  readonly label: string;
  /** Its probability. */
  readonly score: number;
  /** Of all classes, in the order of the model's labels. */
  readonly probabilities: Float32Array;
}

/** Says of texts which class they are of. */
export class TextClassifier {
  readonly model: BertForSequenceClassification;
  readonly tokenizer: Tokenizer;
  readonly #classify: Compiled<[Tensor, Tensor], Tensor>;

  constructor(model: BertForSequenceClassification, tokenizer: Tokenizer) {
    if (!(model instanceof BertForSequenceClassification)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a BertForSequenceClassification for TextClassifier but received ${typeof model}.`,
      );
    }
    checkTokenizer('TextClassifier', tokenizer, model.bert.config.maxPositionEmbeddings);
    this.model = model;
    this.tokenizer = tokenizer;
    this.#classify = compile((inputIds: Tensor, attentionMask: Tensor) =>
      softmax(model.forward(inputIds, { attentionMask })),
    );
  }

  /** The class of each text. */
  async classify(texts: readonly string[], options: TextOptions = {}): Promise<TextClass[]> {
    checkOptions('classify', options, ['batchSize']);
    const { model, tokenizer } = this;
    const most = model.bert.config.maxPositionEmbeddings;
    return mapTexts('classify', texts, options, { tokenizer, most }, async (inputIds, attentionMask) =>
      takeRows(await this.#classify(inputIds, attentionMask)).map((probabilities) => {
        const best = probabilities.indexOf(Math.max(...probabilities));
        return { label: model.labels[best]!, score: probabilities[best]!, probabilities };
      }),
    );
  }
}

/**
 * Reads a `TextClassifier` from a folder in Hugging Face's layout, frozen for inference: `config.json`, `model.safetensors`
 * and `tokenizer.json`. Texts are cut at the most tokens that model and tokenizer take, or at `maxLength`. Throws as
 * `readBertForSequenceClassification` and `readTokenizer` do.
 */
export async function readTextClassifier(
  folder: string,
  options: { maxLength?: number } = {},
): Promise<TextClassifier> {
  checkOptions('readTextClassifier', options, ['maxLength']);
  const model = await readBertForSequenceClassification(folder);
  return new TextClassifier(
    model.freeze(),
    await readFittingTokenizer(folder, model.bert.config.maxPositionEmbeddings, options.maxLength),
  );
}
