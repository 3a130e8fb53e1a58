import type { Tensor } from '../tensor/index.js';
import { activeRecorder, apply, applyOne } from './apply.js';
import { assign } from './copy.js';
import type { Op } from './op.js';

/** How many f64 numbers the control of a step is: native/ops/gradient_control.h. */
const CONTROL_NUMBERS = 12;

const gradientControlOp: Op = {
  name: 'gradientControl',
  infer: () => [{ shape: [CONTROL_NUMBERS], dtype: 'f64' }],
  inPlace: true,
};

/**
 * Looks at all gradients of a step, in one pass, and says in `control` what the step is to make of them. Returns what the
 * step has to read: `control` itself, or where it is recorded a tensor that becomes `control` at the end.
 */
export function gradientControl(
  control: Tensor,
  settings: Tensor,
  lossScale: Tensor,
  when: Tensor,
  gradients: readonly Tensor[],
): Tensor {
  const inputs = [control, settings, lossScale, when, ...gradients];
  if (activeRecorder() === undefined) return applyOne(gradientControlOp, inputs, undefined, control);
  const found = apply(gradientControlOp, inputs, undefined)[0]!;
  assign(control, found);
  return found;
}
