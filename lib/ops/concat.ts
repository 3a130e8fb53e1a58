import { DrivetrainError } from '../native/index.js';
import { normaliseAxis, type Tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkSameDtype, checkShapeIs, checkTensor } from './checks.js';
import type { Op } from './op.js';
import { reshape, slice } from './views.js';

interface ConcatAttrs {
  readonly axis: number;
}

const concatOp: Op<ConcatAttrs> = {
  name: 'concat',
  infer: ([first, ...others], { axis }) => {
    const shape = [...first!.shape];
    for (const other of others) shape[axis]! += other.shape[axis]!;
    return [{ shape, dtype: first!.dtype }];
  },
  numbers: ({ axis }) => [axis],
  strided: () => true,
};

/**
 * The tensors one behind the other along `axis` (the first unless named), each copied once, straight to its place: as
 * PyTorch's `cat`. Any dtype, the same for all; shapes may differ along the axis alone.
 */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const [first, ...others] = checkList('concat', tensors);
  const along = normaliseAxis(axis, first.rank, 'concat');
  for (const [i, other] of others.entries()) {
    checkSameDtype('concat', first, other);
    const shape = first.shape.map((n, d) => (d === along ? (other.shape[d] ?? n) : n));
    checkShapeIs('concat', `tensor ${i + 1}`, other, shape);
  }
  return apply(concatOp, tensors, { axis: along })[0]!;
}

/** The tensors, all of one shape and dtype, along a new dimension that becomes `axis` (the first unless named). */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  const [first, ...others] = checkList('stack', tensors);
  const along = normaliseAxis(axis, first.rank + 1, 'stack');
  for (const [i, other] of others.entries()) {
    checkSameDtype('stack', first, other);
    checkShapeIs('stack', `tensor ${i + 1}`, other, first.shape);
  }
  const shape = [...first.shape.slice(0, along), 1, ...first.shape.slice(along)];
  return transient(() =>
    concat(
      tensors.map((t) => reshape(t, shape)),
      along,
    ),
  );
}

function checkList(operation: string, tensors: readonly Tensor[]): readonly [Tensor, ...Tensor[]] {
  if (!Array.isArray(tensors) || tensors.length === 0) {
    const received = Array.isArray(tensors) ? 'none' : typeof tensors;
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an array of at least one tensor for ${operation} but received ${received}.`,
    );
  }
  for (const t of tensors) checkTensor(operation, t);
  return tensors as unknown as readonly [Tensor, ...Tensor[]];
}

/** The gradients of what was concatenated: the parts of dy, as views. */
export function concatGrad(dy: Tensor, inputs: readonly Tensor[], attrs: unknown): Tensor[] {
  const { axis } = attrs as ConcatAttrs;
  let end = 0;
  return inputs.map((input) => {
    const begin = end;
    end += input.shape[axis]!;
    return slice(dy, axis, begin, end);
  });
}
