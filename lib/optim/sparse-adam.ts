import { DrivetrainError, type TypedArray } from '../native/index.js';
import {
  activeRecorder,
  checkIndices,
  checkOneOf,
  type Indices,
  type RowGradient,
  sparseAdamStep,
  transient,
} from '../ops/index.js';
import { formatShape, Tensor, wrap } from '../tensor/index.js';
import { type GradientOptions, NO_OPTIONS, type StepOptions } from './gradient-control.js';
import { flag, nonNegative, twoBelowOne } from './hyperparameter.js';
import { asGradient, checkCount, Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export interface SparseAdamOptions {
  /** Learning rate, from 0 on; 1e-3 unless given. */
  lr?: number;
  /** Decay of the first and of the second moment, each in [0, 1); [0.9, 0.999] unless given. */
  betas?: readonly [beta1: number, beta2: number];
  /** Added to the root of the second moment; 1e-8 unless given. */
  eps?: number;
  /** Goes up the gradient. */
  maximize?: boolean;
}

/** The gradient of some rows of a parameter [rows, ...]; it is 0 for the others. */
export interface SparseGradient {
  /** Which rows: [n], of i32 or i64. A row that is named several times has the sum of its values as its gradient. */
  readonly indices: Tensor | Int32Array | BigInt64Array;
  /** Their gradients: [n, ...], or a typed array of as many elements. */
  readonly values: Tensor | TypedArray;
}

/**
 * Adam on the rows that a gradient names, as PyTorch's `SparseAdam`: moments and values of the others stay as they are.
 * For these rows, where t counts all steps:
 * m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  p ← p − lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + eps).
 * Kingma and Ba, arXiv:1412.6980, in the order at the end of its section 2. An index outside of the parameter is refused
 * (`DT_INDEX_OUT_OF_RANGE`), also in a compiled function: then nothing has changed. Norms and clipping are of the values as
 * they are given.
 */
export class SparseAdam extends Optimizer<SparseAdamOptions, SparseGradient> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<SparseAdamOptions>[],
    options: SparseAdamOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'SparseAdam',
        step: 'sparseAdam',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'v' }],
        dtypes: ['f32', 'f64'],
      },
      params,
      options,
    );
    for (const { params: own, names } of this.paramGroups) {
      const scalar = own.findIndex(({ rank }) => rank === 0);
      if (scalar < 0) continue;
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected parameters with rows, [rows, ...], for SparseAdam but received ${names[scalar]!} of shape [].`,
      );
    }
  }

  /** Gradients are of some rows, which nothing that works on whole ones can use. @internal */
  readonly takesRows = true;

  override step(gradients: readonly SparseGradient[], options: StepOptions = NO_OPTIONS): void {
    checkCount(gradients, this.parts.flatMap(({ positions }) => positions).length);
    const rows = this.parts.map(({ state, positions }) =>
      positions.map((position, i) => asRows(gradients[position]!, state.params[i]!, position)),
    );
    // A recorder with an end records for later: then there are no values yet, and the program checks what it binds.
    if (activeRecorder()?.atEnd === undefined) {
      for (const { state } of this.parts) state.checkReady();
      for (const { values } of rows.flat()) values.checkReady(false);
    }
    transient(() => this.#stepRows(rows, options));
  }

  /** All indices are checked before the first part steps. */
  #stepRows(rows: readonly (readonly RowGradient[])[], options: StepOptions): void {
    const checked = this.parts.map(({ state, positions }, part) =>
      rows[part]!.map(({ indices, values }, i) => ({
        indices: checkIndices(indices, indicesInto(state.params[i]!, positions[i]!)),
        values,
      })),
    );
    const control = this.control.of(
      checked.map((rows) => rows.map(({ values }) => values)),
      options,
    );
    for (const [part, { state }] of this.parts.entries()) {
      sparseAdamStep({ ...state.operands, control }, checked[part]!);
    }
  }
}

function asRows(gradient: SparseGradient, parameter: Tensor, position: number): RowGradient {
  const { indices: rows, values: given } = gradient ?? {};
  if (rows === undefined || given === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected { indices, values } as gradient ${position} of SparseAdam but received ${describe(gradient)}; a gradient of all rows is for Adam.`,
    );
  }
  const indices = ArrayBuffer.isView(rows) ? wrap(rows) : rows;
  checkOneOf('SparseAdam', `indices of gradient ${position}`, indices, ['i32', 'i64']);
  if (indices.rank !== 1) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected indices [n] in gradient ${position} of SparseAdam but received ${formatShape(indices.shape)}; reshape them, and their values.`,
    );
  }
  const shape = [indices.size, ...parameter.shape.slice(1)];
  return { indices, values: asGradient(given, { dtype: parameter.dtype, shape }, position) };
}

function describe(value: unknown): string {
  if (value instanceof Tensor) return `a tensor ${formatShape(value.shape)}`;
  if (typeof value !== 'object' || value === null) return String(value);
  return ArrayBuffer.isView(value) ? 'a typed array' : `{ ${Object.keys(value).join(', ')} }`;
}

function indicesInto({ shape }: Tensor, position: number): Omit<Indices, 'input'> {
  return {
    name: `indices of gradient ${position} of SparseAdam`,
    limit: shape[0]!,
    what: 'rows',
    remedy: 'Correct the index, or make the parameter larger.',
  };
}
