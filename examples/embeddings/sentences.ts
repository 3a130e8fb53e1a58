import type { Address } from '../text-classifier/addresses.js';

export interface Sentence {
  readonly text: string;
  /** The name of the address that it is from. */
  readonly address: string;
}

/** Two sentences of which one follows the other. */
export type Pair = readonly [before: Sentence, after: Sentence];

/** Sentences of fewer or more words are left out: of fewer there is little to say, the longer are enumerations. */
const [FEWEST, MOST] = [6, 50];

/** The sentences of an address in order; one that is left out ends a run of sentences that follow each other. */
function runsOf({ name, text }: Address): Sentence[][] {
  const runs: Sentence[][] = [[]];
  // A sentence ends at a mark before a space and a capital, but not after a capital or a title, as in "Mr. J. Adams".
  for (const piece of text.split(
    /(?<=[.!?]["”]?)(?<!\b(?:[A-Z]|Mr|Mrs|Dr|Messrs|Gen|Hon|No|St)\.)\s+(?=["“]?[A-Z])/,
  )) {
    const words = piece.split(/\s+/).length;
    if (words < FEWEST || words > MOST) runs.push([]);
    else runs.at(-1)!.push({ text: piece.trim(), address: name });
  }
  return runs;
}

export function sentencesOf(addresses: readonly Address[]): Sentence[] {
  return addresses.flatMap((address) => runsOf(address).flat());
}

/** Each sentence and the one after it; with `step` 2, no sentence is in two pairs. */
export function pairsOf(addresses: readonly Address[], step: 1 | 2): Pair[] {
  return addresses.flatMap((address) =>
    runsOf(address).flatMap((run) =>
      run
        .slice(1)
        .map((after, i): Pair => [run[i]!, after])
        .filter((_, i) => i % step === 0),
    ),
  );
}
