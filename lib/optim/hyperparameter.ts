import type { Hyperparameter } from './optimizer.js';

/** A finite number from 0 on: learning rates, decay, eps. */
export function nonNegative(initial?: number): Hyperparameter {
  return {
    default: initial,
    valid: (value) => Number.isFinite(value) && value >= 0,
    expected: 'a finite number from 0 on',
  };
}

/** A number from 0 up to, but not with, 1: decay rates of running averages. */
export function belowOne(initial: number): Hyperparameter {
  return { default: initial, valid: (value) => value >= 0 && value < 1, expected: 'a number in [0, 1)' };
}

/** true or false. */
export function flag(): Hyperparameter {
  return { default: 0, valid: (value) => value === 0 || value === 1, expected: 'true or false' };
}
