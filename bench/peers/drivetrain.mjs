// The library itself, through its public functions and no others: single operations eagerly, networks recorded and run
// synchronously.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { drivetrain } from '../ours.mjs';

const { add, compile, device, gelu, layerNorm, linear, matmul, mul } = drivetrain;
const { defaultPool, packInt8, QuantizedLinear, reshape, sigmoid, slice, softmax, tensor, transpose, zeros } =
  drivetrain;

export const name = 'drivetrain';

export const setThreads = (threads) => device.setThreads(threads);

/** Elements of a tensor, read from a copy. */
const valuesOf = (t) => (indices) => {
  const all = t.toArray();
  return indices.map((i) => all[i]);
};

function disposeAll(tensors) {
  for (const t of tensors) t.dispose();
}

/** An operation that runs now and writes `out`; a build that does not take one gives a fresh tensor. */
function eager(compute, shape, inputs) {
  const out = zeros(shape);
  let last = out;
  return {
    run: () => {
      if (last !== out) last.dispose();
      last = compute({ out });
    },
    values: (indices) => valuesOf(last)(indices),
    dispose: () => disposeAll([out, last, ...inputs]),
  };
}

/** A recorded function of `inputs`, run synchronously or awaited. */
function recorded(fn, inputs, { awaited = false } = {}) {
  const program = compile(fn);
  // Recorded, with its weights packed, before the first run, as a session of others is.
  const { memory } = program.program(...inputs);
  let out;
  const keep = (fresh) => {
    out?.dispose();
    out = fresh;
  };
  return {
    async: awaited,
    planned: () => memory.planned,
    run: awaited ? async () => keep(await program(...inputs)) : () => keep(program.runSync(...inputs)),
    values: (indices) => valuesOf(out)(indices),
    dispose: () => disposeAll([out, ...inputs]),
  };
}

/** A chain has its factors in one tensor outside of the program, as a network has its weights. */
export function gemm({ m, n, k, count, arrays: { a, b } }) {
  const x = tensor(a, { shape: [m, k] });
  if (count === 1) {
    const y = tensor(b, { shape: [k, n] });
    return eager((options) => matmul(x, y, options), [m, n], [x, y]);
  }
  const factors = tensor(b, { shape: [count, k, n] });
  const chain = (first) => {
    let product = first;
    for (let i = 0; i < count; i++) product = matmul(product, reshape(slice(factors, 0, i, i + 1), [k, n]));
    return product;
  };
  return recorded(chain, [x]);
}

export function batchedGemm({ batch, m, n, k, arrays: { a, b } }) {
  const inputs = [tensor(a, { shape: [batch, m, k] }), tensor(b, { shape: [batch, k, n] })];
  return eager((options) => matmul(...inputs, options), [batch, m, n], inputs);
}

/** Factors u8 and s8, the second packed ahead. */
export function matmulInteger({ m, n, k, arrays: { a, b } }) {
  const x = tensor(a, { shape: [m, k] });
  const factor = tensor(b, { shape: [k, n] });
  const packed = packInt8(transpose(factor));
  factor.dispose();
  return eager(() => drivetrain.matmulInteger(x, packed), [m, n], [x, packed]);
}

/** The same product in f32, by a constant factor as well. */
export function matmulFloat({ m, n, k, arrays: { a, b } }) {
  const factor = tensor(Float32Array.from(b), { shape: [k, n] }).freeze();
  return recorded((x) => matmul(x, factor), [tensor(Float32Array.from(a), { shape: [m, k] })]);
}

/** The whole layer: activations quantized per row as they come, integer product, sums scaled to f32. */
export function linearInt8({ m, n, k, arrays: { x, weight } }) {
  const full = tensor(weight, { shape: [n, k] });
  const layer = QuantizedLinear.from(full);
  full.dispose();
  return recorded((rows) => layer.forward(rows), [tensor(x, { shape: [m, k] })]);
}

