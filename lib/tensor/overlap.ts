import { DTYPES } from './dtype.js';
import { sameShape } from './shape.js';
import type { Storage } from './storage.js';
import type { Tensor } from './tensor.js';

/** Whether two storages have a byte in common. */
export function storagesOverlap(x: Storage, y: Storage): boolean {
  if (x.buffer !== y.buffer) return false;
  return Math.max(x.address, y.address) < Math.min(x.address + x.byteLength, y.address + y.byteLength);
}

/** Whether the ranges of memory that the elements of two tensors span have a byte in common. */
export function overlaps(a: Tensor, b: Tensor): boolean {
  if (!storagesOverlap(a.storage, b.storage)) return false;
  if (a.size === 0 || b.size === 0) return false;
  return firstByte(a) < endByte(b) && firstByte(b) < endByte(a);
}

function firstByte({ storage, dtype, offset }: Tensor): number {
  return storage.address + offset * DTYPES[dtype].bytes;
}

/** One past the last byte; strides are never negative. */
function endByte({ storage, dtype, shape, strides, offset }: Tensor): number {
  const last = shape.reduce((sum, dimension, i) => sum + (dimension - 1) * strides[i]!, offset);
  return storage.address + (last + 1) * DTYPES[dtype].bytes;
}

/** Whether both are the same elements, in row-major order. */
export function sameElements(a: Tensor, b: Tensor): boolean {
  const sameBegin = a.storage.buffer === b.storage.buffer && firstByte(a) === firstByte(b);
  return sameBegin && a.dtype === b.dtype && sameShape(a.shape, b.shape) && a.contiguous && b.contiguous;
}
