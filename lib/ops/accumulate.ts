import type { Tensor } from '../tensor/index.js';
import { activeRecorder, apply, checkWritable, transient } from './apply.js';
import { assign, contiguous } from './copy.js';
import { executeInto } from './execute.js';
import type { Op } from './op.js';

interface Accumulation {
  readonly batches: number;
}

const accumulateOp: Op<Accumulation> = {
  name: 'accumulate',
  infer: (inputs) => {
    const sums = inputs.slice(1, 1 + (inputs.length - 1) / 2);
    return [{ shape: [], dtype: 'f64' }, { shape: [], dtype: 'f64' }, ...sums];
  },
  numbers: ({ batches }, inputs) => [batches, (inputs.length - 1) / 2],
};

/** Sums of gradients over several batches. */
export interface GradientSums {
  /** Batches in the sums, an f64 scalar: 0 before the first one, and again when all are there. */
  readonly count: Tensor;
  /** 1 where all are there, an f64 scalar. */
  readonly whole: Tensor;
  /** Contiguous, f32 or f64; of f32 the gradients may be f16 or bf16. */
  readonly sums: readonly Tensor[];
}

/**
 * Adds 1 / `batches` of the gradients to the sums, which begin anew where the count is 0. Returns what the sums and
 * `whole` are then: the same tensors; others where they are to be kept `apart`; or where it is recorded others, of which
 * the lasting ones become copies at the end.
 */
export function accumulate(
  lasting: GradientSums,
  gradients: readonly Tensor[],
  batches: number,
  apart = false,
): Pick<GradientSums, 'whole' | 'sums'> {
  const { count, whole, sums } = lasting;
  const targets = [count, whole, ...sums];
  if (activeRecorder() === undefined && !apart) {
    for (const target of targets) checkWritable(accumulateOp, target);
    for (const tensor of [...targets, ...gradients]) tensor.checkUsable();
    transient(() =>
      executeInto(accumulateOp, [count, ...sums, ...gradients.map(contiguous)], { batches }, targets),
    );
    return lasting;
  }
  const found = apply(accumulateOp, [count, ...sums, ...gradients], { batches });
  if (!apart) {
    targets.forEach((target, i) => {
      assign(target, found[i]!);
    });
  }
  return { whole: found[1]!, sums: found.slice(2) };
}
