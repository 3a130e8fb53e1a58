import { full } from '../ops/index.js';
import {
  BorrowedStorage,
  DTYPES,
  type DType,
  type Shape,
  sizeOf,
  type Tensor,
  wrap,
} from '../tensor/index.js';

/** Elements between the places where parameters may begin; native/ops/optimizer_call.h. */
const ALIGNMENT = 16;

/**
 * A kind of state that a method keeps: a number for each element of a parameter, for each block of elements, or for what
 * follows from its shape.
 */
export interface StateKind {
  readonly name: string;
  /** What it is before the first step; 0 unless given. */
  readonly initial?: number;
  /** The dtype of the parameters (f32 beside f16 and bf16) unless given. */
  readonly dtype?: DType;
  /** Elements of a block that has one number, from a parameter's first element on; 1 unless given. */
  readonly block?: number;
  /** What a parameter of this shape keeps, where that is not a number for each element; undefined: nothing. */
  readonly shapeOf?: (shape: Shape) => Shape | undefined;
}

/**
 * One kind of state for all parameters of a group, end to end in one tensor: however many parameters there are, a step
 * binds it once. Pool memory where one of the parameters has it, so that awaited runs may write it; beside callers'
 * arrays an array of its own, so that the garbage collector ends it.
 */
export class FlatState {
  readonly name: string;
  readonly all: Tensor;
  readonly #shapes: readonly (Shape | undefined)[];
  readonly #starts: readonly number[];

  /** Parameters begin at multiples of `alignment`, which is a multiple of `block`. */
  constructor(
    { name, initial = 0, dtype, block = 1, shapeOf = (shape) => shape }: StateKind,
    parameters: readonly Tensor[],
    alignment = ALIGNMENT,
  ) {
    let end = 0;
    const shapes = parameters.map(({ shape }) => shapeOf(shape));
    this.#starts = shapes.map((shape) => {
      const start = end / block;
      end += Math.ceil(sizeOf(shape ?? [0]) / alignment) * alignment;
      return start;
    });
    this.name = name;
    this.#shapes = block === 1 ? shapes : parameters.map(({ size }) => [Math.ceil(size / block)]);
    this.all = filledBeside(parameters, end / block, initial, dtype ?? computedIn(parameters[0]!.dtype));
  }

  /** Whether a parameter keeps state of this kind. */
  has(parameter: number): boolean {
    return this.#shapes[parameter] !== undefined;
  }

  /** The state of one parameter, which has some: a view, in the parameter's shape where it has a number for each element. */
  of(parameter: number): Tensor {
    return this.all.viewAs(this.#shapes[parameter]!, undefined, this.#starts[parameter]!);
  }
}

/** Parameters of 16 bits are computed in f32. */
export function computedIn(dtype: DType): DType {
  return DTYPES[dtype].bytes === 2 ? 'f32' : dtype;
}

/** `count` numbers in the parameters' kind of memory. */
export function filledBeside(
  parameters: readonly Tensor[],
  count: number,
  value: number,
  dtype: DType,
): Tensor {
  if (!parameters.every(({ storage }) => storage instanceof BorrowedStorage)) {
    return full([count], value, { dtype });
  }
  return wrap(new DTYPES[dtype].array(count).fill(value as never) as Float32Array);
}
