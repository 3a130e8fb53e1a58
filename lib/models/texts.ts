import { padSequences, readTokenizer, type Tokenizer } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import type { Tensor } from '../tensor/index.js';

export interface TextOptions {
  /** Texts that go through the model together; 32 unless given. */
  batchSize?: number;
}

/** Batches are as long as a multiple of this, so that few programs are recorded: 32 for 512 tokens. */
const LENGTHS = 16;

/**
 * Calls `run` on batches of texts, those of like length together, and gives what it makes of each text, in the order of the
 * texts. `most` is the most tokens that the model takes.
 */
export async function mapTexts<T>(
  name: string,
  texts: readonly string[],
  { batchSize = 32 }: TextOptions,
  { tokenizer, most }: { tokenizer: Tokenizer; most: number },
  run: (inputIds: Tensor, attentionMask: Tensor) => Promise<T[]>,
): Promise<T[]> {
  if (!Array.isArray(texts) || texts.some((text) => typeof text !== 'string'))
    throw invalid(`an array of strings for ${name}`, typeof texts);
  if (!Number.isSafeInteger(batchSize) || batchSize < 1)
    throw invalid(`a whole number from 1 on as batchSize of ${name}`, String(batchSize));
  // Token numbers are made batch by batch, so that the event loop turns between them.
  const order = [...texts.keys()].sort((a, b) => texts[a]!.length - texts[b]!.length);
  const results: T[] = new Array(texts.length);
  for (let begin = 0; begin < order.length; begin += batchSize) {
    const batch = order.slice(begin, begin + batchSize);
    const sequences = batch.map((i) => tokenizer.encode(texts[i]!));
    const longest = Math.max(...sequences.map(({ length }) => length));
    const padToMultipleOf = Math.ceil(longest / LENGTHS) * LENGTHS <= most ? LENGTHS : 1;
    const { inputIds, attentionMask } = padSequences(sequences, { padId: tokenizer.padId, padToMultipleOf });
    try {
      const found = await run(inputIds, attentionMask);
      batch.forEach((i, row) => {
        results[i] = found[row]!;
      });
    } finally {
      inputIds.dispose();
      attentionMask.dispose();
    }
  }
  return results;
}

/** Refuses a tokenizer whose texts may be longer than the model takes. */
export function checkTokenizer(name: string, tokenizer: Tokenizer, most: number): void {
  if (typeof tokenizer?.encode !== 'function') throw invalid(`a tokenizer for ${name}`, typeof tokenizer);
  if (tokenizer.maxLength <= most) return;
  throw invalid(
    `a tokenizer that cuts texts at ${most} tokens for ${name}, as readTokenizer(folder, { maxLength: ${most} }) gives,`,
    `one with maxLength ${tokenizer.maxLength}`,
  );
}

/** The tokenizer of a folder. Texts are cut at `maxLength` where it is given, and at `most` tokens in any case. */
export async function readFittingTokenizer(
  folder: string,
  most: number,
  maxLength: number | undefined,
): Promise<Tokenizer> {
  const tokenizer = await readTokenizer(folder, maxLength === undefined ? {} : { maxLength });
  return tokenizer.maxLength <= most ? tokenizer : readTokenizer(folder, { maxLength: most });
}

/** The rows of a result, as copies; frees it. */
export function takeRows(result: Tensor): Float32Array[] {
  const [rows, width] = result.shape as [number, number];
  const all = result.toArray() as Float32Array;
  result.dispose();
  return Array.from({ length: rows }, (_, i) => all.slice(i * width, (i + 1) * width));
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} but received ${received}.`);
}
