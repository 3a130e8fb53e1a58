import { createRequire } from 'node:module';
import { dirname } from 'node:path';

export const name = 'TensorFlow.js';
/** Its threads need a browser's workers. */
export const maxThreads = 1;

const MAX_OPERATIONS = 3e9;

let tf;

export async function load() {
  const require = createRequire(import.meta.url);
  tf = require('@tensorflow/tfjs');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
  await tf.setBackend('wasm');
  await tf.ready();
  return { version: tf.version.tfjs, year: 2024, note: 'wasm' };
}

/** The contestant that computes `compute()` anew at each call; the previous result is freed. */
function contestant(compute, inputs) {
  let out;
  return {
    run: () => {
      out?.dispose();
      out = tf.tidy(compute);
    },
    values: (indices) => {
      const all = out.dataSync();
      return indices.map((i) => all[i]);
    },
    dispose: () => {
      out?.dispose();
      for (const input of inputs) input.dispose();
    },
  };
}

export function gemm({ m, n, k, count, arrays: { a, b } }) {
  if (2 * m * n * k * count > MAX_OPERATIONS) return undefined;
  const x = tf.tensor2d(a, [m, k]);
  const factors = Array.from({ length: count }, (_, i) =>
    tf.tensor2d(b.subarray(i * k * n, (i + 1) * k * n), [k, n]),
  );
  return contestant(() => factors.reduce((left, right) => tf.matMul(left, right), x), [x, ...factors]);
}

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }) {
  const [x, y] = [tf.tensor3d(a, [batch, m, k]), tf.tensor3d(b, [batch, k, n])];
  return contestant(() => tf.matMul(x, y), [x, y]);
}

export function attention({ batch, heads, length, width, arrays: { q, k, v } }) {
  const inputs = [q, k, v].map((array) => tf.tensor(array, [batch, heads, length, width]));
  const [tq, tk, tv] = inputs;
  return contestant(() => {
    const scores = tf.mul(tf.matMul(tq, tk, false, true), 1 / Math.sqrt(width));
    return tf.matMul(tf.softmax(scores), tv);
  }, inputs);
}

export function softmaxRows({ rows, columns, arrays: { x } }) {
  const input = tf.tensor2d(x, [rows, columns]);
  return contestant(() => tf.softmax(input), [input]);
}

export function smallAdd({ arrays: { a, b } }) {
  const [x, y] = [tf.tensor1d(a), tf.tensor1d(b)];
  return contestant(() => tf.add(x, y), [x, y]);
}

export function smallProgram({ steps, arrays: { a, b } }) {
  const [x, y] = [tf.tensor1d(a), tf.tensor1d(b)];
  return contestant(() => {
    let z = x;
    for (let step = 0; step < steps; step++) z = step % 2 ? tf.mul(z, y) : tf.add(z, y);
    return z;
  }, [x, y]);
}

const digitsLogits = (x, weights, biases) =>
  weights.reduce((values, w, i) => {
    const sums = tf.add(tf.matMul(values, w, false, true), biases[i]);
    return i < weights.length - 1 ? tf.relu(sums) : sums;
  }, x);

function digitsTensors({ batch, widths, arrays }, wrap) {
  const weights = widths.slice(1).map((out, i) => wrap(tf.tensor2d(arrays[`w${i}`], [out, widths[i]])));
  const biases = widths.slice(1).map((_, i) => wrap(tf.tensor1d(arrays[`b${i}`])));
  return { x: tf.tensor2d(arrays.x, [batch, widths[0]]), weights, biases };
}

export function digits(problem) {
  const { x, weights, biases } = digitsTensors(problem, (t) => t);
  return contestant(() => digitsLogits(x, weights, biases), [x, ...weights, ...biases]);
}

/** It has Adam without the decay of weights. */
export function trainDigits(problem) {
  const { labels, warmUp, widths, options } = problem;
  const { x, weights, biases } = digitsTensors(problem, (t) => tf.variable(t));
  const { lr, betas, eps } = options;
  const adam = tf.train.adam(lr, ...betas, eps);
  const classes = tf.oneHot(tf.tensor1d(labels, 'int32'), widths.at(-1));
  const lossOf = () => tf.losses.softmaxCrossEntropy(classes, digitsLogits(x, weights, biases));
  let loss;
  const run = () => {
    loss?.dispose();
    loss = adam.minimize(lossOf, true);
  };
  for (let i = 0; i < warmUp; i++) run();
  return {
    run,
    values: () => [loss.dataSync()[0], loss.dataSync()[0]],
    dispose: () => {
      for (const t of [loss, x, classes, ...weights, ...biases]) t.dispose();
      adam.dispose();
    },
  };
}
