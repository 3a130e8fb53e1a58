import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import { checkFloat, checkOneOf, checkShapeIs } from './checks.js';
import type { Op } from './op.js';

const maskOp: Op = { name: 'mask', infer: () => [], writes: (input) => input === 0 };

/** Writes 0 into the elements of x (f32 or f64, contiguous) that `kept` (bool, of its shape) does not keep, in place. */
export function maskInPlace(x: Tensor, kept: Tensor): void {
  checkFloat('maskInPlace', x);
  checkOneOf('maskInPlace', 'kept', kept, ['bool']);
  checkShapeIs('maskInPlace', 'kept', kept, x.shape);
  apply(maskOp, [x, kept], undefined);
}