/** The same layer in f32, its weight constant as well. */
export function linearF32({ m, n, k, arrays: { x, weight } }) {
  const w = tensor(weight, { shape: [n, k] }).freeze();
  return recorded((rows) => linear(rows, w), [tensor(x, { shape: [m, k] })]);
}

export function attention({ batch, heads, length, width, arrays: { q, k, v } }) {
  const shape = [batch, heads, length, width];
  const inputs = [q, k, v].map((array) => tensor(array, { shape }));
  const composed = (query, key, value) =>
    matmul(softmax(mul(matmul(query, transpose(key)), 1 / Math.sqrt(width))), value);
  return recorded(drivetrain.scaledDotProductAttention ?? composed, inputs);
}

const rowsOf = ({ rows, columns, arrays: { x } }) => tensor(x, { shape: [rows, columns] });

export function softmaxRows(problem) {
  const x = rowsOf(problem);
  return eager((options) => softmax(x, options), x.shape, [x]);
}

export function geluRows(problem) {
  const x = rowsOf(problem);
  return eager((options) => gelu(x, options), x.shape, [x]);
}

export function layerNormRows(problem) {
  const { eps, arrays } = problem;
  const inputs = [rowsOf(problem), tensor(arrays.gamma), tensor(arrays.beta)];
  return eager((options) => layerNorm(...inputs, eps, options), inputs[0].shape, inputs);
}

function chainOf(problem) {
  const { eps, rows, columns, arrays } = problem;
  const inputs = [rowsOf(problem), tensor(arrays.residual, { shape: [rows, columns] })];
  const [gamma, beta] = [tensor(arrays.gamma), tensor(arrays.beta)];
  return { inputs, fn: (x, residual) => layerNorm(add(mul(x, sigmoid(x)), residual), gamma, beta, eps) };
}

export function chainRows(problem) {
  const { fn, inputs } = chainOf(problem);
  return recorded(fn, inputs);
}

export function chainRowsEager(problem) {
  const { fn, inputs } = chainOf(problem);
  return eager(() => defaultPool.scope(() => fn(...inputs)), inputs[0].shape, inputs);
}

/** `tensors` parameters of one length, on pool memory or in typed arrays of their own. */
export function optimizer({ method, options, tensors = 1, pool = false, arrays: { weights, gradients } }) {
  const length = weights.length / tensors;
  const cut = (array) => Array.from({ length: tensors }, (_, i) => array.slice(i * length, (i + 1) * length));
  const inPool = (array) => (pool ? tensor(array) : array);
  const parameters = cut(weights).map(inPool);
  const own = (tensors === 1 ? [gradients] : cut(gradients)).map(inPool);
  const made = new drivetrain[method](parameters, options);
  const valueAt = (index) => {
    const parameter = parameters[Math.floor(index / length)];
    return (pool ? parameter.borrow() : parameter)[index % length];
  };
  return {
    run: () => made.step(own),
    values: (indices) => indices.map(valueAt),
    dispose: () => disposeAll([...(pool ? [...parameters, ...own] : []), ...Object.values(made.stateDict())]),
  };
}

/** The same problem, with all parameters in one tensor. */
export const optimizerOneTensor = (problem) => optimizer(withArrays(problem, { tensors: 1 }));

/** The same problem, with moments of f32. */
export const optimizerAdamW = (problem) => optimizer(withArrays(problem, { method: 'AdamW' }));

/** A problem with other particulars; its arrays are made when they are asked for. */
const withArrays = (problem, more) => ({ ...problem, arrays: problem.arrays, ...more });

/** Cheap enough for the clock to matter: many calls in one execution. */
const CALLS = 100;

export function smallAdd({ arrays: { a, b } }) {
  const inputs = [tensor(a), tensor(b)];
  const one = eager((options) => add(...inputs, options), inputs[0].shape, inputs);
  return {
    ...one,
    calls: CALLS,
    run: () => {
      for (let i = 0; i < CALLS; i++) one.run();
    },
  };
}

