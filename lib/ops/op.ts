import type { DType, Tensor } from '../tensor/index.js';
import type { Opcode } from './opcodes.js';

/** What an op will put out. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Integers that number something: what native code refuses where they are below 0 or not below `limit`. */
export interface Indices {
  /** Which input they are. */
  readonly input: number;
  /** As in "labels of crossEntropy". */
  readonly name: string;
  readonly limit: number;
  /** What there are `limit` of. */
  readonly what: string;
  /** What helps where one is out of its range. */
  readonly remedy: string;
}

/** One row of the op table: what eager calls and recording need to know; its gradient stands in gradients.ts. */
export interface Op<A = undefined> {
  readonly name: Opcode;
  /** Shapes and dtypes of the outputs. Inputs were checked by the function that users call. */
  readonly infer: (inputs: readonly Tensor[], attrs: A) => readonly TensorSpec[];
  /** The numbers that native code gets; none by default. */
  readonly numbers?: (attrs: A, inputs: readonly Tensor[]) => readonly number[];
  /** Inputs that may have any strides, by index; the others are made row-major first. */
  readonly strided?: (input: number) => boolean;
  /** Inputs that the op writes in place, by index. */
  readonly writes?: (input: number) => boolean;
  /** The output may take the first input's memory. */
  readonly inPlace?: boolean;
  /** Inputs that may hold NaN where all is well, by index. */
  readonly mayBeNaN?: (input: number) => boolean;
  /** What of the inputs are indices. */
  readonly indices?: (inputs: readonly Tensor[], attrs: A) => Indices;
  /** Draws random numbers: never computed once for two. */
  readonly random?: boolean;
}

/** What a function that only makes another view of the same storage has done: no instruction, but a gradient. */
export type View =
  | { readonly name: 'reshape' | 'broadcastTo' | 'detach' }
  | { readonly name: 'permute'; readonly order: readonly number[] }
  | { readonly name: 'slice'; readonly axis: number; readonly begin: number };

/** Takes the place of eager execution while a function is being recorded. */
export interface Recorder {
  apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[];
  view(view: View, input: Tensor, output: Tensor): void;
  /** Calls `fn` when the recorded function has returned; absent where ops run at once. */
  atEnd?(fn: () => void): void;
  /** What the recorded function asked for and acted upon, as a mode: where `read` gives another value, it is recorded anew. */
  reads?(read: () => boolean): void;
}
