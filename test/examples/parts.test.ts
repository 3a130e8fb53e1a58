import { describe, expect, test } from 'vitest';

const load = (file: string) => import(new URL(`../../build/examples/${file}.js`, import.meta.url).href);
const { samplesOf } = await load('text-classifier/marks');
const { loadAddresses, splitAddresses } = await load('text-classifier/addresses');
const { trainWordPieces } = await load('text-classifier/word-pieces');
const { mcNemar, wilson } = await load('text-classifier/statistics');
const { byTfIdf, recallOf } = await load('embeddings/retrieval');
const { pairsOf } = await load('embeddings/sentences');

describe('texts', () => {
  test('labels are the marks that stood there, and no text shows one', () => {
    const text =
      'Mr. Adams, who came late, said: "Go on." Then he left; nobody asked why. It rained in the U.S. Army camp.';
    const samples = samplesOf([{ name: 'one', text }], 100, 1);
    const labelsOf = (label: number) =>
      samples
        .filter((sample: { label: number }) => sample.label === label)
        .map((sample: { text: string }) => sample.text.match(/(\S+) \[MASK\]/)![1]);
    expect(labelsOf(1)).toEqual(['adams', 'late']);
    expect(labelsOf(2)).toEqual(['said', 'on', 'left', 'why']);
    expect(labelsOf(0)).not.toContain('mr'); // its full stop is no end, nor is there nothing
    for (const sample of samples) expect(sample.text).toMatch(/^[a-z' -]*\[MASK\][a-z' -]*$/);
  });

  test('an address is in one part of the split, and all are in it', async () => {
    const addresses = await loadAddresses();
    const { train, validation, test: held } = splitAddresses(addresses, 1);
    const names = [...train, ...validation, ...held].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBe(addresses.length);
  });

  test('word pieces are merged most frequent first', () => {
    // "ab" stands side by side five times, "abc" three times.
    const pieces: string[] = trainWordPieces(['abc abc abc ab ab xb'], 12);
    expect(pieces.slice(5)).toEqual(['##b', '##c', 'a', 'x', 'ab', 'abc', 'xb']);
  });

  test('pairs are of sentences that follow each other, and share none', () => {
    const sentence = (n: number) => `This is the sentence of number ${n}.`;
    const text = [1, 2, 3, 4].map(sentence).join(' ').concat(' Too short. ', [5, 6].map(sentence).join(' '));
    const pairs = pairsOf([{ name: 'one', text }], 2);
    expect(
      pairs.map((pair: { text: string }[]) => pair.map(({ text }) => Number(text.match(/\d/)![0]))),
    ).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
  });
});

describe('figures', () => {
  test('Wilson’s interval', () => {
    // Newcombe, Statistics in Medicine 17 (1998), 857, table I: 81 of 263 and 0 of 20.
    expect(wilson(81, 263).map((x: number) => x.toFixed(4))).toEqual(['0.2553', '0.3662']);
    expect(wilson(0, 20)[1]).toBeCloseTo(0.1611, 4);
  });

  test('McNemar’s test', () => {
    const first = [...Array(12).fill(true), ...Array(5).fill(false), true, false];
    const second = [...Array(12).fill(false), ...Array(5).fill(true), true, false];
    expect(mcNemar(first, second)).toEqual({ onlyFirst: 12, onlySecond: 5, chi2: 36 / 17 });
  });

  test('recall counts equals as misses, and tf-idf finds shared rare words', () => {
    expect(recallOf(20, () => 1)).toEqual({ at1: 0, at10: 0 });
    expect(recallOf(20, (query: number, candidate: number) => -Math.abs(query - candidate))).toEqual({
      at1: 1,
      at10: 1,
    });
    const [queries, candidates] = [
      ['the cat', 'the dog'],
      ['the the cat', 'the the dog'],
    ];
    expect(recallOf(2, byTfIdf(queries, candidates, ['the cat', 'the dog', 'the'])).at1).toBe(1);
  });
});
