import { DrivetrainError, type Refusal } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import type { Indices } from './op.js';

/** The error of an index that native code refused; `line` is where the op was recorded. */
export function indexOutOfRange(
  { input, name, limit, what, remedy }: Indices,
  inputs: readonly Tensor[],
  { index, place }: Pick<Refusal, 'index' | 'place'>,
  line?: string,
): DrivetrainError {
  const at = formatShape(positionOf(place, inputs[input]!.shape));
  const where = line === undefined ? '' : ` It was recorded at ${line}.`;
  return new DrivetrainError(
    'DT_INDEX_OUT_OF_RANGE',
    `Expected ${name} from 0 to ${limit - 1}, of ${limit} ${what}, but received ${index} at ${at}: nothing was changed. ${remedy}${where}`,
  );
}

/** The indices, one for each dimension, of an element by its place in row-major order. */
function positionOf(place: number, shape: readonly number[]): number[] {
  let rest = place;
  return shape
    .toReversed()
    .map((extent) => {
      const at = rest % extent;
      rest = Math.floor(rest / extent);
      return at;
    })
    .reverse();
}
