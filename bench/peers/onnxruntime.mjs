import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { valuesIn } from '../data.mjs';
import { FLOAT, INT8, INT32, INT64, onnxModel, UINT8 } from './onnx-model.mjs';

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

const TYPES = { [FLOAT]: 'float32', [UINT8]: 'uint8', [INT32]: 'int32', [INT64]: 'int64' };

/**
 * A model with the output y, `run()` into a preallocated array. `inputs` are { type?, shape, data } by name.
 */
async function contestant(
  { nodes, inputs, initializers, type = FLOAT, shape, outputShape = shape, arena = true },
  threads,
) {
  const named = Object.entries(inputs).map(([key, { type, shape, declared = shape }]) => [
    key,
    { type, shape: declared },
  ]);
  const bytes = onnxModel({
    nodes,
    inputs: Object.fromEntries(named),
    initializers,
    outputs: { y: { type, shape: outputShape } },
  });
  const session = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: arena,
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

/** A weight [n, k] as [k, n] of s8, with a scale for each column. */
function quantized(weight, n, k) {
  const data = new Int8Array(k * n);
  const scales = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const row = weight.subarray(i * k, (i + 1) * k);
    scales[i] = row.reduce((max, value) => Math.max(max, Math.abs(value)), 0) / 127;
    for (let p = 0; p < k; p++) data[p * n + i] = Math.round(row[p] / scales[i]);
  }
  return { data, scales };
}

