/** erfc in double, to some 2e-15 relative: a series of positive terms under 0.75, Lentz's continued fraction beyond. */
function erfc(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x < 0) return 2 - erfc(-x);
  if (x > 28) return 0;
  if (x < 0.75) {
    let term = (2 * x) / Math.sqrt(Math.PI);
    let sum = term;
    // erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!
    for (let n = 1; term > sum * 1e-18; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - Math.exp(-x * x) * sum;
  }
  // erfc x = e^(−x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …
  let fraction = x;
  for (let n = 400; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

/** The normal distribution's Φ. */
export const phi = (x: number): number => erfc(-x / Math.SQRT2) / 2;
