import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import type { Indices, Op } from './op.js';
import type { OptimizerOperands } from './optimizers.js';

/** The rows of a parameter [rows, ...] that a gradient names: indices [n], of i32 or i64, checked, and values [n, ...]. */
export interface RowGradient {
  readonly indices: Tensor;
  readonly values: Tensor;
}

const checkIndicesOp: Op<Indices> = {
  name: 'checkIndices',
  indices: (_, indices) => indices,
  infer: ([indices]) => [{ shape: indices!.shape, dtype: indices!.dtype }],
  numbers: ({ limit }) => [limit],
};

/**
 * The indices, for a step to read: it writes in place, so that by then they must be known to be inside. Those that are not
 * are refused before anything is written, also in a compiled function.
 */
export function checkIndices(indices: Tensor, what: Omit<Indices, 'input'>): Tensor {
  return apply(checkIndicesOp, [indices], { ...what, input: 0 })[0]!;
}

/** One step of Adam on the rows that gradients name, for all parameters of a group, in place. */
export function sparseAdamStep(
  { options, counters, control, state, parameters }: OptimizerOperands,
  gradients: readonly RowGradient[],
): void {
  const op: Op = {
    name: 'sparseAdam',
    infer: () => [],
    numbers: () => [state.length, parameters.length],
    writes: (input) => input === 1 || (input > 2 && input < 3 + state.length + parameters.length),
    mayBeNaN: (input) => input === 2,
  };
  const values = gradients.map((gradient) => gradient.values);
  const indices = gradients.map((gradient) => gradient.indices);
  apply(op, [options, counters, control, ...state, ...parameters, ...values, ...indices], undefined);
}
