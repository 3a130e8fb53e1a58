import type { Module, Tensor } from 'drivetrain';
import { tensor } from 'drivetrain';
import type { Float } from '../ops/support.js';

/** A tensor as the goldens keep it, in row-major order. */
export interface Packed {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** A module of PyTorch: what went in, what came out, and the gradients of a loss. */
export interface ModuleCase {
  readonly inputs: readonly Packed[];
  readonly parameters: Readonly<Record<string, Packed>>;
  readonly output: Packed;
  /** The loss is the sum of the output's elements by these weights, where it is nothing else. */
  readonly weights: Packed;
  readonly loss: number;
  readonly inputGradients: readonly (Packed | null)[];
  readonly parameterGradients: Readonly<Record<string, Packed>>;
}

export function unpack({ shape, data }: Packed, dtype: Float): Tensor {
  return tensor(dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data), { shape });
}

/** Gives a model PyTorch's parameters, whose names have no `layers.` in front. */
export function load(model: Module, parameters: Readonly<Record<string, Packed>>): void {
  const own = Object.keys(model.stateDict());
  model.loadStateDict(
    Object.fromEntries(own.map((name) => [name, unpack(parameters[name.replace(/^layers\./, '')]!, 'f32')])),
  );
}
