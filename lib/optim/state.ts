import { fullLike, zeros } from '../ops/index.js';
import { BorrowedStorage, DTYPES, type Tensor, wrap } from '../tensor/index.js';

/**
 * Zeros for one parameter's state, in the parameter's kind of memory: pool memory beside a pool tensor, so that awaited
 * runs may write it; an array of its own beside a caller's array, so that the garbage collector ends it.
 */
export function likeParameter(parameter: Tensor): Tensor {
  if (!(parameter.storage instanceof BorrowedStorage)) return fullLike(parameter, 0);
  return wrap(new DTYPES[parameter.dtype].array(parameter.size), parameter.shape);
}

/** The number of steps taken, as f64, in the same kind of memory. */
export function stepCount(parameter: Tensor): Tensor {
  if (!(parameter.storage instanceof BorrowedStorage)) return zeros([], { dtype: 'f64' });
  return wrap(new Float64Array(1), []);
}
