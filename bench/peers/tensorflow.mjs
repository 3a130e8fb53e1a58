import { createRequire } from 'node:module';
import { dirname } from 'node:path';

export const name = 'TensorFlow.js';
/** Its threads need a browser's workers. */
export const maxThreads = 1;

const MAX_OPERATIONS = 3e9;

let tf;

export async function load() {
  const require = createRequire(import.meta.url);
  tf = require('@tensorflow/tfjs-core');
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
  await tf.setBackend('wasm');
  await tf.ready();
  return { version: tf.version_core, year: 2024, note: 'wasm' };
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
