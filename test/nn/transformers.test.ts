import {
  type AttentionMasks,
  LayerNorm,
  type Module,
  MultiHeadAttention,
  PositionalEncoding,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
  type TransformerEncoderLayerOptions,
  tensor,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { FLOATS, golden } from '../ops/support.js';
import type { Packed } from './support.js';
import { expectTorch, type TorchCase } from './torch-support.js';

type Case = TorchCase & { padding?: Packed | null; isCausal?: boolean };
const cases = golden<Record<string, Case>>('nn/transformers.json');

const layer = (options: TransformerEncoderLayerOptions = {}) =>
  new TransformerEncoderLayer(8, 2, { dimFeedforward: 12, dropout: 0, ...options });

const modules: Record<string, () => Module> = {
  attention: () => new MultiHeadAttention(8, 2),
  'attention without bias': () => new MultiHeadAttention(6, 3, { bias: false }),
  'attention with padding': () => new MultiHeadAttention(8, 2),
  'causal attention': () => new MultiHeadAttention(8, 4),
  'causal attention with padding': () => new MultiHeadAttention(8, 4),
  'cross-attention': () => new MultiHeadAttention(8, 2),
  'encoder layer': () => layer(),
  'encoder layer with GELU': () => layer({ activation: 'gelu', layerNormEps: 0.1 }),
  'encoder layer, normalisation first': () => layer({ normFirst: true }),
  encoder: () => new TransformerEncoder(() => layer(), 2),
  'encoder, normalisation first': () =>
    new TransformerEncoder(() => layer({ normFirst: true, activation: 'gelu' }), 3, new LayerNorm(8)),
  positions: () => new PositionalEncoding(6, 10),
  'positions of odd width': () => new PositionalEncoding(5, 7),
};

/** Keys 3 and 4 of the second sequence, in the golden of cross-attention. */
const crossPadding = tensor(
  [
    [0, 0, 0, 0, 0],
    [0, 0, 0, 1, 1],
  ],
  { dtype: 'bool' },
);

function forwardOf(name: string): (model: Module, ...inputs: Tensor[]) => Tensor {
  if (name === 'cross-attention') {
    return (model, q, k, v) => model.forward(q!, k, v, { keyPaddingMask: crossPadding });
  }
  const { padding, isCausal = false } = cases[name]!;
  const masks: AttentionMasks = {
    isCausal,
    ...(padding && { keyPaddingMask: tensor([...padding.data], { shape: padding.shape, dtype: 'bool' }) }),
  };
  return (model, x) =>
    model instanceof MultiHeadAttention ? model.forward(x!, x, x, masks) : model.forward(x!, masks);
}

test('every golden is used', () => {
  expect(Object.keys(modules)).toEqual(Object.keys(cases));
});

describe.each(Object.entries(modules))('%s', (name, make) => {
  test.each(FLOATS)('has PyTorch’s output and gradients in %s, eagerly and recorded', (dtype) => {
    if (name.startsWith('positions')) expectTorch(make, cases[name]!, 'f32');
    else expectTorch(make, cases[name]!, dtype, forwardOf(name));
  });
});
