import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import type { Op } from './op.js';

/** Hyperparameters (f64) and step count (f64 scalar) come first; then the tensors of each parameter. */
const HEADER = 2;

const stepOp = (name: 'sgd' | 'adamw', perParameter: number): Op => ({
  name,
  infer: () => [],
  // All but the hyperparameters and the gradients, which stand second among a parameter's tensors.
  writes: (input) => input === 1 || (input >= HEADER && (input - HEADER) % perParameter !== 1),
});
const sgdOp = stepOp('sgd', 3);
const adamwOp = stepOp('adamw', 4);

/** A parameter, its gradient and its momentum buffer. */
export type SgdTensors = readonly [parameter: Tensor, gradient: Tensor, momentum: Tensor];
/** A parameter, its gradient and its two moments. */
export type AdamWTensors = readonly [parameter: Tensor, gradient: Tensor, m: Tensor, v: Tensor];

function step(
  op: Op,
  hyperparameters: Tensor,
  count: Tensor,
  parameters: readonly (readonly Tensor[])[],
): void {
  apply(op, [hyperparameters, count, ...parameters.flat()], undefined);
}

/** One step of SGD on all parameters, in place. Hyperparameters: lr, momentum, dampening, weight decay, nesterov, maximize. */
export function sgdStep(hyperparameters: Tensor, count: Tensor, parameters: readonly SgdTensors[]): void {
  step(sgdOp, hyperparameters, count, parameters);
}

/** One step of AdamW on all parameters, in place. Hyperparameters: lr, beta1, beta2, eps, weight decay, maximize. */
export function adamwStep(hyperparameters: Tensor, count: Tensor, parameters: readonly AdamWTensors[]): void {
  step(adamwOp, hyperparameters, count, parameters);
}
