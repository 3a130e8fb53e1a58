import { DrivetrainError, inspect } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';

/** One number for rows and columns, or one for each. */
export type Pair = number | readonly [number, number];

/** Windows over the last two dimensions, in the order of native/ops/windows.h. */
export interface Windows {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
}

export const windowNumbers = ({ kernel, stride, padding, dilation }: Windows): number[] => [
  ...kernel,
  ...stride,
  ...padding,
  ...dilation,
];

/** Both numbers of a pair, or throws unless they are whole and at least `least`. */
export function pairOf(operation: string, name: string, value: Pair, least: number): [number, number] {
  const both = Array.isArray(value) ? value : [value, value];
  if (both.length === 2 && both.every((n) => Number.isSafeInteger(n) && n >= least)) {
    return [both[0], both[1]];
  }
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} of ${operation} to be a whole number from ${least} on, or one for rows and one for columns, but received ${inspect(value)}.`,
  );
}

/** Rows and columns of windows over x [..., h, w]; throws where the padded plane has no room for one. */
export function placesOf(operation: string, x: Tensor, windows: Windows): [number, number] {
  const places = [0, 1].map((d) => {
    const room = x.shape.at(d - 2)! + 2 * windows.padding[d]! - extentOf(windows, d);
    return Math.floor(room / windows.stride[d]!) + 1;
  }) as [number, number];
  if (places[0] >= 1 && places[1] >= 1) return places;
  const extents = [extentOf(windows, 0), extentOf(windows, 1)];
  const given = [0, 1].map((d) => x.shape.at(d - 2)! + 2 * windows.padding[d]!);
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected planes of at least ${extents[0]} × ${extents[1]}, the kernel with its dilation, for ${operation} but received ${given[0]} × ${given[1]} with the padding (shape ${formatShape(x.shape)}).`,
  );
}

/** What a kernel spans along a dimension. */
function extentOf({ kernel, dilation }: Windows, d: number): number {
  return (kernel[d]! - 1) * dilation[d]! + 1;
}
