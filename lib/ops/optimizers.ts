import type { Tensor } from '../tensor/index.js';
import { apply } from './apply.js';
import type { Op } from './op.js';

export type OptimizerOpcode =
  | 'sgd'
  | 'adam'
  | 'adamw'
  | 'nadam'
  | 'radam'
  | 'adabelief'
  | 'adamax'
  | 'adagrad'
  | 'adadelta'
  | 'rmsprop'
  | 'lion';

/** What one step works on: the operands of native/ops/optimizer_call.h. */
export interface OptimizerOperands {
  /** The method's options as f64 numbers, read when the step runs. */
  readonly options: Tensor;
  /** f64 numbers that the step advances; the first counts steps. */
  readonly counters: Tensor;
  /** For each kind of state one tensor that holds it for all parameters, end to end. */
  readonly state: readonly Tensor[];
  readonly parameters: readonly Tensor[];
  readonly gradients: readonly Tensor[];
}

/** Options and counters come first, then the state. */
const HEADER = 2;

function stepOp(name: OptimizerOpcode, states: number): Op {
  return {
    name,
    infer: () => [],
    numbers: () => [states],
    // Counters, state, and of what follows every other tensor: a parameter comes before its gradient.
    writes: (input) => input > 0 && (input < HEADER + states || (input - HEADER - states) % 2 === 0),
  };
}

const ops = new Map<string, Op>();

/** One step of an optimizer on all parameters, in place. */
export function optimizerStep(
  name: OptimizerOpcode,
  { options, counters, state, parameters, gradients }: OptimizerOperands,
): void {
  const key = `${name} ${state.length}`;
  const op = ops.get(key) ?? stepOp(name, state.length);
  ops.set(key, op);
  const operands = [options, counters, ...state];
  parameters.forEach((parameter, i) => {
    operands.push(parameter, gradients[i]!);
  });
  apply(op, operands, undefined);
}
