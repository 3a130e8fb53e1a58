import { DrivetrainError } from '../native/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { execute } from './execute.js';
import type { Op, Recorder, View } from './op.js';

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

/** Runs an op now, or records it where a recorder is active. */
export function apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!;
    input.checkUsable();
    if (op.writes?.(i)) checkWritable(op, input);
  }
  return active === undefined ? execute(op, inputs, attrs) : active.apply(op, inputs, attrs);
}

/** Announces a view to the recorder, if there is one, and returns it. */
export function applyView(view: View, input: Tensor, output: Tensor): Tensor {
  input.checkUsable();
  active?.view(view, input, output);
  return output;
}

function checkWritable(op: { name: string }, tensor: Tensor): void {
  if (tensor.storage.frozen) {
    throw new DrivetrainError(
      'DT_FROZEN',
      `Expected a tensor that may be written for ${op.name} but received a frozen one of shape ${formatShape(tensor.shape)}.`,
    );
  }
}
