/** How like each other two texts of a collection are, by their numbers: a query and a candidate. */
export type Likeness = (query: number, candidate: number) => number;

export interface Recall {
  /** Of the queries, how many have their answer first. */
  readonly at1: number;
  /** Among the first ten. */
  readonly at10: number;
}

/** Query i is answered by candidate i, of as many; equals are counted as before the answer. */
export function recallOf(count: number, likeness: Likeness): Recall {
  let [at1, at10] = [0, 0];
  for (let query = 0; query < count; query++) {
    const own = likeness(query, query);
    let before = 0;
    for (let other = 0; other < count; other++)
      if (other !== query && likeness(query, other) >= own) before++;
    if (before < 1) at1++;
    if (before < 10) at10++;
  }
  return { at1: at1 / count, at10: at10 / count };
}

export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** The cosine of vectors of length 1. */
export function byVectors(queries: readonly Float32Array[], candidates: readonly Float32Array[]): Likeness {
  return (query, candidate) => dot(queries[query]!, candidates[candidate]!);
}

/**
 * The cosine of bags of words, each word weighed by how rare it is among `texts`: (1 + log tf) · log(n / df). Salton and
 * Buckley, Information Processing & Management 24 (1988), 513.
 */
export function byTfIdf(
  queries: readonly string[],
  candidates: readonly string[],
  texts: readonly string[],
): Likeness {
  const found = new Map<string, number>();
  for (const text of texts)
    for (const word of new Set(wordsOf(text))) found.set(word, (found.get(word) ?? 0) + 1);
  const bag = (text: string) => {
    const counts = new Map<string, number>();
    for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
    const weights = [...counts].map(([word, count]): [string, number] => [
      word,
      (1 + Math.log(count)) * Math.log((1 + texts.length) / (1 + (found.get(word) ?? 0))),
    ]);
    const norm = Math.hypot(...weights.map(([, weight]) => weight)) || 1;
    return new Map(weights.map(([word, weight]) => [word, weight / norm]));
  };
  const [asked, given] = [queries.map(bag), candidates.map(bag)];
  return (query, candidate) => {
    let sum = 0;
    for (const [word, weight] of asked[query]!) sum += weight * (given[candidate]!.get(word) ?? 0);
    return sum;
  };
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}
