import { DrivetrainError } from '../native/index.js';

export type Shape = readonly number[];

/** More dimensions than this are refused; native code keeps shapes in fixed arrays of this length. */
export const MAX_RANK = 8;

/** The number of elements; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const dimension of shape) size *= dimension;
  return size;
}

/** Row-major strides, in elements. */
export function rowMajorStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i]!;
  }
  return strides;
}

/** Whether the elements lie in row-major order without gaps (dimensions of one have no say, nor has an empty tensor). */
export function isRowMajor(shape: Shape, strides: Shape): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 0) return true;
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** Refuses anything but whole, non-negative dimensions, at most MAX_RANK of them, whose product is a safe integer. */
export function checkShape(shape: Shape, name = 'shape'): void {
  const valid =
    Array.isArray(shape) &&
    shape.length <= MAX_RANK &&
    shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0) &&
    Number.isSafeInteger(sizeOf(shape));
  if (!valid) {
    const received = Array.isArray(shape) ? formatShape(shape) : `${String(shape)}, which is no array`;
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected ${name} to be at most ${MAX_RANK} whole, non-negative dimensions but received ${received}.`,
    );
  }
}

/** The shape that both operands broadcast to, by NumPy's rule: aligned at the end, equal or one of them 1. */
export function broadcastShapes(a: Shape, b: Shape, operation: string): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const shape = new Array<number>(rank);
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected shapes that broadcast for ${operation} (equal, or 1, counted from the last dimension) but received ${formatShape(a)} and ${formatShape(b)}.`,
      );
    }
    shape[i] = x === 1 ? y : x;
  }
  return shape;
}

/** A dimension's index from 0, counting negative ones from the end. */
export function normaliseAxis(axis: number, rank: number, operation: string): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected axis for ${operation} to be a whole number from ${-rank} to ${rank - 1} but received ${axis}.`,
    );
  }
  return axis < 0 ? axis + rank : axis;
}
