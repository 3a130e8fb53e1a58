// The same work in plain JavaScript, written as one would who cares for speed.

export function jsAdd(a, b, out) {
  for (let i = 0; i < out.length; i++) out[i] = a[i] + b[i];
}

/** c = a · b for square row-major matrices; rows of b in the inner loop, so that memory is read in order. */
export function jsMatmul(a, b, c, n) {
  c.fill(0);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      const x = a[i * n + k];
      for (let j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
    }
  }
}

export function jsAdamW(state, gradients, lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.01) {
  const { weights, m, v } = state;
  const t = ++state.step;
  const rate = lr / (1 - beta1 ** t);
  const root = Math.sqrt(1 - beta2 ** t);
  for (let i = 0; i < weights.length; i++) {
    const g = gradients[i];
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    weights[i] = weights[i] * (1 - lr * decay) - (rate * m[i]) / (Math.sqrt(v[i]) / root + eps);
  }
}
