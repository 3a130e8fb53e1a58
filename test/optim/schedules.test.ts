import { CosineAnnealingLR, SGD, WarmupCosineLR } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { golden, refusalOf } from '../ops/support.js';

interface Case {
  readonly lr: readonly number[];
  /** Of each group, before the first step and after each. */
  readonly rates: readonly (readonly number[])[];
  readonly tMax: number;
  readonly etaMin?: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  readonly floor: number;
}

const cases = golden<Record<string, Case>>('optim/schedules.json');
const optimizerOf = (rates: readonly number[]) =>
  new SGD(
    rates.map((lr) => ({ params: [new Float32Array(1)], lr })),
    { lr: 1 },
  );

describe.each(Object.entries(cases))('%s', (_, one) => {
  test('sets PyTorch’s learning rates, for every group', () => {
    const optimizer = optimizerOf(one.lr);
    const { tMax, etaMin, warmupSteps, totalSteps, floor } = one;
    const schedule =
      tMax !== undefined
        ? new CosineAnnealingLR(optimizer, etaMin === undefined ? { tMax } : { tMax, etaMin })
        : new WarmupCosineLR(optimizer, { warmupSteps, totalSteps, floor });
    one.rates.forEach((rates, step) => {
      expect(schedule.steps).toBe(step);
      optimizer.paramGroups.forEach((group, i) => {
        // PyTorch's recurrence gathers some roundings of the largest rate at every step.
        expect(Math.abs(group.lr - rates[i]!)).toBeLessThan(1e-13 * one.lr[i]! + 1e-300);
      });
      schedule.step();
    });
  });
});

test('a warm-up of no steps begins at the full rate', () => {
  const optimizer = optimizerOf([0.5]);
  new WarmupCosineLR(optimizer, { warmupSteps: 0, totalSteps: 10 });
  expect(optimizer.paramGroups[0]!.lr).toBe(0.5);
});

test.each<[string, (optimizer: SGD) => unknown]>([
  ['tMax of 0', (o) => new CosineAnnealingLR(o, { tMax: 0 })],
  ['a fractional tMax', (o) => new CosineAnnealingLR(o, { tMax: 1.5 })],
  ['etaMin of NaN', (o) => new CosineAnnealingLR(o, { tMax: 5, etaMin: NaN })],
  ['a negative etaMin', (o) => new CosineAnnealingLR(o, { tMax: 5, etaMin: -1 })],
  ['a negative warm-up', (o) => new WarmupCosineLR(o, { warmupSteps: -1, totalSteps: 10 })],
  ['a warm-up as long as everything', (o) => new WarmupCosineLR(o, { warmupSteps: 10, totalSteps: 10 })],
  ['a floor of NaN', (o) => new WarmupCosineLR(o, { warmupSteps: 0, totalSteps: 10, floor: NaN })],
  ['a floor above 1', (o) => new WarmupCosineLR(o, { warmupSteps: 0, totalSteps: 10, floor: 1.5 })],
])('%s is refused and leaves the rates alone', (_, make) => {
  const optimizer = optimizerOf([0.1, 0.2]);
  expect(refusalOf(() => make(optimizer)).code).toBe('DT_INVALID_ARGUMENT');
  expect(optimizer.paramGroups.map(({ lr }) => lr)).toEqual([0.1, 0.2]);
});
