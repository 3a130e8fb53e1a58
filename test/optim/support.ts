import {
  AdaBelief,
  Adadelta,
  Adafactor,
  Adagrad,
  Adam,
  Adam8bit,
  Adamax,
  AdamW,
  AdamW8bit,
  LAMB,
  LARS,
  Lion,
  NAdam,
  type Optimizer,
  type ParameterGroupOptions,
  type Parameters,
  RAdam,
  RMSprop,
  SGD,
  type Tensor,
  tensor,
} from 'drivetrain';
import { type Float, golden, sizeOf } from '../ops/support.js';

type Options = Readonly<Record<string, number | boolean | readonly number[]>>;

export interface OptimizerCase {
  readonly options: Options;
  /** Options of each group, where there are several: one parameter a group. */
  readonly groups?: readonly Options[];
  /** The learning rate of step k (from 0 on) is this over k + 1. */
  readonly rates?: number;
  /** Options that change before a step. */
  readonly changes?: Readonly<Record<string, Options>>;
  /** All parameters after each of the sampled steps. */
  readonly trajectory: readonly (readonly number[])[];
}

interface Trajectories {
  readonly shapes: readonly (readonly number[])[];
  readonly steps: number;
  readonly sampled: readonly number[];
  readonly seed: number;
  readonly optimizers: Readonly<Record<string, Readonly<Record<string, OptimizerCase>>>>;
}

export const goldens = golden<Trajectories>('optim/trajectories.json');

/** One loose type for all of them: tests go through their common face. */
export type AnyOptimizer = Optimizer<{ lr: number }>;
type Make = (params: Parameters | readonly ParameterGroupOptions<object>[], options?: object) => AnyOptimizer;
type Class = new (params: never, options: never) => unknown;

const make =
  (optimizer: Class, own: object = {}): Make =>
  (params, options = {}) =>
    new optimizer(params as never, { ...own, ...options } as never) as AnyOptimizer;

/** Every optimizer, with what it needs to be made. */
export const OPTIMIZERS: Readonly<Record<string, Make>> = {
  SGD: make(SGD, { lr: 0.1 }),
  Adam: make(Adam),
  AdamW: make(AdamW),
  NAdam: make(NAdam),
  RAdam: make(RAdam),
  AdaBelief: make(AdaBelief),
  Adamax: make(Adamax),
  Adagrad: make(Adagrad),
  Adadelta: make(Adadelta),
  RMSprop: make(RMSprop),
  Lion: make(Lion),
  LAMB: make(LAMB),
  LARS: make(LARS, { lr: 0.1 }),
  Adafactor: make(Adafactor),
};
/** Those whose large parameters have moments of eight bits, and the same with f32: small ones are the same. */
export const EIGHT_BIT: readonly (readonly [eight: Make, full: Make])[] = [
  [make(Adam8bit), make(Adam)],
  [make(AdamW8bit), make(AdamW)],
];

export const NAMES = Object.keys(OPTIMIZERS);
/** Those whose steps on an element depend on the others of its tensor. */
export const LAYERWISE: ReadonlySet<string> = new Set(['LAMB', 'LARS', 'Adafactor']);

/** Options with which an optimizer uses all the state that it can have. */
export const FULL: Readonly<Record<string, object>> = {
  SGD: { momentum: 0.9, dampening: 0.25, weightDecay: 0.05 },
  Adam: { amsgrad: true, weightDecay: 0.05 },
  AdamW: { amsgrad: true },
  RMSprop: { momentum: 0.5, centered: true, eps: 0.01 },
  LAMB: { weightDecay: 0.05 },
  LARS: { weightDecay: 0.05, trustCoefficient: 0.1 },
  Adagrad: { lrDecay: 0.1, initialAccumulatorValue: 0.5 },
  Adafactor: { beta1: 0.9, weightDecay: 0.05 },
};

export function makeCase(name: string, one: OptimizerCase, params: readonly Parameter[]): AnyOptimizer {
  const given = one.groups?.map((options, i) => ({ params: [params[i]!], ...options })) ?? params;
  return OPTIMIZERS[name]!(given, one.options);
}

/** Sets what a case changes before step k. */
export function changeAt({ rates, changes }: OptimizerCase, optimizer: AnyOptimizer, k: number): void {
  for (const group of optimizer.paramGroups) {
    Object.assign(group, changes?.[k]);
    if (rates !== undefined) group.lr = rates / (1 + k);
  }
}

export type Parameter = Tensor | Float32Array | Float64Array;
export type FloatArray = Float32Array | Float64Array;

/** The numbers of test/goldens/optim/make_goldens.py: where parameters begin, and the gradients of each step. */
function* numbers(): Generator<number> {
  for (let state = goldens.seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield (state >>> 8) / 2 ** 23 - 1;
  }
}

const inputs = (() => {
  const source = numbers();
  const take = () =>
    goldens.shapes.map((shape) => Array.from({ length: sizeOf(shape) }, () => source.next().value));
  const start = take();
  const gradients = Array.from({ length: goldens.steps }, (_, k) => {
    const [matrix, vector] = take() as [number[], number[]];
    matrix[0] = 0;
    if (k >= 3) matrix[1] = 0;
    vector[1]! *= 1024;
    vector[2]! /= 1024;
    return [matrix, vector];
  });
  return { start, gradients };
})();

export const START: readonly (readonly number[])[] = inputs.start;

export const arrayOf = (data: readonly number[], dtype: Float): FloatArray =>
  dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data);

export const startOf = (dtype: Float): FloatArray[] => START.map((data) => arrayOf(data, dtype));

export const poolTensors = (dtype: Float): Tensor[] =>
  startOf(dtype).map((data, i) => tensor(data, { shape: goldens.shapes[i]! }));

export const gradientsOf = (step: number, dtype: Float): FloatArray[] =>
  inputs.gradients[step]!.map((data) => arrayOf(data, dtype));

/** The solution of a small system, by Gaussian elimination without pivots: the matrix is positive definite. */
export function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  const n = rows.length;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < n; k++) {
      if (k === i) continue;
      const factor = rows[k]![i]! / rows[i]![i]!;
      rows[k] = rows[k]!.map((x, j) => x - factor * rows[i]![j]!);
    }
  }
  return rows.map((row, i) => row[n]! / row[i]!);
}
