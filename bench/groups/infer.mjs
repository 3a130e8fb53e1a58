// Whole networks: the digits network, and an encoder of the shape of MiniLM-L6, f32 and INT8.
import { constant, hash, problem, random } from '../data.mjs';
import { goal } from '../limits.mjs';
import { forward, parameters, SAMPLES, WIDTHS } from './digits.mjs';
import { encoderReference } from './encoder-reference.mjs';

export const group = 'infer';

const CLASSES = WIDTHS.at(-1);

// Logits of the digits network are of size 0.1. Sums of 784 terms, rounded in f32: some 1e-7. Of eight bits, each term is off
// by some hundredth of its largest value, and the errors of 784 add up like a random walk: 2e-3 is found.
const F32_ERROR = 2e-6;
const INT8_ERROR = 0.01;

function digits(op, batch, kind, error) {
  return problem({
    op,
    batch,
    widths: WIDTHS,
    inputs: { x: SAMPLES[kind].pixels(batch), ...parameters },
    size: batch * CLASSES,
    expected: (index, arrays) => {
      const sample = Math.floor(index / CLASSES);
      const x = arrays.x.subarray(sample * WIDTHS[0], (sample + 1) * WIDTHS[0]);
      return { value: forward(x, arrays).at(-1)[index % CLASSES], error };
    },
  });
}

export const MINILM = { vocab: 30522, positions: 512, hidden: 384, layers: 6, heads: 12, intermediate: 1536 };

/** Weights by the names of BertModel's stateDict; some deviation of a few hundredths, as trained ones have. */
function encoderWeights({ vocab, positions, hidden, layers, intermediate }) {
  let seed = 100;
  const matrix = (rows, columns) => random(rows * columns, seed++, 0.06);
  const linear = (name, inputs, outputs) => ({
    [`${name}.weight`]: matrix(outputs, inputs),
    [`${name}.bias`]: random(outputs, seed++, 0.05),
  });
  const norm = (name) => ({
    [`${name}.weight`]: constant(hidden, 1),
    [`${name}.bias`]: random(hidden, seed++, 0.05),
  });
  const layer = (i) => ({
    ...linear(`layers.${i}.queryKeyValue`, hidden, 3 * hidden),
    ...linear(`layers.${i}.attentionOutput`, hidden, hidden),
    ...norm(`layers.${i}.attentionNorm`),
    ...linear(`layers.${i}.intermediate`, hidden, intermediate),
    ...linear(`layers.${i}.output`, intermediate, hidden),
    ...norm(`layers.${i}.outputNorm`),
  });
  return {
    'embeddings.wordEmbeddings.weight': matrix(vocab, hidden),
    'embeddings.positionEmbeddings.weight': matrix(positions, hidden),
    'embeddings.tokenTypeEmbeddings.weight': matrix(2, hidden),
    ...norm('embeddings.norm'),
    ...Object.assign({}, ...Array.from({ length: layers }, (_, i) => layer(i))),
  };
}

/** The states of two sequences, which are the same in all rows. */
const references = new Map();

/** Every second sequence is the same, so that all are checked against two references. */
function encoder(op, batch, length, error) {
  const sequence = (which) => Array.from({ length }, (_, i) => hash(which * length + i, 5) % MINILM.vocab);
  const tokens = Array.from({ length: batch }, (_, i) => sequence(i % 2)).flat();
  const states = length * MINILM.hidden;
  return problem({
    op,
    batch,
    length,
    shape: MINILM,
    tokens,
    inputs: encoderWeights(MINILM),
    size: batch * states,
    expected: (index, arrays) => {
      const which = Math.floor(index / states) % 2;
      if (!references.has(which)) references.set(which, encoderReference(sequence(which), arrays, MINILM));
      return { value: references.get(which)[index % states], error };
    },
  });
}

/** A file of all weights, read into memory that a model can use. */
function load() {
  return problem({
    op: 'loadEncoder',
    length: 128,
    batch: 1,
    shape: MINILM,
    tokens: Array.from({ length: 128 }, (_, i) => i),
    inputs: encoderWeights(MINILM),
    size: MINILM.vocab * MINILM.hidden,
    expected: (index, arrays) => ({ value: arrays['embeddings.wordEmbeddings.weight'][index], error: 0 }),
  });
}

const f32 = (op) => ({ 'onnxruntime-node f32': { peer: 'onnxruntime-node', op } });

export function* rows() {
  for (const kind of Object.keys(SAMPLES)) {
    for (const batch of [1, 8, 64]) {
      const row = { group, threads: 1, unit: 'µs', work: 1 };
      yield { ...row, name: `digits${kind}/${batch}`, problem: digits('digits', batch, kind, F32_ERROR) };
      const problem = digits('digitsInt8', batch, kind, INT8_ERROR);
      const ours = { 'drivetrain f32': { op: 'digits' } };
      yield { ...row, name: `digits${kind} int8/${batch}`, problem, ours, theirs: f32('digits') };
    }
  }
  for (const threads of [1, 2]) {
    for (const batch of [1, 8]) {
      const row = { group, threads, unit: 'ms', work: 1 };
      const single = threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {};
      yield {
        ...row,
        name: `minilm-l6/${batch}x128`,
        problem: encoder('encoder', batch, 128, 2e-5),
        ours: single,
      };
      // States are of size 1 to 4. Six layers with values and weights of seven bits: 0.05 is found.
      const problem = encoder('encoderInt8', batch, 128, 0.2);
      const ours = { 'drivetrain f32': { op: 'encoder' }, ...single };
      yield { ...row, name: `minilm-l6 int8/${batch}x128`, problem, ours };
    }
  }
  // From the page cache, whichever threads there are.
  yield {
    group,
    name: 'load minilm-l6',
    threads: 1,
    unit: 'ms',
    work: 1,
    problem: load(),
    limit: goal(150e3),
  };
}
