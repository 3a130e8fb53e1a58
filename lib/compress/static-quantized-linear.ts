import { DrivetrainError } from '../native/index.js';
import { clone, matmulInt8, quantizeLinear, quantizeRows, reshape, transient } from '../ops/index.js';
import { formatShape, sizeOf, type Tensor } from '../tensor/index.js';
import { integersOf } from './fake-quantize.js';
import { QuantizedWeight } from './quantized-weight.js';

/**
 * A linear layer in INT8 whose activations have one scale and one zero point, u8, that were found before: by calibration,
 * or by training. In a compiled function, a layer that follows another, with `relu` or nothing in between, takes its
 * integers as they are: the sums are quantized where they arise.
 */
export class StaticQuantizedLinear extends QuantizedWeight {
  /** f32 [] */
  readonly inputScale: Tensor;
  /** u8 [] */
  readonly inputZeroPoint: Tensor;

  constructor(weight: Tensor, scale: Tensor, inputScale: Tensor, inputZeroPoint: Tensor, bias?: Tensor) {
    super(weight, scale, bias);
    this.inputScale = inputScale;
    this.inputZeroPoint = inputZeroPoint;
    if (
      inputScale.dtype === 'f32' &&
      inputScale.rank === 0 &&
      inputZeroPoint.dtype === 'u8' &&
      inputZeroPoint.rank === 0
    )
      return;
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected an input scale f32 [] and zero point u8 [] for StaticQuantizedLinear but received ${inputScale.dtype} ${formatShape(inputScale.shape)} and ${inputZeroPoint.dtype} ${formatShape(inputZeroPoint.shape)}.`,
    );
  }

  /** Quantizes weight f32 [out, in] for inputs in [low, high] (f32 [2]); the bias is copied. */
  static from(weight: Tensor, range: Tensor, bias?: Tensor): StaticQuantizedLinear {
    const [q, scale] = quantizeRows(weight);
    const input = integersOf(range);
    return new StaticQuantizedLinear(q, scale, input.scale, input.zeroPoint, bias && clone(bias));
  }

  /** The least and the largest input that the integers can stand for. */
  get inputRange(): [low: number, high: number] {
    const [step, zero] = [this.inputScale.item(), this.inputZeroPoint.item()];
    return [-zero * step, (255 - zero) * step];
  }

  /** f32 [..., in] to f32 [..., out] */
  forward(x: Tensor): Tensor {
    this.checkInput(x);
    const { inputScale, inputZeroPoint: zeroPoint, scale, bias } = this;
    const lead = x.shape.slice(0, -1);
    return transient(() => {
      const q = reshape(quantizeLinear(x, inputScale, zeroPoint), [sizeOf(lead), x.shape.at(-1)!]);
      const y = matmulInt8(q, inputScale, this.layout.packed, scale, bias, { zeroPoint });
      return reshape(y, [...lead, scale.size]);
    });
  }
}
