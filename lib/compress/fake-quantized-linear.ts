import { Module } from '../nn/index.js';
import {
  add,
  assign,
  concat,
  detach,
  equal,
  full,
  linear,
  max,
  maximum,
  minimum,
  mul,
  neg,
  reshape,
  sub,
  transient,
  where,
} from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { affineOf, fakeQuantize, fakeQuantizeRows } from './fake-quantize.js';

/**
 * A linear layer that trains as it will be quantized: its input and its weight are rounded to the values that integers can
 * stand for, and gradients go straight through the rounding. The weight has a scale per output channel; the input one
 * scale and one zero point, from a moving average of the least and the largest value of each batch. Jacob and others,
 * arXiv:1712.05877, section 3.
 */
export class FakeQuantizedLinear extends Module {
  /** [out, in] */
  readonly weight: Tensor;
  /** [out] */
  readonly bias?: Tensor;
  /** f32 [2]: the moving averages, with 0 between them; NaN before the first batch. State, not trained. */
  readonly range: Tensor;
  readonly averagingConstant: number;

  /** Takes the tensors as they are: what trains this trains the layer that they come from. */
  constructor(weight: Tensor, bias: Tensor | undefined, averagingConstant: number) {
    super();
    this.weight = weight;
    if (bias !== undefined) this.bias = bias;
    this.range = this.buffer(full([2], NaN));
    this.averagingConstant = averagingConstant;
  }

  forward(x: Tensor): Tensor {
    return transient(() => {
      const range = this.#observed(detach(x));
      const { scale, zeroPoint } = affineOf(range);
      assign(this.range, range);
      return linear(fakeQuantize(x, scale, zeroPoint), fakeQuantizeRows(this.weight), this.bias);
    });
  }

  /** The range after a batch. The first one is taken as it is, also where nothing is trained. */
  #observed(x: Tensor): Tensor {
    const one = (t: Tensor) => reshape(t, [1]);
    const batch = concat([one(minimum(neg(max(neg(x))), 0)), one(maximum(max(x), 0))]);
    const { range } = this;
    const isMoving = this.mode(() => this.training);
    const kept = isMoving ? add(range, mul(sub(batch, range), this.averagingConstant)) : range;
    return where(equal(range, range), kept, batch);
  }
}
