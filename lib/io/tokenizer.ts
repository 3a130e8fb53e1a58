import { join } from 'node:path';
import { DrivetrainError } from '../native/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { readJson } from './json-file.js';
import { padSequences } from './pad.js';
import { checkCount } from './sampler.js';

/** An optional peer: a tokenizer in JavaScript alone, for the files of Hugging Face. */
const PACKAGE: string = '@huggingface/tokenizers';

/** What of it is used. */
interface Encoder {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  token_to_id(token: string): number | undefined;
}

/** What of `tokenizer_config.json` is used. */
interface Config {
  readonly model_max_length?: number;
  readonly pad_token?: string | { readonly content: string } | null;
}

export interface TokenizerOptions {
  /** Longer texts are cut at their end, special tokens counted; what the model was made for unless given. */
  maxLength?: number;
}

/** Configurations say "no limit" with some 10^30. */
const NO_LIMIT = 1e9;

/** Makes token numbers of texts, as `tokenizer.json` says. Made by `readTokenizer`. */
export class Tokenizer {
  /** The most tokens in a text, special ones counted; Infinity where there is no limit. */
  readonly maxLength: number;
  /** The number that fills batches up: that of the padding token, or 0. */
  readonly padId: number;
  readonly #encoder: Encoder;

  /** @internal */
  constructor(encoder: Encoder, { model_max_length = NO_LIMIT, pad_token }: Config, maxLength?: number) {
    this.#encoder = encoder;
    this.maxLength = maxLength ?? (model_max_length < NO_LIMIT ? model_max_length : Infinity);
    const padToken = typeof pad_token === 'object' ? pad_token?.content : pad_token;
    this.padId = (padToken === undefined ? undefined : encoder.token_to_id(padToken)) ?? 0;
  }

  /** The token numbers of a text, with the special ones that the model expects (such as [CLS] and [SEP]). */
  encode(text: string): number[] {
    const all = this.#encoder.encode(text, { add_special_tokens: true }).ids;
    const excess = all.length - this.maxLength;
    if (excess <= 0) return all;
    // The special ones stay: they stand round those of the text.
    const inner = this.#encoder.encode(text, { add_special_tokens: false }).ids;
    if (excess > inner.length) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected room for the ${all.length - inner.length} special tokens in maxLength but received ${this.maxLength}.`,
      );
    }
    const isInner = (at: number) => inner.every((id, i) => all[at + i] === id);
    let before = 0;
    while (!isInner(before)) before++;
    const end = before + inner.length;
    return [...all.slice(0, end - excess), ...all.slice(end)];
  }

  /** Texts as one batch: see `padSequences`. */
  batch(texts: readonly string[]): { inputIds: Tensor; attentionMask: Tensor } {
    const sequences = texts.map((text) => this.encode(text));
    return padSequences(sequences, { padId: this.padId });
  }

  /** The text of token numbers, without special ones. */
  decode(ids: ArrayLike<number>): string {
    return this.#encoder.decode(Array.from(ids), { skip_special_tokens: true });
  }
}

/**
 * Reads `tokenizer.json`, and `tokenizer_config.json` where there is one, from a model's folder. It needs the package
 * @huggingface/tokenizers, which is not installed with drivetrain: `DT_NOT_FOUND` where it is missing. Throws
 * `DT_CORRUPT_FILE`, `DT_NOT_FOUND`, `DT_IO`.
 */
export async function readTokenizer(folder: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
  checkOptions('readTokenizer', options, ['maxLength']);
  if (options.maxLength !== undefined) checkCount('maxLength', options.maxLength, 1);
  const path = join(folder, 'tokenizer.json');
  const definition = await readJson(path);
  const config: Config = await readJson(join(folder, 'tokenizer_config.json')).catch((error) => {
    if (error.code === 'DT_NOT_FOUND') return {};
    throw error;
  });
  const { Tokenizer: Implementation } = await importPackage();
  let encoder: Encoder;
  try {
    encoder = new Implementation(definition, config);
  } catch (error) {
    throw corrupt(path, (error as Error).message, error);
  }
  return new Tokenizer(encoder, config, options.maxLength);
}

async function importPackage(): Promise<{ Tokenizer: new (definition: object, config: object) => Encoder }> {
  try {
    return await import(PACKAGE);
  } catch (error) {
    throw new DrivetrainError(
      'DT_NOT_FOUND',
      `Expected the package ${PACKAGE} for readTokenizer but it could not be loaded (${(error as Error).message}); npm install ${PACKAGE}.`,
      { cause: error },
    );
  }
}

function corrupt(path: string, reason: string, cause?: unknown): DrivetrainError {
  return new DrivetrainError('DT_CORRUPT_FILE', `${path} is no sound definition of a tokenizer: ${reason}.`, {
    cause,
  });
}
