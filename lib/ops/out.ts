import { DrivetrainError } from '../native/index.js';
import { formatShape, overlaps, sameElements, type Tensor } from '../tensor/index.js';
import { checkShapeIs, checkTensor } from './checks.js';
import type { Op, TensorSpec } from './op.js';

export interface OutOptions {
  /**
   * Where the result is written, and what is returned, instead of a fresh tensor: contiguous, of the result's shape and
   * dtype. It may be an operand where the function says so, and must not overlap one otherwise. Not inside
   * `compile(fn)` or `valueAndGrad(fn)`.
   */
  readonly out?: Tensor;
}

/** Refuses an `out` that is not what the op puts out, or whose writing would change an operand before it is read. */
export function checkOut<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A, out: Tensor): void {
  checkOutIs(op.name, op.infer(inputs, attrs)[0]!, out);
  for (const input of inputs) {
    if (op.inPlace && sameElements(input, out)) continue;
    if (overlaps(input, out)) throw overlapping(op, out);
  }
}

/** Refuses an `out` that is not a contiguous tensor of this shape and dtype. */
export function checkOutIs(operation: string, { shape, dtype }: TensorSpec, out: Tensor): void {
  checkTensor(`out of ${operation}`, out);
  out.checkUsable();
  checkShapeIs(operation, 'out', out, shape);
  if (out.dtype !== dtype) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected ${dtype} for out of ${operation} but received ${out.dtype}.`,
    );
  }
  if (!out.contiguous) {
    throw new DrivetrainError(
      'DT_NOT_CONTIGUOUS',
      `Expected a contiguous out for ${operation} but received strides ${formatShape(out.strides)} for shape ${formatShape(shape)}; use assign(out, ${operation}(…)).`,
    );
  }
}

function overlapping(op: { name: string }, out: Tensor): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected an out for ${op.name} apart from its operands, or an elementwise operand itself, but received one (shape ${formatShape(out.shape)}) that overlaps one; use assign(out, ${op.name}(…)).`,
  );
}

export function outWhileRecording(op: { name: string }): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected no out for ${op.name} inside compile(fn) or valueAndGrad(fn), where results have memory already, but one was given; use assign(out, ${op.name}(…)) to write a tensor made outside.`,
  );
}
