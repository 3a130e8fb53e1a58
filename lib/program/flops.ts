import type { ChainAttrs, Opcode } from '../ops/index.js';
import { sizeOf, type Tensor } from '../tensor/index.js';
import { writtenBy } from './commit.js';
import type { Step } from './record.js';

/** Ops that move values, or make them without floating-point arithmetic. */
const NO_ARITHMETIC: ReadonlySet<Opcode> = new Set<Opcode>([
  'fill',
  'copy',
  'embedSlice',
  'concat',
  'cast',
  'packMatmul',
  'packInt8',
  'embedding',
  'uniform',
  'advance',
]);

/**
 * Floating-point operations of a step: two for each multiply-add of a product; of the others, one for each element of
 * what they read or of what they write, whichever are more: an estimate.
 */
export function flopsOf(step: Step): number {
  const { op, inputs, outputs } = step;
  if (NO_ARITHMETIC.has(op.name)) return 0;
  switch (op.name) {
    case 'matmul':
    case 'matmulInt8':
      return 2 * outputs[0]!.size * inputs[0]!.shape.at(-1)!;
    case 'chain':
      return outputs[0]!.size * (step.attrs as ChainAttrs).nodes.length;
    case 'scaledDotProductAttention':
      return attention(inputs[0]!, inputs[1]!, inputs[2]!, 1, 1);
    case 'scaledDotProductAttentionGrad':
      // Scores once more, and the gradients of query and key; of the weights, and of the value.
      return attention(inputs[3]!, inputs[4]!, inputs[5]!, 3, 2);
    default: {
      const written = [...writtenBy(step), ...outputs].reduce((sum, { size }) => sum + size, 0);
      return Math.max(written, ...inputs.map(({ size }) => size));
    }
  }
}

/** Products of L × S × d, and of L × S × dv. */
function attention(query: Tensor, key: Tensor, value: Tensor, ofKeys: number, ofValues: number): number {
  const rows = sizeOf(query.shape.slice(0, -1));
  const width = ofKeys * query.shape.at(-1)! + ofValues * value.shape.at(-1)!;
  return 2 * rows * key.shape.at(-2)! * width;
}
