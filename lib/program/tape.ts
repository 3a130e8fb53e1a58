import { DrivetrainError, inspect } from '../native/index.js';
import {
  activeRecorder,
  add,
  cast,
  checkTensor,
  type GradientContext,
  gradientRule,
  type Op,
  type Recorder,
  unitGradient,
  type View,
  viewGradient,
  zeros,
} from '../ops/index.js';
import { DTYPES, type DType, formatShape, isHalf, type Storage, type Tensor } from '../tensor/index.js';
import { Recomputation } from './checkpoint.js';

export interface OpEntry {
  readonly kind: 'op';
  readonly op: Op<unknown>;
  readonly attrs: unknown;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** The part of the program that it belongs to, where `checkpoint` made one; see `isRecomputed`. */
  readonly region?: number | undefined;
  readonly line?: string | undefined;
}

/** What happened while a function ran, in order: ops and views, by the tensors that they took and gave. */
export type TapeEntry =
  | OpEntry
  | {
      readonly kind: 'view';
      readonly view: View;
      readonly inputs: readonly [Tensor];
      readonly outputs: readonly [Tensor];
    };

/** A recorder whose tape `grad` can read. */
export interface Taped extends Recorder {
  readonly tape: readonly TapeEntry[];
  /** Calls `fn`, which computes gradients from the tape. */
  backward<T>(fn: () => T): T;
  /** Hears of the op whose gradient is computed next. */
  differentiates?(entry: OpEntry): void;
  /** Calls `fn`, whose ops belong to a region of their own; absent where there are none. */
  inNewRegion?<T>(fn: () => T): T;
  /** Calls `fn`, which records the ops of a region again. */
  again?<T>(region: number, fn: () => T): T;
}

/** What has a gradient. */
const FLOATS: readonly DType[] = ['f32', 'f64', 'f16', 'bf16'];

/**
 * The gradients of `loss`, a tensor of one element, with respect to `parameters`: tensors of their shapes, zeros where
 * the loss does not depend on one; that it depends on none is an error (`DT_NOT_DIFFERENTIABLE`). Works inside `compile(fn)`
 * and `valueAndGrad(fn)`; first order.
 */
export function grad(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  const recorder = activeRecorder() as Partial<Taped> | undefined;
  if (recorder?.tape === undefined || recorder.backward === undefined) {
    throw new DrivetrainError(
      'DT_NOT_RECORDING',
      'Expected grad() to be called inside compile(fn) or valueAndGrad(fn), which keep what fn did, but it was called outside.',
    );
  }
  checkTensor('grad', loss);
  if (!Array.isArray(parameters)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an array of tensors as parameters of grad but received ${inspect(parameters, { depth: 0 })}.`,
    );
  }
  for (const parameter of parameters) {
    checkTensor('grad', parameter);
    if (FLOATS.includes(parameter.dtype)) continue;
    throw new DrivetrainError(
      'DT_NOT_DIFFERENTIABLE',
      `Expected parameters of ${FLOATS.join(', ')} for grad but received one of ${parameter.dtype}, which has no gradient.`,
    );
  }
  if (loss.size !== 1) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected a loss of one element for grad but received shape ${formatShape(loss.shape)}; reduce it with mean or sum.`,
    );
  }
  const taped = recorder as Taped;
  const tape = [...taped.tape];
  return taped.backward(() => differentiate(taped, tape, loss, parameters));
}

