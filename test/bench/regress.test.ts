import { expect, test } from 'vitest';
import { compareBuilds } from '../../bench/regress.mjs';

/** Twelve pairs in which `factors` are the ratios of the times after to those before. */
const pairs = (row: string, factors: readonly number[]) =>
  factors.map((factor, i) => ({ before: { [row]: 1 + i / 10 }, after: { [row]: (1 + i / 10) * factor } }));

const repeat = (...factors: number[]) => Array.from({ length: 12 }, (_, i) => factors[i % factors.length]!);

const verdict = (...factors: number[]) => compareBuilds(pairs('row', repeat(...factors)))[0]!.verdict;

test('equal builds are the same, whatever their noise', () => {
  expect(verdict(1)).toBe('same');
  expect(verdict(0.8, 1.25, 1, 1.1, 0.9)).toBe('same');
});

test('a drift of the machine that both builds meet alike is no change', () => {
  const drift = Array.from({ length: 12 }, (_, i) => ({ before: { row: 2 ** i }, after: { row: 2 ** i } }));
  expect(compareBuilds(drift)).toMatchObject([{ change: 0, verdict: 'same' }]);
});

test('a build that is slower by a tenth is slower, within less noise than that', () => {
  expect(verdict(1.1)).toBe('slower');
  expect(verdict(1.08, 1.1, 1.12)).toBe('slower');
});

test('a change of less than 5 % is none, however certain', () => {
  expect(verdict(1.04)).toBe('same');
  expect(verdict(0.96)).toBe('same');
});

test('a change that noise could explain is none, however large', () => {
  expect(verdict(0.9, 1.5, 1.3)).toBe('same');
});

test('one outlier hides nothing and makes nothing', () => {
  expect(compareBuilds(pairs('row', [...repeat(1.1).slice(1), 0.1]))[0]!.verdict).toBe('slower');
  expect(compareBuilds(pairs('row', [...repeat(1).slice(1), 9]))[0]!.verdict).toBe('same');
});

test('a faster build is named as well', () => {
  expect(verdict(0.8)).toBe('faster');
});

test('rows that one build lacks in any round are left out', () => {
  const [first, ...others] = pairs('row', repeat(1));
  expect(compareBuilds([{ before: {}, after: first!.after }, ...others])).toEqual([]);
  expect(compareBuilds([{ before: { row: 1, gone: 1 }, after: { row: 1, fresh: 1 } }])).toMatchObject([
    { row: 'row' },
  ]);
});
