/**
 * The Rényi divergence of order α between what a step of DP-SGD gives with one sample more and with one fewer, the worse
 * of the two: that of the sampled Gaussian mechanism with sampling rate q and noise σ (in units of the clipping norm).
 *
 *   ε(α) = ln A / (α − 1),  A = E[((1 − q) + q · exp((2z − 1) / 2σ²))^α],  z ~ N(0, σ²)
 *
 * Mironov, Talwar and Zhang, arXiv:1908.10530, equations 4 to 6. The expectation is summed by the trapezoid rule, whose
 * error falls exponentially with the step: the integrand is analytic within πσ² of the real line. It is two normal densities,
 * around 0 and around α, of which the one holds below and the other above the z where both terms are equal: what is 12 σ from
 * all three is some e^-72 of the whole, and left out.
 */
export function sampledGaussianRdp(sampleRate: number, noise: number, order: number): number {
  if (sampleRate === 0) return 0;
  if (noise === 0) return Infinity;
  if (sampleRate === 1) return order / (2 * noise ** 2);
  const variance = noise ** 2;
  const step = Math.min(noise / 8, variance / 4);
  const [logRest, logRate] = [Math.log1p(-sampleRate), Math.log(sampleRate)];
  const logAt = (z: number) =>
    order * logAddExp(logRest, logRate + (2 * z - 1) / (2 * variance)) - (z * z) / (2 * variance);
  const equal = 0.5 + variance * (logRest - logRate);
  const ranges = apart([0, order, Math.min(Math.max(equal, 0), order)], 12 * noise);
  // Of the sums of exponentials the largest term is taken out: A has hundreds of digits for large orders.
  let [largest, sum] = [-Infinity, 0];
  for (const [first, last] of ranges) {
    for (let i = 0, count = Math.ceil((last - first) / step); i <= count; i++) {
      const term = logAt(first + i * step);
      if (term > largest) [sum, largest] = [sum * Math.exp(largest - term), term];
      sum += Math.exp(term - largest);
    }
  }
  const logA = largest + Math.log((sum * step) / (noise * Math.sqrt(2 * Math.PI)));
  return Math.max(0, logA) / (order - 1);
}

/** The ranges within `reach` of the centres, those that overlap as one. */
function apart(centres: readonly number[], reach: number): [first: number, last: number][] {
  const ranges: [first: number, last: number][] = [];
  for (const centre of centres.toSorted((a, b) => a - b)) {
    const before = ranges.at(-1);
    if (before !== undefined && centre - reach <= before[1]) before[1] = centre + reach;
    else ranges.push([centre - reach, centre + reach]);
  }
  return ranges;
}

/** ln(e^a + e^b). */
function logAddExp(a: number, b: number): number {
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}
