import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { valuesIn } from '../data.mjs';
import { FLOAT, INT8, INT32, onnxModel, UINT8 } from './onnx-model.mjs';

export const name = 'onnxruntime-node';

let ort;

export function load() {
  const require = createRequire(import.meta.url);
  ort = require('onnxruntime-node');
  const manifest = new URL('../node_modules/onnxruntime-node/package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return {
    version,
    year: 2026,
    unpinned: true,
  };
}

const TYPES = { [FLOAT]: 'float32', [UINT8]: 'uint8', [INT32]: 'int32' };

/**
 * A model with the output y, `run()` into a preallocated array. `inputs` are { type?, shape, data } by name.
 */
async function contestant({ nodes, inputs, initializers, type = FLOAT, shape }, threads) {
  const bytes = onnxModel({ nodes, inputs, initializers, outputs: { y: { type, shape } } });
  const session = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const size = shape.reduce((product, n) => product * n, 1);
  const out = type === INT32 ? new Int32Array(size) : new Float32Array(size);
  const fetches = { y: new ort.Tensor(TYPES[type], out, shape) };
  const feed = ([input, { type = FLOAT, shape, data }]) => [input, new ort.Tensor(TYPES[type], data, shape)];
  const feeds = Object.fromEntries(Object.entries(inputs).map(feed));
  return {
    async: true,
    run: () => session.run(feeds, fetches),
    values: valuesIn(out),
    dispose: () => session.release(),
  };
}

/** One product has both factors as inputs; a chain has constant factors, as a network has its weights. */
export function gemm({ m, n, k, count, arrays: { a, b } }, threads) {
  const x = { shape: [m, k], data: a };
  if (count === 1) return product({ a: x, b: { shape: [k, n], data: b } }, [m, n], threads);
  const nodes = Array.from({ length: count }, (_, i) => ({
    op: 'MatMul',
    inputs: [i === 0 ? 'a' : `y${i}`, `b${i}`],
    outputs: [i === count - 1 ? 'y' : `y${i + 1}`],
  }));
  const initializers = Object.fromEntries(
    nodes.map((_, i) => [`b${i}`, { shape: [k, n], data: b.subarray(i * k * n, (i + 1) * k * n) }]),
  );
  return contestant({ nodes, inputs: { a: x }, initializers, shape: [m, n] }, threads);
}

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }, threads) {
  const inputs = { a: { shape: [batch, m, k], data: a }, b: { shape: [batch, k, n], data: b } };
  return product(inputs, [batch, m, n], threads);
}

function product(inputs, shape, threads) {
  const nodes = [{ op: 'MatMul', inputs: ['a', 'b'], outputs: ['y'] }];
  return contestant({ nodes, inputs, shape }, threads);
}

/** Factors u8 and s8, the second constant. */
export function matmulInteger({ m, n, k, arrays: { a, b } }, threads) {
  const nodes = [{ op: 'MatMulInteger', inputs: ['a', 'b'], outputs: ['y'] }];
  const inputs = { a: { type: UINT8, shape: [m, k], data: a } };
  const initializers = { b: { type: INT8, shape: [k, n], data: b } };
  return contestant({ nodes, inputs, initializers, type: INT32, shape: [m, n] }, threads);
}

/** Activations quantized per tensor as they come (u8), weights per channel ahead (s8): its fused operator. */
export function linearInt8({ m, n, k, arrays: { x, weight } }, threads) {
  const data = new Int8Array(k * n);
  const scales = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const row = weight.subarray(i * k, (i + 1) * k);
    scales[i] = row.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / 127;
    for (let p = 0; p < k; p++) data[p * n + i] = Math.round(row[p] / scales[i]);
  }
  const nodes = [
    {
      op: 'DynamicQuantizeMatMul',
      domain: 'com.microsoft',
      inputs: ['x', 'weight', 'scales'],
      outputs: ['y'],
    },
  ];
  const initializers = {
    weight: { type: INT8, shape: [k, n], data },
    scales: { shape: [n], data: scales },
  };
  return contestant(
    { nodes, inputs: { x: { shape: [m, k], data: x } }, initializers, shape: [m, n] },
    threads,
  );
}

/** In plain operators, which are a little faster here than its fused ones. */
export function attention({ batch, heads, length, width, arrays: { q, k, v } }, threads) {
  const shape = [batch, heads, length, width];
  const inputs = { q: { shape, data: q }, k: { shape, data: k }, v: { shape, data: v } };
  const nodes = [
    { op: 'Transpose', inputs: ['k'], outputs: ['kt'], attributes: { perm: [0, 1, 3, 2] } },
    { op: 'MatMul', inputs: ['q', 'kt'], outputs: ['products'] },
    { op: 'Mul', inputs: ['products', 'scale'], outputs: ['scores'] },
    { op: 'Softmax', inputs: ['scores'], outputs: ['weights'] },
    { op: 'MatMul', inputs: ['weights', 'v'], outputs: ['y'] },
  ];
  const initializers = { scale: { shape: [], data: Float32Array.of(1 / Math.sqrt(width)) } };
  return contestant({ nodes, inputs, initializers, shape }, threads);
}

function rowOperator(op, attributes, { rows, columns, arrays: { x } }, threads, constants = {}) {
  const nodes = [{ op, inputs: ['x', ...Object.keys(constants)], outputs: ['y'], attributes }];
  const shape = [rows, columns];
  return contestant({ nodes, inputs: { x: { shape, data: x } }, initializers: constants, shape }, threads);
}

export const softmaxRows = (problem, threads) => rowOperator('Softmax', {}, problem, threads);
export const geluRows = (problem, threads) => rowOperator('Gelu', {}, problem, threads);

export function layerNormRows(problem, threads) {
  const { columns, eps, arrays } = problem;
  const constants = {
    gamma: { shape: [columns], data: arrays.gamma },
    beta: { shape: [columns], data: arrays.beta },
  };
  return rowOperator('LayerNormalization', { epsilon: { float: eps } }, problem, threads, constants);
}

export const smallAdd = (problem) => smallProgram({ ...problem, arrays: problem.arrays, steps: 1 });

/** Every second step adds, the others multiply. */
export function smallProgram({ steps, arrays: { a, b } }) {
  const inputs = { a: { shape: [a.length], data: a }, b: { shape: [b.length], data: b } };
  const nodes = Array.from({ length: steps }, (_, i) => ({
    op: i % 2 ? 'Mul' : 'Add',
    inputs: [i === 0 ? 'a' : `y${i}`, 'b'],
    outputs: [i === steps - 1 ? 'y' : `y${i + 1}`],
  }));
  return contestant({ nodes, inputs, shape: [a.length] }, 1);
}