/** Every second step adds, the others multiply. */
const alternating = (steps) => (x, y) => {
  let z = x;
  for (let step = 0; step < steps; step++) z = step % 2 ? mul(z, y) : add(z, y);
  return z;
};

export const smallProgram = ({ steps, awaited, arrays: { a, b } }) =>
  recorded(alternating(steps), [tensor(a), tensor(b)], { awaited });

/** The digits network with these weights. */
function digitsModel({ widths, arrays }) {
  const layers = widths.slice(1).map((outputs, i) => new drivetrain.Linear(widths[i], outputs));
  layers.forEach((layer, i) => {
    layer.weight.borrow().set(arrays[`w${i}`]);
    layer.bias.borrow().set(arrays[`b${i}`]);
  });
  const { ReLU, Sequential } = drivetrain;
  return new Sequential(layers[0], new ReLU(), layers[1], new ReLU(), layers[2]);
}

const pixelsOf = ({ batch, widths, arrays }) => tensor(arrays.x, { shape: [batch, widths[0]] });

export function digits(problem) {
  const model = digitsModel(problem).freeze();
  return recorded((x) => model.forward(x), [pixelsOf(problem)]);
}

export function digitsInt8(problem) {
  const model = drivetrain.quantize(digitsModel(problem));
  return recorded((x) => model.forward(x), [pixelsOf(problem)]);
}

/** A whole step; its value is the loss. */
export function trainDigits(problem) {
  const { labels, options, warmUp } = problem;
  const model = digitsModel(problem);
  const adam = new drivetrain.AdamW(model.parameters(), options);
  const step = (x, classes) => {
    const loss = drivetrain.crossEntropy(model.forward(x), classes);
    adam.step(drivetrain.grad(loss, model.parameters()));
    return loss;
  };
  const contestant = recorded(step, [pixelsOf(problem), tensor(labels, { dtype: 'i32' })]);
  for (let i = 0; i < warmUp; i++) contestant.run();
  return contestant;
}

function encoderModel({ shape, arrays }) {
  const { vocab, positions, hidden, layers, heads, intermediate } = shape;
  const config = {
    vocabSize: vocab,
    maxPositionEmbeddings: positions,
    hiddenSize: hidden,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    intermediateSize: intermediate,
  };
  const model = new drivetrain.BertModel(config, { pooler: false }).eval();
  for (const [name, parameter] of model.namedParameters()) parameter.borrow().set(arrays[name]);
  return model;
}

function encoderRun(model, { batch, length, tokens }) {
  const contestant = recorded(
    (x) => model.forward(x),
    [tensor(Int32Array.from(tokens), { shape: [batch, length] })],
  );
  return {
    ...contestant,
    dispose: () => {
      contestant.dispose();
      disposeAll(Object.values(model.stateDict()));
    },
  };
}

export const encoder = (problem) => encoderRun(encoderModel(problem).freeze(), problem);
export const encoderInt8 = (problem) =>
  encoderRun(drivetrain.quantize(encoderModel(problem)).freeze(), problem);

/** All weights of an encoder, from a file into pool memory. */
export async function loadEncoder({ arrays }) {
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-bench-'));
  const file = join(folder, 'model.safetensors');
  const named = Object.entries(arrays).map(([key, data]) => [
    key,
    { dtype: 'f32', shape: [data.length], data },
  ]);
  await drivetrain.writeSafetensors(file, Object.fromEntries(named));
  let tensors = {};
  return {
    async: true,
    run: async () => {
      disposeAll(Object.values(tensors));
      ({ tensors } = await drivetrain.readSafetensors(file));
    },
    values: (indices) => valuesOf(tensors['embeddings.wordEmbeddings.weight'])(indices),
    dispose: () => {
      disposeAll(Object.values(tensors));
      rmSync(folder, { recursive: true });
    },
  };
}
