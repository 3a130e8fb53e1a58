import { DrivetrainError } from '../native/index.js';
import { checkTensor } from '../ops/index.js';
import { empty, formatShape, sizeOf, type Tensor } from '../tensor/index.js';

/** Samples by number. What `get` gives stays the dataset's own. */
export interface Dataset<S> {
  readonly length: number;
  get(index: number): S | Promise<S>;
}

/** A dataset that makes whole batches: what `batch` gives is handed over to whoever asked for it. */
export interface BatchDataset<B> {
  readonly length: number;
  batch(indices: Uint32Array): B | Promise<B>;
}

/** The rows of tensors along their first dimension: sample i is row i of each. The tensors stay the caller's. */
export class TensorDataset<T extends readonly Tensor[]> implements BatchDataset<{ [K in keyof T]: Tensor }> {
  readonly length: number;
  readonly #tensors: T;

  /** Throws `DT_SHAPE_MISMATCH` where one has no dimension, or another first dimension. */
  constructor(...tensors: T) {
    for (const one of tensors) {
      checkTensor('TensorDataset', one);
      if (one.rank > 0 && one.shape[0] === tensors[0]!.shape[0]) continue;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected tensors of one first dimension for TensorDataset but received ${formatShape(tensors[0]!.shape)} and ${formatShape(one.shape)}.`,
      );
    }
    if (tensors.length === 0) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        'Expected at least one tensor for TensorDataset but received none.',
      );
    }
    this.length = tensors[0]!.shape[0]!;
    this.#tensors = tensors;
  }

  /** Copies of rows, one tensor [indices.length, …] for each of the dataset's. */
  batch(indices: Uint32Array): { [K in keyof T]: Tensor } {
    return this.#tensors.map((one) => takeRows(one, indices)) as { [K in keyof T]: Tensor };
  }
}

function takeRows(source: Tensor, indices: Uint32Array): Tensor {
  const rest = source.shape.slice(1);
  const width = sizeOf(rest);
  const from = source.borrow() as Float32Array;
  const made = empty([indices.length, ...rest], source.dtype);
  const to = made.borrow() as Float32Array;
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i]! * width;
    // A view costs more than one element.
    if (width === 1) to[i] = from[row]!;
    else to.set(from.subarray(row, row + width), i * width);
  }
  return made;
}
