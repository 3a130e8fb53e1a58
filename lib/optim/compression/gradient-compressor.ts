import { DrivetrainError, type TypedArray } from '../../native/index.js';
import { cast, norms, transient } from '../../ops/index.js';
import type { Tensor } from '../../tensor/index.js';
import { computedIn } from '../flat-state.js';
import { asGradient } from '../optimizer.js';
import { type Named, namedParameters, type Parameters } from '../parameters.js';
import { decodeFloat16 } from './float16.js';
import { corrupt, decode } from './gradient-bytes.js';
import { decodeTopK } from './topk.js';

const DECODERS = new Map([
  ['float16', decodeFloat16],
  ['topk', decodeTopK],
]);

/**
 * Gradients as few bytes, for transport between processes that hold the same parameters. The bytes say what they are: any
 * compressor on such parameters decompresses what any other compressed.
 */
export abstract class GradientCompressor {
  protected readonly parameters: readonly Named[];

  protected constructor(name: string, params: Parameters) {
    this.parameters = namedParameters(name, [{ params }])[0]!;
  }

  /**
   * Gradients, as for `step` of an optimizer, to bytes of their own. Nothing is compressed, and nothing changed, where one
   * is NaN or infinite (`DT_NON_FINITE`). Not inside `compile(fn)`.
   */
  compress(gradients: readonly (Tensor | TypedArray)[]): Uint8Array {
    const { parameters } = this;
    if (!Array.isArray(gradients) || gradients.length !== parameters.length) {
      const received = Array.isArray(gradients) ? `${gradients.length}` : typeof gradients;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected ${parameters.length} gradients for compress but received ${received}.`,
      );
    }
    return transient(() =>
      this.encode(
        parameters.map(({ tensor }, i) => {
          const gradient = asGradient(gradients[i] as Tensor | TypedArray, tensor, i);
          return cast(gradient, computedIn(tensor.dtype));
        }),
      ),
    );
  }

  /**
   * The gradients as new tensors, which the caller disposes. `DT_CORRUPT_FILE` for bytes that no compressor made,
   * `DT_SHAPE_MISMATCH` for gradients of other parameters. However hostile the bytes are, no more memory is taken than
   * for them and for gradients of the parameters.
   */
  decompress(bytes: Uint8Array): Tensor[] {
    const kinds = this.parameters.map(({ tensor }) => tensor);
    const found = decode(kinds, bytes);
    const decoder = DECODERS.get(found.method) ?? corrupt(`the method is ${JSON.stringify(found.method)}`);
    return transient(() => decoder(found, kinds).map((gradient, i) => cast(gradient, kinds[i]!.dtype)));
  }

  /** Checked gradients, in f32 or f64, to bytes. */
  protected abstract encode(gradients: readonly Tensor[]): Uint8Array;
}

/** The largest |x| of a gradient; throws where it has NaN or infinity. */
export function largestOf(gradient: Tensor, index: number): number {
  return transient(() => {
    const { max, notFinite } = norms([gradient]);
    const count = notFinite.item();
    if (count === 0) return max.item();
    throw new DrivetrainError(
      'DT_NON_FINITE',
      `Expected finite gradients for compress but received ${count} elements of NaN or infinity in gradient ${index}; leave this step out on all sides, or lower the learning rate.`,
    );
  });
}
