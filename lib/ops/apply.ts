import { DrivetrainError } from '../native/index.js';
import { currentPool, formatShape, type Tensor } from '../tensor/index.js';
import { execute, executeInto } from './execute.js';
import type { Op, Recorder, View } from './op.js';
import { checkOut, outWhileRecording } from './out.js';

let active: Recorder | undefined;

export function activeRecorder(): Recorder | undefined {
  return active;
}

/** Calls `fn` with `recorder` in the place of eager execution (undefined: with eager execution). */
export function withRecorder<T>(recorder: Recorder | undefined, fn: () => T): T {
  const outer = active;
  active = recorder;
  try {
    return fn();
  } finally {
    active = outer;
  }
}

/** A row-major copy, with a gradient of its own. */
export const copyOp: Op = {
  name: 'copy',
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  strided: () => true,
};

/** Runs an op now, or records it where a recorder is active. */
export function apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
  checkInputs(op, inputs);
  const ready = rowMajor(op, inputs);
  if (active !== undefined) return active.apply(op, ready, attrs);
  try {
    return execute(op, ready, attrs);
  } finally {
    disposeCopies(ready, inputs);
  }
}

/** The same for an op of one output, which it writes into `out` where that is given. */
export function applyOne<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A, out: Tensor | undefined): Tensor {
  if (out === undefined) return apply(op, inputs, attrs)[0]!;
  if (active !== undefined) throw outWhileRecording(op);
  checkInputs(op, inputs);
  checkOut(op, inputs, attrs, out);
  checkWritable(op, out);
  const ready = rowMajor(op, inputs);
  try {
    executeInto(op, ready, attrs, [out]);
    return out;
  } finally {
    disposeCopies(ready, inputs);
  }
}

function checkInputs<A>(op: Op<A>, inputs: readonly Tensor[]): void {
  for (let i = 0; i < inputs.length; i++) {
    inputs[i]!.checkUsable();
    if (op.writes?.(i)) checkWritable(op, inputs[i]!);
  }
}

/** The inputs, with row-major copies of those that the op does not take with any strides. */
function rowMajor<A>(op: Op<A>, inputs: readonly Tensor[]): readonly Tensor[] {
  for (let i = 0; i < inputs.length; i++) {
    if (isTaken(op, inputs[i]!, i)) continue;
    return inputs.map((input, k) => (isTaken(op, input, k) ? input : apply(copyOp, [input], undefined)[0]!));
  }
  return inputs;
}

function isTaken<A>(op: Op<A>, input: Tensor, index: number): boolean {
  return input.contiguous || (op.strided?.(index) ?? false);
}

function disposeCopies(ready: readonly Tensor[], inputs: readonly Tensor[]): void {
  if (ready === inputs) return;
  ready.forEach((copy, i) => {
    if (copy !== inputs[i]) copy.dispose();
  });
}

/** Calls `fn` and frees what it made and does not return, unless a recorder is active and may need it. */
export function transient<T>(fn: () => T): T {
  return active === undefined ? currentPool().scope(fn) : fn();
}

/** Announces a view to the recorder, if there is one, and returns it. */
export function applyView(view: View, input: Tensor, output: Tensor): Tensor {
  input.checkUsable();
  active?.view(view, input, output);
  return output;
}

export function checkWritable(op: { name: string }, tensor: Tensor): void {
  if (tensor.storage.frozen) {
    throw new DrivetrainError(
      'DT_FROZEN',
      `Expected a tensor that may be written for ${op.name} but received a frozen one of shape ${formatShape(tensor.shape)}.`,
    );
  }
}
