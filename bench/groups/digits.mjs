// The network of examples/digits, 784–256–128–10 with ReLU between: what its rows in `infer` and `train` share.
import { hash, mnistLabels, mnistPixels, random } from '../data.mjs';

export const WIDTHS = [784, 256, 128, 10];
const LAYERS = WIDTHS.slice(1).map((out, i) => ({ inputs: WIDTHS[i], outputs: out, i }));

/** Weights [outputs, inputs] and biases as PyTorch and we begin with them, by seed. */
export const parameters = Object.fromEntries(
  LAYERS.flatMap(({ inputs, outputs, i }) => [
    [`w${i}`, random(inputs * outputs, 10 + i, 1 / Math.sqrt(inputs))],
    [`b${i}`, random(outputs, 20 + i, 1 / Math.sqrt(inputs))],
  ]),
);

/** The first digit is one with as many pixels that are not 0 as the mean of all: 19 of 100. */
const FIRST = 16;

/**
 * What goes in, by the end of a row's name: digits of MNIST, four pixels of five being 0, as they are what the network is
 * for; and numbers of which none is.
 */
export const SAMPLES = {
  '': {
    pixels: (batch) => mnistPixels(batch, FIRST),
    labels: (batch) => mnistLabels(batch, FIRST),
  },
  ' dense': {
    pixels: (batch) => random(batch * WIDTHS[0], 3),
    labels: (batch) => Array.from({ length: batch }, (_, i) => hash(i, 4) % WIDTHS.at(-1)),
  },
};

/** All layers' values for one sample, in double precision: what enters each of them, and the logits. */
export function forward(x, arrays) {
  const values = [x];
  for (const { inputs, outputs, i } of LAYERS) {
    const from = values.at(-1);
    const next = new Float64Array(outputs);
    for (let o = 0; o < outputs; o++) {
      let sum = arrays[`b${i}`][o];
      for (let p = 0; p < inputs; p++) sum += arrays[`w${i}`][o * inputs + p] * from[p];
      next[o] = i < LAYERS.length - 1 ? Math.max(0, sum) : sum;
    }
    values.push(next);
  }
  return values;
}

/** The loss of the `steps`th step of AdamW, in double precision. */
export function lossAfter(steps, { x, ...arrays }, classes, { lr, betas: [beta1, beta2], eps, weightDecay }) {
  const own = Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => {
      const state = { p: Float64Array.from(array), g: new Float64Array(array.length) };
      return [name, { ...state, m: new Float64Array(array.length), v: new Float64Array(array.length) }];
    }),
  );
  const current = Object.fromEntries(Object.entries(own).map(([name, { p }]) => [name, p]));
  let loss;
  for (let t = 1; t <= steps; t++) {
    loss = 0;
    for (const { g } of Object.values(own)) g.fill(0);
    classes.forEach((label, sample) => {
      const values = forward(x.subarray(sample * WIDTHS[0], (sample + 1) * WIDTHS[0]), current);
      const logits = values.at(-1);
      const max = Math.max(...logits);
      const total = logits.reduce((sum, value) => sum + Math.exp(value - max), 0);
      loss -= (logits[label] - max - Math.log(total)) / classes.length;
      let back = logits.map((value, o) => (Math.exp(value - max) / total - (o === label)) / classes.length);
      for (const { inputs, outputs, i } of [...LAYERS].reverse()) {
        const below = new Float64Array(inputs);
        for (let o = 0; o < outputs; o++) {
          own[`b${i}`].g[o] += back[o];
          for (let p = 0; p < inputs; p++) {
            own[`w${i}`].g[o * inputs + p] += back[o] * values[i][p];
            if (values[i][p] > 0) below[p] += back[o] * own[`w${i}`].p[o * inputs + p];
          }
        }
        back = below;
      }
    });
    for (const { p, g, m, v } of Object.values(own)) {
      for (let i = 0; i < p.length; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2;
        const root = Math.sqrt(v[i] / (1 - beta2 ** t)) + eps;
        p[i] = p[i] * (1 - lr * weightDecay) - ((lr / (1 - beta1 ** t)) * m[i]) / root;
      }
    }
  }
  return loss;
}
