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
  const { dependent, stale } = dependentOn(tape, parameters);
  if (stale.has(loss)) throw writtenSince();
  const gradients = new Map<Tensor, Tensor>([[loss, unitGradient(loss)]]);
  for (let i = tape.length - 1; i >= 0; i--) {
    const entry = tape[i]!;
    const dy = entry.outputs[0] && gradients.get(entry.outputs[0]);
    if (dy === undefined || !entry.outputs.some((output) => dependent.has(output))) continue;
    if (entry.inputs.some((input) => stale.has(input))) throw writtenSince();
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

/** Floating-point tensors by what a gradient may do with them. */
interface Dependence {
  /** Those that depend on the parameters as they are now, these included. */
  readonly dependent: ReadonlySet<Tensor>;
  /** Those that depend on what a parameter was before it was last written. */
  readonly stale: ReadonlySet<Tensor>;
}

/** A write to a parameter (an optimizer's step) begins anew: gradients are those of what was computed after it. */
function dependentOn(tape: readonly TapeEntry[], parameters: readonly Tensor[]): Dependence {
  const dependent = new Set(parameters);
  const stale = new Set<Tensor>();
  const storages = new Set(parameters.map(({ storage }) => storage));
  for (const entry of tape) {
    const written = entry.kind === 'op' ? entry.inputs.filter((_, i) => entry.op.writes?.(i)) : [];
    if (written.some(({ storage }) => storages.has(storage))) {
      for (const tensor of dependent) stale.add(tensor);
      dependent.clear();
      for (const parameter of parameters) {
        stale.delete(parameter);
        dependent.add(parameter);
      }
    } else if (written.some((target) => dependent.has(target))) {
      throw writtenSince();
    }
    const into = entry.inputs.some((input) => dependent.has(input))
      ? dependent
      : entry.inputs.some((input) => stale.has(input))
        ? stale
        : undefined;
    for (const output of entry.outputs) if (DTYPES[output.dtype].float) into?.add(output);
  }
  return { dependent, stale };
}

function writtenSince(): DrivetrainError {
  return new DrivetrainError(
    'DT_NOT_DIFFERENTIABLE',
    'Expected no write in place between the parameters and the loss but one of them was written before grad was called; differentiate before writing, or compute a new tensor.',
  );
}
