import { AdamW, type Optimizer, SGD, type Tensor, tensor } from 'drivetrain';
import { type Float, golden } from '../ops/support.js';

type Options = Readonly<Record<string, number | boolean | readonly number[]>>;

export interface OptimizerCase {
  readonly options: Options;
  /** Options of each group, where there are several: one parameter a group. */
  readonly groups?: readonly Options[];
  /** The learning rate of each step, where it changes. */
  readonly rates?: readonly number[];
  /** Both parameters after each step. */
  readonly trajectory: readonly (readonly (readonly number[])[])[];
}

interface Optimizers {
  readonly shapes: readonly (readonly number[])[];
  readonly start: readonly (readonly number[])[];
  /** For each step the gradients of both parameters. */
  readonly gradients: readonly (readonly (readonly number[])[])[];
  readonly SGD: Readonly<Record<string, OptimizerCase>>;
  readonly AdamW: Readonly<Record<string, OptimizerCase>>;
}

export const goldens = golden<Optimizers>('optim/optimizers.json');

type Parameter = Tensor | Float32Array | Float64Array;
export type AnyOptimizer = Optimizer<{ lr: number }>;

export function makeOptimizer(
  name: 'SGD' | 'AdamW',
  one: OptimizerCase,
  params: readonly Parameter[],
): AnyOptimizer {
  const given = one.groups?.map((options, i) => ({ params: [params[i]!], ...options })) ?? params;
  const options = one.options as never;
  const optimizer =
    name === 'SGD' ? new SGD(given as Parameter[], options) : new AdamW(given as Parameter[], options);
  return optimizer as unknown as AnyOptimizer;
}

export const arrayOf = (data: readonly number[], dtype: Float): Float32Array | Float64Array =>
  dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data);

export const startOf = (dtype: Float): (Float32Array | Float64Array)[] =>
  goldens.start.map((data) => arrayOf(data, dtype));

export const poolTensors = (dtype: Float): Tensor[] =>
  startOf(dtype).map((data, i) => tensor(data, { shape: goldens.shapes[i]! }));

export const gradientsOf = (step: number, dtype: Float): (Float32Array | Float64Array)[] =>
  goldens.gradients[step]!.map((data) => arrayOf(data, dtype));
