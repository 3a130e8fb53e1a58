/**
 * The Rényi divergence of order α between what a step of DP-SGD gives with one sample more and with one fewer, the worse
 * of the two: that of the sampled Gaussian mechanism with sampling rate q and noise σ (in units of the clipping norm).
 *
 *   ε(α) = ln A / (α − 1),  A = E[((1 − q) + q · exp((2z − 1) / 2σ²))^α],  z ~ N(0, σ²)
 *
 * Mironov, Talwar and Zhang, arXiv:1908.10530, equations 4 to 6. The expectation is summed by the trapezoid rule, whose
 * error falls exponentially with the step: the integrand is analytic within πσ² of the real line and falls as a normal
 * density around its peaks between 0 and α.
 */
export function sampledGaussianRdp(sampleRate: number, noise: number, order: number): number {
  if (sampleRate === 0) return 0;
  if (noise === 0) return Infinity;
  if (sampleRate === 1) return order / (2 * noise ** 2);
  const variance = noise ** 2;
  const step = Math.min(noise / 8, variance / 4);
  const [first, last] = [-12 * noise, order + 12 * noise];
  const [logRest, logRate] = [Math.log1p(-sampleRate), Math.log(sampleRate)];
  const logAt = (z: number) =>
    order * logAddExp(logRest, logRate + (2 * z - 1) / (2 * variance)) - (z * z) / (2 * variance);
  // Of the sums of exponentials the largest term is taken out: A has hundreds of digits for large orders.
  let [largest, sum] = [-Infinity, 0];
  for (let i = 0, count = Math.ceil((last - first) / step); i <= count; i++) {
    const term = logAt(first + i * step);
    if (term > largest) [sum, largest] = [sum * Math.exp(largest - term), term];
    sum += Math.exp(term - largest);
  }
  const logA = largest + Math.log((sum * step) / (noise * Math.sqrt(2 * Math.PI)));
  return Math.max(0, logA) / (order - 1);
}

/** ln(e^a + e^b). */
function logAddExp(a: number, b: number): number {
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}
