import { binding, commandPage, Status } from '../native/index.js';
import { busy, DTYPES, Tensor } from '../tensor/index.js';
import { activeRecorder, apply, checkWritable } from './apply.js';
import { bindingWords, writeBinding } from './bindings.js';
import { contiguous } from './copy.js';
import { instructionWords, PROGRAM_WORDS, writeInstruction } from './instruction.js';
import type { Op } from './op.js';

export type OptimizerOpcode =
  | 'sgd'
  | 'adam'
  | 'adamw'
  | 'adamEightBit'
  | 'adamwEightBit'
  | 'nadam'
  | 'radam'
  | 'adabelief'
  | 'adamax'
  | 'adagrad'
  | 'adadelta'
  | 'rmsprop'
  | 'lion'
  | 'lamb'
  | 'lars';

/** What an optimizer works on, beside the gradients: operands of native/ops/optimizer_call.h. */
export interface OptimizerOperands {
  /** The method's options as f64 numbers, read when the step runs. */
  readonly options: Tensor;
  /** f64 numbers that the step advances; the first counts steps. */
  readonly counters: Tensor;
  /** For each kind of state one tensor that holds it for all parameters, end to end. */
  readonly state: readonly Tensor[];
  readonly parameters: readonly Tensor[];
}

const released = new FinalizationRegistry<number>((handle) => binding.releaseProgram(handle));

/**
 * One step of an optimizer on all parameters of a group, in place. It is the same instruction again and again, so that
 * it is encoded once: an eager step binds memory, and that of a thousand tensors costs little more than that of one.
 */
export class OptimizerStep {
  readonly #op: Op;
  /** The instruction as a native program, its operands in the order of `#constant`, then the gradients. */
  readonly #program: number;
  /** What each step binds alike, as words; places for the gradients follow. */
  readonly #words: Float64Array;
  readonly #constant: readonly Tensor[];

  constructor(name: OptimizerOpcode, { options, counters, state, parameters }: OptimizerOperands) {
    const states = state.length;
    this.#op = {
      name,
      infer: () => [],
      numbers: () => [states],
      writes: (input) => input > 0 && input < 2 + states + parameters.length,
    };
    this.#constant = [options, counters, ...state, ...parameters];
    this.#program = createProgram(this.#op, [...this.#constant, ...parameters]);
    released.register(this, this.#program);
    const slots = this.#constant.length + parameters.length;
    this.#words = new Float64Array(bindingWords(slots));
    this.#words[0] = slots;
    let at = 1;
    this.#constant.forEach((tensor, i) => {
      at = bind(this.#words, at, tensor, this.#op.writes!(i));
    });
  }

  /** `gradients` have the parameters' shapes and dtypes. */
  run(gradients: readonly Tensor[]): void {
    if (activeRecorder() !== undefined) apply(this.#op, [...this.#constant, ...gradients], undefined);
    else this.#runNow(gradients);
  }

  #runNow(gradients: readonly Tensor[]): void {
    for (const tensor of this.#constant) {
      tensor.checkUsable();
      checkWritable(this.#op, tensor);
    }
    for (const gradient of gradients) gradient.checkUsable();
    const ready = gradients.every((gradient) => gradient.contiguous) ? gradients : gradients.map(contiguous);
    try {
      const page = commandPage(this.#words.length);
      page.set(this.#words);
      let at = bindingWords(this.#constant.length);
      for (const gradient of ready) at = bind(page, at, gradient, false);
      if (binding.runSync(this.#program, [this.#constant, ready]) === Status.busy) throw busy();
    } finally {
      ready.forEach((copy, i) => {
        if (copy !== gradients[i]) copy.dispose();
      });
    }
  }
}

function bind(page: Float64Array, at: number, { storage, dtype, offset }: Tensor, written: boolean): number {
  const byteOffset = offset === 0 ? 0 : offset * DTYPES[dtype].bytes;
  return writeBinding(page, at, storage, byteOffset, written);
}

/** A native program of one instruction; each operand begins where a slot of its own does. */
function createProgram(op: Op, operands: readonly Tensor[]): number {
  const numbers = op.numbers!(undefined, operands);
  const words = new Float64Array(PROGRAM_WORDS + instructionWords(operands, numbers));
  words[0] = 1;
  const here = operands.map(
    ({ storage, dtype, shape, strides }) => new Tensor(storage, dtype, shape, strides),
  );
  writeInstruction(words, PROGRAM_WORDS, op.name, here, numbers, (_, slot) => ({ slot, byteOffset: 0 }));
  return binding.createProgram(words);
}
