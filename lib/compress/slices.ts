import { DrivetrainError } from '../native/index.js';
import { type Linear, linearOf } from '../nn/index.js';
import { clone, transient } from '../ops/index.js';
import { sizeOf, type Tensor, tensor } from '../tensor/index.js';

/** The sum of the squares of each slice along an axis, such as of each row; f32 or f64. */
export function squaredNorms(t: Tensor, axis: number): number[] {
  const [extent, inner] = [t.shape[axis]!, sizeOf(t.shape.slice(axis + 1))];
  const sums = new Array<number>(extent).fill(0);
  for (const [i, value] of (t.toArray() as Float32Array).entries()) {
    const at = Math.floor(i / inner) % extent;
    sums[at] = sums[at]! + value * value;
  }
  return sums;
}

/** A tensor of its own with these slices of another along an axis, in their order. */
function slicesOf(t: Tensor, axis: number, kept: readonly number[]): Tensor {
  const [extent, inner] = [t.shape[axis]!, sizeOf(t.shape.slice(axis + 1))];
  const outer = sizeOf(t.shape.slice(0, axis));
  const values = t.toArray() as Float32Array;
  const smaller = values.slice(0, outer * kept.length * inner);
  let at = 0;
  for (let i = 0; i < outer; i++) {
    for (const slice of kept) {
      const from = (i * extent + slice) * inner;
      smaller.set(values.subarray(from, from + inner), at);
      at += inner;
    }
  }
  return tensor(smaller, { shape: [...t.shape.slice(0, axis), kept.length, ...t.shape.slice(axis + 1)] });
}

/** A weight [out, in, ...] of its own, with some of its outputs and some of its inputs; with all where none are said. */
export function narrowed(
  weight: Tensor,
  outputs: readonly number[] | undefined,
  inputs: readonly number[] | undefined,
): Tensor {
  return transient(() => {
    if (outputs === undefined) return inputs === undefined ? clone(weight) : slicesOf(weight, 1, inputs);
    const rows = slicesOf(weight, 0, outputs);
    return inputs === undefined ? rows : slicesOf(rows, 1, inputs);
  });
}

/** A `Linear` of its own with some of another's outputs and inputs. */
export function narrowedLinear(
  { weight, bias }: Linear,
  outputs: readonly number[] | undefined,
  inputs?: readonly number[],
): Linear {
  return linearOf(narrowed(weight, outputs, inputs), bias && narrowed(bias, outputs, undefined));
}

/** The slices of some blocks, each of `size` slices. */
export function inBlocks(kept: readonly number[], size: number): number[] {
  return kept.flatMap((block) => Array.from({ length: size }, (_, i) => block * size + i));
}

/**
 * The indices of what stays where round(amount · n) of the smallest go, in their order: at least one, and of equals the
 * later ones.
 */
export function largest(operation: string, squares: readonly number[], amount: number): number[] {
  if (!squares.every((square) => square < Infinity)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected finite weights for ${operation} but received NaN or infinity.`,
    );
  }
  const removed = Math.min(squares.length - 1, Math.round(amount * squares.length));
  const order = squares.map((_, i) => i).sort((a, b) => squares[a]! - squares[b]! || a - b);
  return order.slice(removed).sort((a, b) => a - b);
}

/** Refuses a share that leaves nothing. */
export function checkAmount(operation: string, amount: unknown): asserts amount is number {
  if (typeof amount === 'number' && amount >= 0 && amount < 1) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected amount in [0, 1) for ${operation} but received ${String(amount)}.`,
  );
}
