import { clone, linearInt8, quantizeRows } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { QuantizedWeight } from './quantized-weight.js';

/**
 * A linear layer in INT8: weights by a scale per output channel, activations quantized by a scale per row as they come,
 * integer products with exact 32-bit sums; only the sums are scaled to f32.
 */
export class QuantizedLinear extends QuantizedWeight {
  /** Quantizes weight f32 [out, in]; the bias is copied. */
  static from(weight: Tensor, bias?: Tensor): QuantizedLinear {
    const [q, scale] = quantizeRows(weight);
    return new QuantizedLinear(q, scale, bias && clone(bias));
  }

  /** f32 [..., in] to f32 [..., out] */
  forward(x: Tensor): Tensor {
    this.checkInput(x);
    return linearInt8(x, this.layout.packed, this.scale, this.bias);
  }
}
