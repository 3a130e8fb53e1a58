import { DrivetrainError } from '../native/index.js';
import {
  add,
  cast,
  checkOneOf,
  clamp,
  clone,
  dequantizeRows,
  detach,
  div,
  maximum,
  minimum,
  mul,
  type Operand,
  quantizeRows,
  reshape,
  slice,
  sub,
  transient,
} from '../ops/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';

/** 1.5 · 2²³: what is added to an f32 and taken away again leaves it rounded to an integer, ties to even. */
const ROUND = 12_582_912;

/** The integers of a u8. */
const [LEAST, LARGEST] = [0, 255];

export interface FakeQuantizeOptions {
  /** The least integer; 0 unless given. */
  min?: number;
  /** The largest integer; 255 unless given. */
  max?: number;
}

/**
 * What quantizing x (f32) and back leaves of it: scale · (clamp(round(x / scale) + zeroPoint, min, max) − zeroPoint), with
 * the bits of `quantizeLinear`. Its gradient is that of x where the integer is not clamped, else 0: the straight-through
 * estimator (Bengio and others, arXiv:1308.3432), as PyTorch's `fake_quantize_per_tensor_affine`. NaN stays NaN. `scale`
 * above 0 and `zeroPoint`, a whole number, are numbers, or f32 tensors that broadcast (scale [out, 1]: by row).
 */
export function fakeQuantize(
  x: Tensor,
  scale: Operand,
  zeroPoint: Operand,
  options: FakeQuantizeOptions = {},
): Tensor {
  checkOneOf('fakeQuantize', 'x', x, ['f32']);
  checkOptions('fakeQuantize', options, ['min', 'max']);
  const { min = LEAST, max = LARGEST } = options;
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || min >= max || max - min > 65_535) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected whole numbers as min and max of fakeQuantize, at most 65535 apart, but received ${min} and ${max}.`,
    );
  }
  // Each of these has the gradient of its real function, and rounding, as a sum and a difference, that of none.
  return transient(() => {
    const q = clamp(add(round(div(x, scale)), zeroPoint), { min, max });
    return mul(sub(q, zeroPoint), scale);
  });
}

/** What `quantizeRows` and back leaves of x (f32 [..., n]); the gradient goes straight through. */
export function fakeQuantizeRows(x: Tensor): Tensor {
  return transient(() => {
    const fixed = detach(x);
    // x − x is 0, with x's gradient.
    return add(dequantizeRows(...quantizeRows(fixed)), sub(x, fixed));
  });
}

/**
 * How the range [low, high] (f32 [2], 0 within) is laid over the integers of a u8: scale and zero point, f32 scalars. 0 is
 * a whole number of steps from the low end, so that it stays exact.
 */
export function affineOf(range: Tensor): { scale: Tensor; zeroPoint: Tensor } {
  return transient(() => {
    const at = (i: number) => reshape(slice(range, 0, i, i + 1), []);
    const [low, high] = [minimum(at(0), 0), maximum(at(1), 0)];
    // A range of nothing has the step of PyTorch's observers, f32's epsilon.
    const scale = maximum(div(sub(high, low), LARGEST), 2 ** -23);
    const zeroPoint = clamp(round(div(sub(0, low), scale)), { min: LEAST, max: LARGEST });
    return { scale, zeroPoint };
  });
}

/** The same for an integer product: the scale f32 and the zero point u8, with memory of their own. */
export function integersOf(range: Tensor): { scale: Tensor; zeroPoint: Tensor } {
  return transient(() => {
    const { scale, zeroPoint } = affineOf(range);
    return { scale: clone(scale), zeroPoint: cast(zeroPoint, 'u8') };
  });
}

function round(x: Tensor): Tensor {
  return sub(add(x, ROUND), ROUND);
}
