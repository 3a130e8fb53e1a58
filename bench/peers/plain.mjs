// The same work in plain JavaScript, written as one would who cares for speed.
import { valuesIn } from '../data.mjs';

export const name = 'JavaScript';
export const maxThreads = 1;

/** What takes much longer than a second would only hold up the others. */
const MAX_OPERATIONS = 3e8;

export const load = () => ({ version: `in V8 ${process.versions.v8}` });

/** c = a · b, row-major; rows of b in the inner loop, so that memory is read in order. */
function multiply(a, b, c, m, n, k) {
  c.fill(0);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const x = a[i * k + p];
      for (let j = 0; j < n; j++) c[i * n + j] += x * b[p * n + j];
    }
  }
}

export function gemm({ m, n, k, count, arrays: { a, b } }) {
  if (2 * m * n * k * count > MAX_OPERATIONS) return undefined;
  const lefts = [a, ...Array.from({ length: count }, () => new Float32Array(m * n))];
  const rights = Array.from({ length: count }, (_, i) => b.subarray(i * k * n, (i + 1) * k * n));
  return {
    run: () => {
      for (let i = 0; i < count; i++) multiply(lefts[i], rights[i], lefts[i + 1], m, n, k);
    },
    values: valuesIn(lefts[count]),
  };
}

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }) {
  if (2 * batch * m * n * k > MAX_OPERATIONS) return undefined;
  const c = new Float32Array(batch * m * n);
  const parts = Array.from({ length: batch }, (_, i) => [
    a.subarray(i * m * k, (i + 1) * m * k),
    b.subarray(i * k * n, (i + 1) * k * n),
    c.subarray(i * m * n, (i + 1) * m * n),
  ]);
  return {
    run: () => {
      for (const [left, right, product] of parts) multiply(left, right, product, m, n, k);
    },
    values: valuesIn(c),
  };
}

export function matmulInteger({ m, n, k, arrays: { a, b } }) {
  if (2 * m * n * k > MAX_OPERATIONS) return undefined;
  const c = new Int32Array(m * n);
  return { run: () => multiply(a, b, c, m, n, k), values: valuesIn(c) };
}

export function attention({ batch, heads, length, width, arrays: { q, k, v } }) {
  const out = new Float32Array(q.length);
  const scores = new Float32Array(length);
  const scale = 1 / Math.sqrt(width);
  const row = (base, i) => {
    const at = base + i * width;
    for (let j = 0; j < length; j++) {
      let dot = 0;
      for (let d = 0; d < width; d++) dot += q[at + d] * k[base + j * width + d];
      scores[j] = dot * scale;
    }
    softmaxRow(scores, scores, 0, length);
    out.fill(0, at, at + width);
    for (let j = 0; j < length; j++) {
      for (let d = 0; d < width; d++) out[at + d] += scores[j] * v[base + j * width + d];
    }
  };
  return {
    run: () => {
      for (let head = 0; head < batch * heads; head++) {
        for (let i = 0; i < length; i++) row(head * length * width, i);
      }
    },
    values: valuesIn(out),
  };
}

function softmaxRow(x, y, from, columns) {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = from; i < from + columns; i++) max = Math.max(max, x[i]);
  let sum = 0;
  for (let i = from; i < from + columns; i++) sum += y[i] = Math.exp(x[i] - max);
  for (let i = from; i < from + columns; i++) y[i] /= sum;
}

export function softmaxRows({ rows, columns, arrays: { x } }) {
  const y = new Float32Array(x.length);
  return {
    run: () => {
      for (let row = 0; row < rows; row++) softmaxRow(x, y, row * columns, columns);
    },
    values: valuesIn(y),
  };
}

export function layerNormRows({ rows, columns, eps, arrays: { x, gamma, beta } }) {
  const y = new Float32Array(x.length);
  const normalise = (from) => {
    let mean = 0;
    for (let i = 0; i < columns; i++) mean += x[from + i];
    mean /= columns;
    let variance = 0;
    for (let i = 0; i < columns; i++) variance += (x[from + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(variance / columns + eps);
    for (let i = 0; i < columns; i++) y[from + i] = (x[from + i] - mean) * scale * gamma[i] + beta[i];
  };
  return {
    run: () => {
      for (let row = 0; row < rows; row++) normalise(row * columns);
    },
    values: valuesIn(y),
  };
}

/** AdamW alone. */
export function optimizer({ method, options, tensors = 1, arrays: { weights, gradients } }) {
  if (method !== 'AdamW' || options.amsgrad || tensors > 1) return undefined;
  const { lr, betas, eps, weightDecay } = options;
  const [beta1, beta2] = betas;
  const p = weights.slice();
  const [m, v] = [new Float32Array(p.length), new Float32Array(p.length)];
  let t = 0;
  return {
    run: () => {
      t++;
      const rate = lr / (1 - beta1 ** t);
      const root = Math.sqrt(1 - beta2 ** t);
      for (let i = 0; i < p.length; i++) {
        const g = gradients[i];
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        p[i] = p[i] * (1 - lr * weightDecay) - (rate * m[i]) / (Math.sqrt(v[i]) / root + eps);
      }
    },
    values: valuesIn(p),
  };
}

/** Cheap enough for the clock to matter: many calls in one execution. */
const CALLS = 1000;

export function smallAdd({ arrays: { a, b } }) {
  const c = new Float32Array(a.length);
  const add = () => {
    for (let i = 0; i < c.length; i++) c[i] = a[i] + b[i];
  };
  return {
    calls: CALLS,
    run: () => {
      for (let i = 0; i < CALLS; i++) add();
    },
    values: valuesIn(c),
  };
}

export function smallProgram({ steps, arrays: { a, b } }) {
  const c = new Float32Array(a.length);
  return {
    run: () => {
      c.set(a);
      for (let step = 0; step < steps; step++) {
        if (step % 2) for (let i = 0; i < c.length; i++) c[i] *= b[i];
        else for (let i = 0; i < c.length; i++) c[i] += b[i];
      }
    },
    values: valuesIn(c),
  };
}

export function digits({ batch, widths, arrays: { x, ...weights } }) {
  const values = widths.map((width) => new Float32Array(batch * width));
  values[0] = x;
  const layer = (i) => {
    const [inputs, outputs] = [widths[i], widths[i + 1]];
    const [from, to, w, b] = [values[i], values[i + 1], weights[`w${i}`], weights[`b${i}`]];
    const isLast = i === widths.length - 2;
    for (let row = 0; row < batch; row++)
      for (let o = 0; o < outputs; o++) {
        let sum = b[o];
        for (let p = 0; p < inputs; p++) sum += from[row * inputs + p] * w[o * inputs + p];
        to[row * outputs + o] = isLast || sum > 0 ? sum : 0;
      }
  };
  return {
    run: () => {
      for (let i = 0; i < widths.length - 1; i++) layer(i);
    },
    values: valuesIn(values.at(-1)),
  };
}
