// Whether a build of ours is slower than another: what the pairs of measurements say.
import { median, medianInterval } from './statistics.mjs';

/** A change that matters. */
export const THRESHOLD = 0.05;

/**
 * Compares the times of two builds, measured in pairs: [{ before, after }] of { row: seconds }. For every row that both
 * have: { row, change, interval, verdict }. `change` is the median of the pairs' changes of time (0.1: a tenth slower),
 * `interval` holds it 99 times of 100 whatever the noise is like (medianInterval). The verdict is 'slower' or 'faster'
 * only where the whole interval is more than the threshold away: a change of over 5 %, beyond noise.
 */
export function compareBuilds(pairs, threshold = THRESHOLD) {
  const rows = Object.keys(pairs[0].after).filter((row) =>
    pairs.every(({ before, after }) => row in before && row in after),
  );
  return rows.map((row) => {
    const logs = pairs.map(({ before, after }) => Math.log(after[row] / before[row]));
    const interval = medianInterval(logs).map(Math.expm1);
    return { row, change: Math.expm1(median(logs)), interval, verdict: verdictOf(interval, threshold) };
  });
}

function verdictOf([low, high], threshold) {
  if (low > threshold) return 'slower';
  // As much faster as the other build would be slower.
  return high < 1 / (1 + threshold) - 1 ? 'faster' : 'same';
}
