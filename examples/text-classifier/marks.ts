import { shuffled } from '../digits/data.js';
import type { Address } from './addresses.js';

/** What may stand between two words: nothing, a comma, or a mark that ends a clause (. ; : ! ?). */
export const MARKS = ['nothing', 'comma', 'end'] as const;

/** Stands for the place that is asked about. */
export const GAP = '[MASK]';

/** Words on either side of the place. */
const CONTEXT = 12;

export interface Sample {
  /** Words without capitals and marks, as of a speech that was heard, with [MASK] at the place that is asked about. */
  readonly text: string;
  /** Of MARKS, by number. */
  readonly label: number;
  /** The name of the address that it is from. */
  readonly address: string;
}

const WORD = /[a-z]+(?:['’-][a-z]+)*|\d+(?:[.,]\d+)*/gi;
/** A full stop after these, or after one letter, may belong to the word. */
const ABBREVIATION = /^(?:[a-z]|mr|mrs|ms|dr|messrs|gen|gov|hon|no|nos|st|vs|etc|art|sec|col|lt|jr|sr)$/i;

interface Words {
  readonly words: readonly string[];
  /** What stands after each word: the number of a mark, or undefined where it is something else or not certain. */
  readonly marks: readonly (number | undefined)[];
}

/** As many samples of each mark, drawn by the seed, those of one address one after another. */
export function samplesOf(addresses: readonly Address[], perMark: number, seed: number): Sample[] {
  const read = addresses.map(wordsOf);
  const chosen = MARKS.flatMap((_, label) => {
    const places = read.flatMap(({ marks }, address) =>
      [...marks.keys()].filter((i) => marks[i] === label).map((i) => ({ address, i, label })),
    );
    return Array.from(shuffled(places.length, seed).subarray(0, perMark), (place) => places[place]!);
  });
  chosen.sort((a, b) => a.address - b.address || a.i - b.i);
  return chosen.map(({ address, i, label }) => ({
    text: textRound(read[address]!.words, i),
    label,
    address: addresses[address]!.name,
  }));
}

function textRound(words: readonly string[], i: number): string {
  const before = words.slice(Math.max(0, i + 1 - CONTEXT), i + 1);
  return [...before, GAP, ...words.slice(i + 1, i + 1 + CONTEXT)].join(' ');
}

function wordsOf({ text }: Address): Words {
  const found = [...text.matchAll(WORD)];
  const words = found.map(([word]) => word.toLowerCase().replaceAll('’', "'"));
  const marks = found.map((match, i) => {
    const next = found[i + 1];
    return next && markOf(match[0], text.slice(match.index + match[0].length, next.index), next[0]);
  });
  return { words, marks };
}

function markOf(word: string, between: string, next: string): number | undefined {
  const plain = between.replace(/["“”]/g, '');
  if (plain === ' ') return 0;
  if (plain === ', ') return 1;
  if (plain === '; ' || plain === ': ') return 2;
  // A number, or a word with a capital: no sentence begins with another.
  const isEnd = /^[.!?] +$/.test(plain) && /^[A-Z\d]/.test(next);
  return isEnd && !(plain.startsWith('.') && ABBREVIATION.test(word)) ? 2 : undefined;
}
