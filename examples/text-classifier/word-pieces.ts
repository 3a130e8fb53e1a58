/** Special tokens, by number: what fills up, what is unknown, what begins and ends a text, and the place asked about. */
export const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] as const;

/** Two pieces that stand side by side. */
interface Pair {
  readonly left: string;
  readonly right: string;
  count: number;
  /** The words that have it, by number. */
  readonly words: Set<number>;
}

/**
 * A vocabulary of `size` word pieces: characters at first, then the two pieces that stand side by side most often become one,
 * over and over (Sennrich and others, arXiv:1508.07909). Pieces inside a word begin with ##, as BERT's (Devlin and others,
 * arXiv:1810.04805).
 */
export function trainWordPieces(texts: readonly string[], size: number): string[] {
  const words = countWords(texts);
  const counts = [...words.values()];
  const split = [...words.keys()].map((word) => Array.from(word, (c, i) => (i === 0 ? c : `##${c}`)));
  const vocabulary = new Set<string>([...SPECIAL, ...[...new Set(split.flat())].sort()]);
  const pairs = new Map<string, Pair>();
  const note = (word: number, sign: 1 | -1) => {
    const pieces = split[word]!;
    for (let i = 0; i + 1 < pieces.length; i++) {
      const [left, right] = [pieces[i]!, pieces[i + 1]!];
      const key = `${left} ${right}`;
      const pair = pairs.get(key) ?? { left, right, count: 0, words: new Set() };
      pair.count += sign * counts[word]!;
      pair.words.add(word);
      pairs.set(key, pair);
    }
  };
  split.forEach((_, word) => {
    note(word, 1);
  });
  while (vocabulary.size < size) {
    let [bestKey, best]: [string, Pair | undefined] = ['', undefined];
    for (const [key, pair] of pairs) {
      if (best === undefined || pair.count > best.count || (pair.count === best.count && key < bestKey)) {
        [bestKey, best] = [key, pair];
      }
    }
    if (best === undefined || best.count < 1) break;
    const { left, right } = best;
    const merged = left + right.slice(2);
    vocabulary.add(merged);
    for (const word of best.words) {
      note(word, -1);
      split[word] = mergeIn(split[word]!, left, right, merged);
      note(word, 1);
    }
    pairs.delete(bestKey);
  }
  return [...vocabulary];
}

/** How often each word occurs; a punctuation mark is a word of its own, as it is to the tokenizer. */
function countWords(texts: readonly string[]): Map<string, number> {
  const words = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.toLowerCase().matchAll(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu)) {
      words.set(word, (words.get(word) ?? 0) + 1);
    }
  }
  return words;
}

function mergeIn(pieces: readonly string[], left: string, right: string, merged: string): string[] {
  const result: string[] = [];
  for (let i = 0; i < pieces.length; i++) {
    if (pieces[i] === left && pieces[i + 1] === right) {
      result.push(merged);
      i++;
    } else {
      result.push(pieces[i]!);
    }
  }
  return result;
}

/** The content of `tokenizer.json`, in the format of Hugging Face's tokenizers: BERT's kind, without capitals. */
export function tokenizerJson(vocabulary: readonly string[]): object {
  const special = (id: number) => ({ SpecialToken: { id: SPECIAL[id], type_id: 0 } });
  const [CLS, SEP] = [2, 3];
  const used = (id: number) => ({ id: SPECIAL[id], ids: [id], tokens: [SPECIAL[id]] });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [special(CLS), { Sequence: { id: 'A', type_id: 0 } }, special(SEP)],
      pair: [
        special(CLS),
        { Sequence: { id: 'A', type_id: 0 } },
        special(SEP),
        { Sequence: { id: 'B', type_id: 1 } },
        special(SEP),
      ],
      special_tokens: { '[CLS]': used(CLS), '[SEP]': used(SEP) },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(vocabulary.map((piece, id) => [piece, id])),
    },
  };
}
