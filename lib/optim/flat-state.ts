import { full } from '../ops/index.js';
import { BorrowedStorage, DTYPES, type DType, type Tensor, wrap } from '../tensor/index.js';

/** Elements between the places where parameters may begin; native/ops/optimizer_call.h. */
const ALIGNMENT = 16;

/** A kind of state that a method keeps: one number for each element of a parameter. */
export interface StateKind {
  readonly name: string;
  /** What it is before the first step; 0 unless given. */
  readonly initial?: number;
}

/**
 * One kind of state for all parameters of a group, end to end in one tensor: however many parameters there are, a step
 * binds it once. Pool memory where one of the parameters has it, so that awaited runs may write it; beside callers'
 * arrays an array of its own, so that the garbage collector ends it.
 */
export class FlatState {
  readonly name: string;
  readonly all: Tensor;
  readonly #parameters: readonly Tensor[];
  readonly #starts: readonly number[];

  constructor({ name, initial = 0 }: StateKind, parameters: readonly Tensor[]) {
    let end = 0;
    this.#starts = parameters.map(({ size }) => {
      const start = end;
      end += Math.ceil(size / ALIGNMENT) * ALIGNMENT;
      return start;
    });
    this.name = name;
    this.#parameters = parameters;
    this.all = filledBeside(parameters, end, initial, parameters[0]!.dtype);
  }

  /** The state of one parameter, in its shape: a view. */
  of(parameter: number): Tensor {
    return this.all.viewAs(this.#parameters[parameter]!.shape, undefined, this.#starts[parameter]!);
  }
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
