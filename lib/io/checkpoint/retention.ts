import { DrivetrainError } from '../../native/index.js';
import { checkOptions } from '../../tensor/index.js';
import type { CheckpointInfo } from './manifest.js';

export interface RetentionOptions {
  /** How many of the newest are kept; 3 unless given. */
  maxToKeep?: number;
  /** Those whose step is a multiple of this are kept besides. */
  keepPeriod?: number;
  /** The best by a metric are kept besides: the least of it (`min`, unless given) or the largest; one unless `count` is given. */
  best?: { readonly metric: string; readonly mode?: 'min' | 'max'; readonly count?: number };
}

export function checkRetention(options: RetentionOptions): void {
  checkOptions('CheckpointManager', options, ['maxToKeep', 'keepPeriod', 'best']);
  const { maxToKeep = 3, keepPeriod = 1, best } = options;
  const refuse = (what: string, value: unknown) => {
    throw new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${what} but received ${String(value)}.`);
  };
  const isCount = (value: number) => value === Infinity || (Number.isSafeInteger(value) && value > 0);
  if (!isCount(maxToKeep)) refuse('a whole number above 0 for maxToKeep', maxToKeep);
  if (!isCount(keepPeriod)) refuse('a whole number above 0 for keepPeriod', keepPeriod);
  if (best === undefined) return;
  checkOptions('best of CheckpointManager', best, ['metric', 'mode', 'count']);
  if (typeof best.metric !== 'string') refuse('the name of a metric for best', best.metric);
  if (!['min', 'max', undefined].includes(best.mode)) refuse("'min' or 'max' for best.mode", best.mode);
  if (!isCount(best.count ?? 1)) refuse('a whole number above 0 for best.count', best.count);
}

/** The best first; those without the metric, or with NaN, are left out. */
export function byMetric<C extends CheckpointInfo>(
  checkpoints: readonly C[],
  { metric, mode = 'min' }: NonNullable<RetentionOptions['best']>,
): C[] {
  const sign = mode === 'min' ? 1 : -1;
  return checkpoints
    .filter(({ metrics }) => metrics[metric] !== undefined && !Number.isNaN(metrics[metric]))
    .sort((a, b) => sign * (a.metrics[metric]! - b.metrics[metric]!));
}

/** Of checkpoints, newest first, those that may go. */
export function expired<C extends CheckpointInfo>(
  checkpoints: readonly C[],
  { maxToKeep = 3, keepPeriod, best }: RetentionOptions,
): C[] {
  const kept = new Set(checkpoints.slice(0, maxToKeep));
  if (best !== undefined)
    for (const one of byMetric(checkpoints, best).slice(0, best.count ?? 1)) kept.add(one);
  return checkpoints.filter(
    (one) => !kept.has(one) && !(keepPeriod !== undefined && one.step % keepPeriod === 0),
  );
}
