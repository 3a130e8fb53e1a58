import type { Tensor } from '../../tensor/index.js';
import type { Parameters } from '../parameters.js';
import { encodeFloat16 } from './float16.js';
import { GradientCompressor, largestOf } from './gradient-compressor.js';

/**
 * Gradients in f16: half the bytes of f32, a quarter of f64. Each is scaled by a power of two that belongs to it, so that
 * none overflows, whatever its size: an element comes back within 2⁻¹¹ of itself, or within 2⁻³⁹ of the largest in its
 * tensor where that is more. At the ends of the dtype's own range, what is denormal may become 0, and what is within 2⁻¹²
 * of its largest number infinite.
 */
export class Float16Compressor extends GradientCompressor {
  constructor(params: Parameters) {
    super('Float16Compressor', params);
  }

  protected encode(gradients: readonly Tensor[]): Uint8Array {
    const kinds = this.parameters.map(({ tensor }) => tensor);
    return encodeFloat16(kinds, gradients, gradients.map(largestOf));
  }
}
