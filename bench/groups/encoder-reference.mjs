// The states of one sequence after an encoder as Devlin and others have it (arXiv:1810.04805), in double precision.

const EPS = 1e-12;

/** rows [n, inputs] by weight [outputs, inputs], and a bias. */
function linear(rows, weight, bias, inputs) {
  const [n, outputs] = [rows.length / inputs, bias.length];
  const out = new Float64Array(n * outputs);
  for (let i = 0; i < n; i++)
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let p = 0; p < inputs; p++) sum += rows[i * inputs + p] * weight[o * inputs + p];
      out[i * outputs + o] = sum;
    }
  return out;
}

function layerNorm(x, gamma, beta) {
  const width = gamma.length;
  for (let from = 0; from < x.length; from += width) {
    let [mean, square] = [0, 0];
    for (let i = 0; i < width; i++) mean += x[from + i] / width;
    for (let i = 0; i < width; i++) square += (x[from + i] - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(square + EPS);
    for (let i = 0; i < width; i++) x[from + i] = (x[from + i] - mean) * scale * gamma[i] + beta[i];
  }
  return x;
}

/** The error function by its series, and beyond 3 by its continued fraction: within 1e-12. */
function erf(x) {
  const a = Math.abs(x);
  let value;
  if (a < 3) {
    let [term, sum] = [a, a];
    for (let n = 1; n < 60; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    value = (2 / Math.sqrt(Math.PI)) * sum;
  } else {
    let fraction = 0;
    for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
    value = 1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction));
  }
  return Math.sign(x) * value;
}

function attend(projected, length, heads, hidden) {
  const width = hidden / heads;
  const out = new Float64Array(length * hidden);
  const at = (part, row, head, d) => projected[row * 3 * hidden + part * hidden + head * width + d];
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < length; i++) {
      const scores = Array.from({ length }, (_, j) => {
        let dot = 0;
        for (let d = 0; d < width; d++) dot += at(0, i, head, d) * at(1, j, head, d);
        return dot / Math.sqrt(width);
      });
      const max = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - max));
      const total = weights.reduce((a, b) => a + b);
      for (let d = 0; d < width; d++) {
        let sum = 0;
        for (let j = 0; j < length; j++) sum += weights[j] * at(2, j, head, d);
        out[i * hidden + head * width + d] = sum / total;
      }
    }
  return out;
}

export function encoderReference(tokens, arrays, { hidden, layers, heads, intermediate }) {
  const table = (name) => arrays[`embeddings.${name}Embeddings.weight`];
  const norm = (x, name) => layerNorm(x, arrays[`${name}.weight`], arrays[`${name}.bias`]);
  const dense = (x, name, inputs) => linear(x, arrays[`${name}.weight`], arrays[`${name}.bias`], inputs);
  const embedded = new Float64Array(tokens.length * hidden);
  tokens.forEach((token, row) => {
    for (let i = 0; i < hidden; i++)
      embedded[row * hidden + i] =
        table('word')[token * hidden + i] + table('position')[row * hidden + i] + table('tokenType')[i];
  });
  let x = norm(embedded, 'embeddings.norm');
  for (let layer = 0; layer < layers; layer++) {
    const name = `layers.${layer}`;
    const attended = attend(dense(x, `${name}.queryKeyValue`, hidden), tokens.length, heads, hidden);
    const first = dense(attended, `${name}.attentionOutput`, hidden).map((value, i) => value + x[i]);
    const middle = norm(first, `${name}.attentionNorm`);
    const wide = dense(middle, `${name}.intermediate`, hidden).map(
      (value) => (value / 2) * (1 + erf(value / Math.SQRT2)),
    );
    x = norm(
      dense(wide, `${name}.output`, intermediate).map((value, i) => value + middle[i]),
      `${name}.outputNorm`,
    );
  }
  return x;
}
