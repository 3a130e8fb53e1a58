import { DrivetrainError } from '../native/index.js';
import { outside } from '../ops/index.js';
import { DTYPES, formatShape, type Tensor } from '../tensor/index.js';

/** Refuses an input that a run can not use; `isWritten`: whether the run writes to its memory. */
export function checkInput(input: Tensor, isWritten: boolean): void {
  input.checkUsable();
  const end = (input.offset + input.size) * DTYPES[input.dtype].bytes;
  if (!(end <= input.storage.byteLength)) throw outside(input);
  if (!isWritten) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected inputs apart from the tensors that the compiled function writes but received one of them, or one on the same memory (shape ${formatShape(input.shape)}); pass clone(t), or use it inside the function without passing it.`,
  );
}
