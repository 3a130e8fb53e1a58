// Plain statistics of measurements.

export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/**
 * An interval that holds the median of what the values were drawn from, whatever the distribution: from the `rank`th
 * smallest to the `rank`th largest, where `rank` is the largest that still leaves out the median at most `error` of the
 * time on either side (the tail of a binomial with p = ½). Fewer values than that takes give the whole line.
 */
export function medianInterval(values, error = 0.005) {
  const n = values.length;
  let rank = 0;
  let choose = 1;
  for (let tail = 2 ** -n; tail <= error && rank < n / 2; tail += choose * 2 ** -n) {
    rank++;
    choose = (choose * (n - rank + 1)) / rank;
  }
  if (rank === 0) return [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const sorted = Float64Array.from(values).sort();
  return [sorted[rank - 1], sorted[n - rank]];
}
