import { DrivetrainError } from '../native/index.js';
import {
  broadcastShapes,
  checkShape,
  formatShape,
  normaliseAxis,
  type Shape,
  sameShape,
  sizeOf,
  type Tensor,
} from '../tensor/index.js';
import { applyView } from './apply.js';
import { checkTensor } from './checks.js';
import { contiguous } from './copy.js';

/**
 * The same elements, in row-major order, in another shape; one dimension may be -1 and is then computed. A view where
 * the tensor is contiguous, a copy otherwise.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  checkTensor('reshape', x);
  const source = contiguous(x);
  const target = resolveShape(source, shape);
  return applyView({ name: 'reshape' }, source, source.viewAs(target));
}

function resolveShape(x: Tensor, shape: Shape): number[] {
  if (!Array.isArray(shape)) checkShape(shape);
  const known = shape.reduce((product, dimension) => (dimension === -1 ? product : product * dimension), 1);
  const target = shape.map((dimension) => (dimension === -1 ? x.size / known : dimension));
  const unknown = shape.filter((dimension) => dimension === -1).length;
  if (unknown > 1 || (unknown === 1 && (known === 0 || x.size % known !== 0)) || sizeOf(target) !== x.size) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a shape of ${x.size} elements for reshape of ${formatShape(x.shape)} but received ${formatShape(shape)}.`,
    );
  }
  checkShape(target);
  return target;
}

/** A view of the same elements through which no gradient flows: PyTorch's `detach`. */
export function detach(x: Tensor): Tensor {
  checkTensor('detach', x);
  return applyView({ name: 'detach' }, x, x.viewAs(x.shape, x.strides));
}

/** A view with dimensions in another order: dimension i of the result is dimension `order[i]` of `x`. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  checkTensor('permute', x);
  const axes = order.map((axis) => normaliseAxis(axis, x.rank, 'permute'));
  if (axes.length !== x.rank || new Set(axes).size !== x.rank) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected every one of ${x.rank} dimensions once for permute but received ${formatShape(order)}.`,
    );
  }
  const output = x.viewAs(
    axes.map((axis) => x.shape[axis]!),
    axes.map((axis) => x.strides[axis]!),
  );
  return applyView({ name: 'permute', order: axes }, x, output);
}

/** A view with two dimensions exchanged, the last two unless named. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  checkTensor('transpose', x);
  const first = normaliseAxis(a, x.rank, 'transpose');
  const second = normaliseAxis(b, x.rank, 'transpose');
  const order = x.shape.map((_, axis) => (axis === first ? second : axis === second ? first : axis));
  return permute(x, order);
}

/** A view that repeats dimensions of 1, and adds leading ones, to reach `shape`. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkTensor('broadcastTo', x);
  if (sameShape(x.shape, shape)) return x;
  checkShape(shape);
  if (!sameShape(broadcastShapes(x.shape, shape, 'broadcastTo'), shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a shape that ${formatShape(x.shape)} broadcasts to but received ${formatShape(shape)}.`,
    );
  }
  const lead = shape.length - x.rank;
  const strides = shape.map((dimension, i) =>
    i < lead || (x.shape[i - lead] === 1 && dimension !== 1) ? 0 : x.strides[i - lead]!,
  );
  const output = x.viewAs([...shape], strides);
  return applyView({ name: 'broadcastTo' }, x, output);
}

/** A view of the elements from `begin` up to, but not with, `end` along one dimension. */
export function slice(x: Tensor, axis: number, begin: number, end: number): Tensor {
  checkTensor('slice', x);
  const along = normaliseAxis(axis, x.rank, 'slice');
  const extent = x.shape[along]!;
  if (!(Number.isInteger(begin) && Number.isInteger(end) && 0 <= begin && begin <= end && end <= extent)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected 0 ≤ begin ≤ end ≤ ${extent} for slice along dimension ${along} of ${formatShape(x.shape)} but received ${begin} and ${end}.`,
    );
  }
  const shape = x.shape.map((dimension, i) => (i === along ? end - begin : dimension));
  const output = x.viewAs(shape, x.strides, x.offset + begin * x.strides[along]!);
  return applyView({ name: 'slice', axis: along, begin }, x, output);
}
