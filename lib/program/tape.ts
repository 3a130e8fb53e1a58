import { DrivetrainError } from '../native/index.js';
import {
  activeRecorder,
  add,
  type GradientContext,
  gradientRule,
  type Op,
  unitGradient,
  type View,
  viewGradient,
  zeros,
} from '../ops/index.js';
import { DTYPES, formatShape, type Tensor } from '../tensor/index.js';

/** What happened while a function ran, in order: ops and views, by the tensors that they took and gave. */
export type TapeEntry =
  | {
      readonly kind: 'op';
      readonly op: Op<unknown>;
      readonly attrs: unknown;
      readonly inputs: readonly Tensor[];
      readonly outputs: readonly Tensor[];
    }
  | {
      readonly kind: 'view';
      readonly view: View;
      readonly inputs: readonly [Tensor];
      readonly outputs: readonly [Tensor];
    };

/** A recorder whose tape `grad` can read. */
export interface Taped {
  readonly tape: readonly TapeEntry[];
  /** Calls `fn`, which computes gradients from the tape. */
  backward<T>(fn: () => T): T;
}

/**
 * The gradients of `loss`, a tensor of one element, with respect to `parameters`: tensors of their shapes, zeros where
 * the loss does not depend on one. Works inside `compile(fn)` and `valueAndGrad(fn)`; first order.
 */
export function grad(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  const recorder = activeRecorder() as Partial<Taped> | undefined;
  if (recorder?.tape === undefined || recorder.backward === undefined) {
    throw new DrivetrainError(
      'DT_NOT_RECORDING',
      'Expected grad() to be called inside compile(fn) or valueAndGrad(fn), which keep what fn did, but it was called outside.',
    );
  }
  if (loss.size !== 1) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a loss of one element for grad but received shape ${formatShape(loss.shape)}; reduce it with mean or sum.`,
    );
  }
  const tape = [...recorder.tape];
  return recorder.backward(() => differentiate(tape, loss, parameters));
}

function differentiate(tape: readonly TapeEntry[], loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  const dependent = dependentOn(tape, parameters);
  const gradients = new Map<Tensor, Tensor>([[loss, unitGradient(loss)]]);
  for (let i = tape.length - 1; i >= 0; i--) {
    const entry = tape[i]!;
    const dy = entry.outputs[0] && gradients.get(entry.outputs[0]);
    if (dy === undefined || !entry.outputs.some((output) => dependent.has(output))) continue;
    const cotangents = backwardThrough(entry, dy, dependent);
    entry.inputs.forEach((input, k) => {
      const cotangent = cotangents[k];
      if (cotangent === undefined || !dependent.has(input)) return;
      const sum = gradients.get(input);
      gradients.set(input, sum === undefined ? cotangent : add(sum, cotangent));
    });
  }
  return parameters.map(
    (parameter) => gradients.get(parameter) ?? zeros(parameter.shape, { dtype: parameter.dtype }),
  );
}

function backwardThrough(
  entry: TapeEntry,
  dy: Tensor,
  dependent: ReadonlySet<Tensor>,
): readonly (Tensor | undefined)[] {
  if (entry.kind === 'view') return [viewGradient(entry.view, dy, entry.inputs[0])];
  const rule = gradientRule(entry.op.name);
  if (rule === undefined) {
    throw new DrivetrainError(
      'DT_NOT_DIFFERENTIABLE',
      `Expected ops with a gradient between the parameters and the loss but ${entry.op.name} has none.`,
    );
  }
  const { inputs, outputs, attrs } = entry;
  const context: GradientContext = { inputs, outputs, attrs, dy, needs: (k) => dependent.has(inputs[k]!) };
  return rule(context);
}

/** The floating-point tensors that depend on the parameters, these included. */
function dependentOn(tape: readonly TapeEntry[], parameters: readonly Tensor[]): Set<Tensor> {
  const dependent = new Set(parameters);
  for (const entry of tape) {
    if (!entry.inputs.some((input) => dependent.has(input))) continue;
    if (
      entry.kind === 'op' &&
      entry.inputs.some((input, i) => entry.op.writes?.(i) && dependent.has(input))
    ) {
      throw new DrivetrainError(
        'DT_NOT_DIFFERENTIABLE',
        `Expected no write in place between the parameters and the loss but ${entry.op.name} writes one; differentiate before writing, or compute a new tensor.`,
      );
    }
    for (const output of entry.outputs) if (DTYPES[output.dtype].float) dependent.add(output);
  }
  return dependent;
}