function differentiate(
  recorder: Taped,
  tape: readonly TapeEntry[],
  loss: Tensor,
  parameters: readonly Tensor[],
): Tensor[] {
  const dependent = dependentOn(tape, parameters);
  const lastWrite = lastWrites(tape);
  const recomputed = new Recomputation(recorder, tape, lastWrite);
  const gradients = new Map<Tensor, Tensor>([[loss, unitGradient(loss)]]);
  for (let i = tape.length - 1; i >= 0; i--) {
    const entry = tape[i]!;
    const dy = entry.outputs[0] && gradients.get(entry.outputs[0]);
    if (dy === undefined || !entry.outputs.some((output) => dependent.has(output))) continue;
    // A rule reads its op's inputs and outputs again: they must be what they were.
    const touched = [...entry.inputs, ...entry.outputs];
    if (touched.some(({ storage }) => (lastWrite.get(storage) ?? -1) > i)) throw writtenSince();
    if (entry.kind === 'op') recorder.differentiates?.(entry);
    const cotangents = backwardThrough(entry, dy, dependent, recomputed);
    entry.inputs.forEach((input, k) => {
      const cotangent = cotangents[k];
      if (cotangent === undefined || !dependent.has(input)) return;
      const sum = gradients.get(input);
      gradients.set(input, sum === undefined ? cotangent : addUp(sum, cotangent));
    });
  }
  if (parameters.length > 0 && !parameters.some((parameter) => gradients.has(parameter))) {
    throw new DrivetrainError(
      'DT_NOT_DIFFERENTIABLE',
      'Expected a loss that depends on the parameters for grad but it depends on none of them: they are of another model, or the loss was computed outside of this function or from detached values.',
    );
  }
  return parameters.map(
    (parameter) => gradients.get(parameter) ?? zeros(parameter.shape, { dtype: parameter.dtype }),
  );
}

/** a + b; of f16 and bf16, in f32. */
function addUp(a: Tensor, b: Tensor): Tensor {
  return isHalf(a.dtype) ? cast(add(cast(a, 'f32'), cast(b, 'f32')), a.dtype) : add(a, b);
}

function backwardThrough(
  entry: TapeEntry,
  dy: Tensor,
  dependent: ReadonlySet<Tensor>,
  recomputed: Recomputation,
): readonly (Tensor | undefined)[] {
  if (entry.kind === 'view') return [viewGradient(entry.view, dy, entry.inputs[0])];
  const rule = gradientRule(entry.op.name);
  if (rule === undefined) {
    throw new DrivetrainError(
      'DT_NOT_DIFFERENTIABLE',
      `Expected ops with a gradient between the parameters and the loss but ${entry.op.name} has none.`,
    );
  }
  const { inputs, outputs } = recomputed.operandsOf(entry);
  const needs = (k: number) => dependent.has(entry.inputs[k]!);
  const context: GradientContext = { inputs, outputs, attrs: entry.attrs, dy, needs };
  return rule(context);
}

/** The floating-point tensors that depend on the parameters, these included. */
function dependentOn(tape: readonly TapeEntry[], parameters: readonly Tensor[]): ReadonlySet<Tensor> {
  const dependent = new Set(parameters);
  const storages = new Set(parameters.map(({ storage }) => storage));
  const detached = new Set<Tensor>();
  for (const entry of tape) {
    const { inputs, outputs } = entry;
    if (entry.kind === 'view' && (entry.view.name === 'detach' || detached.has(entry.inputs[0]))) {
      detached.add(entry.outputs[0]);
      continue;
    }
    const stranger = inputs.find(
      (input) => storages.has(input.storage) && !dependent.has(input) && !detached.has(input),
    );
    if (stranger !== undefined) throw viewFromOutside(stranger);
    if (!inputs.some((input) => dependent.has(input))) continue;
    for (const output of outputs) if (DTYPES[output.dtype].float) dependent.add(output);
  }
  return dependent;
}

/** Where on the tape each storage was last written in place. */
function lastWrites(tape: readonly TapeEntry[]): Map<Storage, number> {
  const last = new Map<Storage, number>();
  tape.forEach((entry, at) => {
    if (entry.kind === 'view') return;
    entry.inputs.forEach(({ storage }, i) => {
      if (entry.op.writes?.(i)) last.set(storage, at);
    });
  });
  return last;
}

function viewFromOutside({ shape }: Tensor): DrivetrainError {
  return new DrivetrainError(
    'DT_NOT_DIFFERENTIABLE',
    `Expected views of a parameter to be made inside the function but received one (shape ${formatShape(shape)}) that was made outside, through which no gradient finds the parameter.`,
  );
}

function writtenSince(): DrivetrainError {
  return new DrivetrainError(
    'DT_NOT_DIFFERENTIABLE',
    'Expected no write in place between what the loss is computed from and grad but a tensor that it used was written; differentiate before writing, or compute a new tensor.',
  );
}