/** Activations quantized per tensor as they come (u8), weights per channel ahead (s8): its fused operator. */
export function linearInt8({ m, n, k, arrays: { x, weight } }, threads) {
  const { data, scales } = quantized(weight, n, k);
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

export function chainRows({ rows, columns, eps, arrays: { x, residual, gamma, beta } }, threads) {
  const shape = [rows, columns];
  const nodes = [
    { op: 'Sigmoid', inputs: ['x'], outputs: ['gate'] },
    { op: 'Mul', inputs: ['x', 'gate'], outputs: ['active'] },
    { op: 'Add', inputs: ['active', 'residual'], outputs: ['sum'] },
    {
      op: 'LayerNormalization',
      inputs: ['sum', 'gamma', 'beta'],
      outputs: ['y'],
      attributes: { epsilon: { float: eps } },
    },
  ];
  const inputs = { x: { shape, data: x }, residual: { shape, data: residual } };
  const initializers = { gamma: { shape: [columns], data: gamma }, beta: { shape: [columns], data: beta } };
  return contestant({ nodes, inputs, initializers, shape }, threads);
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

/** Nodes and constants of a network, as they are added one by one. */
class Graph {
  nodes = [];
  initializers = {};
  #int8;

  constructor({ int8 }) {
    this.#int8 = int8;
  }

  add(op, inputs, output, { attributes = {}, domain = '' } = {}) {
    this.nodes.push({ op, inputs, outputs: [output], attributes, domain });
    return output;
  }

  constant(name, value) {
    this.initializers[name] = value;
    return name;
  }

  shape(name, sizes) {
    return this.constant(name, {
      type: INT64,
      shape: [sizes.length],
      data: BigInt64Array.from(sizes, BigInt),
    });
  }

  /** x [.., k] by a weight [n, k], and a bias: as exporters write it; or what quantize_dynamic and its fusions make of that. */
  linear(x, name, weight, bias, n, output = `${name}.out`) {
    const k = weight.length / n;
    const biasName = this.constant(`${name}.bias`, { shape: [n], data: bias });
    if (this.#int8) {
      const { data, scales } = quantized(weight, n, k);
      const factor = this.constant(`${name}.weight`, { type: INT8, shape: [k, n], data });
      const scale = this.constant(`${name}.scale`, { shape: [n], data: scales });
      const inputs = [x, factor, scale, '', biasName];
      return this.add('DynamicQuantizeMatMul', inputs, output, { domain: 'com.microsoft' });
    }
    const data = new Float32Array(k * n);
    for (let i = 0; i < n; i++) for (let p = 0; p < k; p++) data[p * n + i] = weight[i * k + p];
    const factor = this.constant(`${name}.weight`, { shape: [k, n], data });
    return this.add('Add', [this.add('MatMul', [x, factor], `${name}.product`), biasName], output);
  }

  norm(x, name, gamma, beta, output = `${name}.out`) {
    const inputs = [
      x,
      this.constant(`${name}.weight`, { shape: [gamma.length], data: gamma }),
      this.constant(`${name}.bias`, { shape: [beta.length], data: beta }),
    ];
    return this.add('LayerNormalization', inputs, output, { attributes: { epsilon: { float: 1e-12 } } });
  }
}

function digitsWith(int8) {
  return ({ batch, widths, arrays: { x, ...weights } }, threads) => {
    const graph = new Graph({ int8 });
    widths.slice(1).reduce((values, outputs, i) => {
      const isLast = i === widths.length - 2;
      const sums = graph.linear(
        values,
        `l${i}`,
        weights[`w${i}`],
        weights[`b${i}`],
        outputs,
        isLast ? 'y' : undefined,
      );
      return isLast ? sums : graph.add('Relu', [sums], `r${i}`);
    }, 'x');
    const inputs = { x: { shape: [batch, widths[0]], data: x } };
    return contestant({ ...graph, inputs, shape: [batch, widths.at(-1)] }, threads);
  };
}

export const digits = digitsWith(false);
export const digitsInt8 = digitsWith(true);

/**
 * In the operators that exporters write, so that its own fusions find what they look for, and with sizes that a run decides:
 * with fixed ones it makes slower products of them.
 */
function encoderWith(int8) {
  return ({ batch, length, tokens, shape, arrays, arena }, threads) => {
    const { vocab, positions, hidden, layers, heads, intermediate } = shape;
    const graph = new Graph({ int8 });
    const of = (name) => [arrays[`${name}.weight`], arrays[`${name}.bias`]];
    const table = (name, rows) =>
      graph.constant(name, { shape: [rows, hidden], data: arrays[`embeddings.${name}Embeddings.weight`] });
    const words = graph.add('Gather', [table('word', vocab), 'ids'], 'words');
    const places = graph.constant('places', {
      type: INT64,
      shape: [1, length],
      data: BigInt64Array.from({ length }, (_, i) => BigInt(i)),
    });
    const kinds = graph.constant('kinds', {
      type: INT64,
      shape: [1, length],
      data: new BigInt64Array(length),
    });
    const types = graph.add('Gather', [table('tokenType', 2), kinds], 'types');
    const at = graph.add('Gather', [table('position', positions), places], 'at');
    const sum = graph.add('Add', [graph.add('Add', [words, types], 'words+types'), at], 'embedded');
    const width = hidden / heads;
    const split = graph.shape('split', [0, 0, heads, width]);
    const joined = graph.shape('joined', [0, 0, hidden]);
    const root = graph.constant('root', { shape: [], data: Float32Array.of(Math.sqrt(width)) });
    let x = graph.norm(sum, 'embeddings.norm', ...of('embeddings.norm'));
    for (let i = 0; i < layers; i++) {
      const name = `layers.${i}`;
      const [weight, bias] = of(`${name}.queryKeyValue`);
      const [q, k, v] = ['q', 'k', 'v'].map((part, p) => {
        const own = weight.subarray(p * hidden * hidden, (p + 1) * hidden * hidden);
        const offset = bias.subarray(p * hidden, (p + 1) * hidden);
        const projected = graph.linear(x, `${name}.${part}`, own, offset, hidden);
        const heads = graph.add('Reshape', [projected, split], `${name}.${part}.split`);
        const perm = part === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3];
        return graph.add('Transpose', [heads], `${name}.${part}.heads`, { attributes: { perm } });
      });
      const scores = graph.add('Div', [graph.add('MatMul', [q, k], `${name}.qk`), root], `${name}.scores`);
      const weights = graph.add('Softmax', [scores], `${name}.weights`);
      const mixed = graph.add('MatMul', [weights, v], `${name}.mixed`);
      const back = graph.add('Transpose', [mixed], `${name}.back`, { attributes: { perm: [0, 2, 1, 3] } });
      const attended = graph.add('Reshape', [back, joined], `${name}.attended`);
      const out = graph.linear(attended, `${name}.attentionOutput`, ...of(`${name}.attentionOutput`), hidden);
      const first = graph.add('Add', [out, x], `${name}.first`);
      const middle = graph.norm(first, `${name}.attentionNorm`, ...of(`${name}.attentionNorm`));
      const wide = graph.linear(middle, `${name}.intermediate`, ...of(`${name}.intermediate`), intermediate);
      const active = graph.add('Gelu', [wide], `${name}.gelu`);
      const narrow = graph.linear(active, `${name}.output`, ...of(`${name}.output`), hidden);
      const second = graph.add('Add', [narrow, middle], `${name}.second`);
      x = graph.norm(
        second,
        `${name}.outputNorm`,
        ...of(`${name}.outputNorm`),
        i === layers - 1 ? 'y' : undefined,
      );
    }
    const declared = ['batch', 'length'];
    const ids = { type: INT64, shape: [batch, length], declared, data: BigInt64Array.from(tokens, BigInt) };
    const outputShape = [...declared, hidden];
    return contestant(
      { ...graph, inputs: { ids }, shape: [batch, length, hidden], outputShape, arena },
      threads,
    );
  };
}

export const encoder = encoderWith(false);
export const encoderInt8 = encoderWith(true);
