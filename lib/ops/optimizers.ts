import { binding, commandPage, Status } from '../native/index.js';
import {
  BorrowedStorage,
  busy,
  changesOfWatched,
  DTYPES,
  type DType,
  type Storage,
  SymbolicStorage,
  Tensor,
} from '../tensor/index.js';
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
  | 'lars'
  | 'lookahead'
  | 'roundMaster'
  | 'adafactor'
  | 'muon'
  | 'sparseAdam';

/** What an optimizer works on, beside the gradients: operands of native/ops/optimizer_call.h. */
export interface OptimizerOperands {
  /** The method's options as f64 numbers, read when the step runs. */
  readonly options: Tensor;
  /** f64 numbers that the step advances; the first counts steps. */
  readonly counters: Tensor;
  /** What a step that runs at once is to make of the gradients: an output of `gradientControl`. */
  readonly control: Tensor;
  /** For each kind of state one tensor that holds it for all parameters, end to end. */
  readonly state: readonly Tensor[];
  readonly parameters: readonly Tensor[];
}

/** What a step bound, to be bound again as it stands. */
interface Bound {
  readonly program: number;
  readonly bindings: number;
  /** The memory that is a caller's arrays: nothing tells when one is transferred. */
  readonly borrowed: readonly Storage[];
  /** `changesOfWatched` then. */
  readonly changes: number;
}

/** Elements of a parameter, on average, up to which what a step does beside its arithmetic counts. */
const SMALL = 2 ** 16;

/**
 * Whether a step on these parameters is worth remembering its gradients for, which keeps them from the collector until the
 * next step: they are small, so that binding them counts and holding them does not.
 */
export function areSmall(parameters: readonly Tensor[]): boolean {
  return parameters.reduce((sum, { size }) => sum + size, 0) <= SMALL * parameters.length;
}

/** Where the control stands among the operands. */
const CONTROL = 2;

const released = new FinalizationRegistry<number>((handle) => binding.releaseProgram(handle));
const unbound = new FinalizationRegistry<number>((handle) => binding.releaseBindings(handle));

/**
 * One step of an optimizer on all parameters of a group, in place. It is the same instruction again and again, so that
 * it is encoded once: an eager step binds memory, and that of a thousand tensors costs little more than that of one.
 */
export class OptimizerStep {
  readonly #op: Op;
  /** By the gradients' dtype: the instruction as a native program, its operands in the order of `#constant`, then they. */
  readonly #programs = new Map<DType, number>();
  /** What each step binds alike, as words; places for the gradients follow. */
  readonly #words: Float64Array;
  readonly #constant: readonly Tensor[];
  readonly #parameters: readonly Tensor[];
  readonly #remembers: boolean;
  /** The gradients of the latest step, if they are small, and what it bound where they were those of the step before. */
  #latest: { readonly gradients: readonly Tensor[]; readonly bound: Bound | undefined } | undefined;

  constructor(name: OptimizerOpcode, { options, counters, control, state, parameters }: OptimizerOperands) {
    const states = state.length;
    this.#op = {
      name,
      infer: () => [],
      numbers: () => [states],
      writes: (input) => input > 0 && input !== CONTROL && input < 3 + states + parameters.length,
      // Norms that nobody asked for are NaN.
      mayBeNaN: (input) => input === CONTROL,
    };
    this.#constant = [options, counters, control, ...state, ...parameters];
    this.#parameters = parameters;
    this.#remembers = areSmall(parameters);
    const slots = this.#constant.length + parameters.length;
    this.#words = new Float64Array(bindingWords(slots));
    this.#words[0] = slots;
    let at = 1;
    this.#constant.forEach((tensor, i) => {
      at = bind(this.#words, at, tensor, this.#op.writes!(i));
    });
  }

  /** `gradients` have the parameters' shapes, and one dtype: theirs, or f32 where that is f16 or bf16; a recorded step reads `control` in the place of the constant one. */
  run(gradients: readonly Tensor[], control: Tensor): void {
    if (activeRecorder() === undefined) {
      this.#runNow(gradients);
      return;
    }
    const inputs = [...this.#constant, ...gradients];
    inputs[CONTROL] = control;
    apply(this.#op, inputs, undefined);
  }

  #programFor(dtype: DType): number {
    let program = this.#programs.get(dtype);
    if (program === undefined) {
      const gradients = this.#parameters.map(
        ({ shape, size }) => new Tensor(new SymbolicStorage(size * DTYPES[dtype].bytes), dtype, shape),
      );
      program = createProgram(this.#op, [...this.#constant, ...gradients]);
      released.register(this, program);
      this.#programs.set(dtype, program);
    }
    return program;
  }

  #runNow(gradients: readonly Tensor[]): void {
    const latest = this.#latest?.gradients === gradients ? this.#latest : undefined;
    if (latest?.bound !== undefined && isReady(latest.bound)) {
      const { program, bindings } = latest.bound;
      if (binding.runBound(program, bindings, [this.#constant, gradients]) === Status.busy) throw busy();
      return;
    }
    for (const tensor of this.#constant) {
      tensor.checkUsable();
      checkWritable(this.#op, tensor);
    }
    let isContiguous = true;
    for (const gradient of gradients) {
      gradient.checkUsable();
      isContiguous &&= gradient.contiguous;
    }
    const ready = isContiguous ? gradients : gradients.map(contiguous);
    try {
      const page = commandPage(this.#words.length);
      page.set(this.#words);
      let at = bindingWords(this.#constant.length);
      for (const gradient of ready) at = bind(page, at, gradient, false);
      const program = this.#programFor(gradients[0]?.dtype ?? 'f32');
      if (binding.runSync(program, [this.#constant, ready]) === Status.busy) throw busy();
      this.#forget();
      const bound = latest !== undefined && isContiguous ? this.#keep(program, gradients) : undefined;
      if (this.#remembers) this.#latest = { gradients, bound };
    } finally {
      if (!isContiguous) {
        ready.forEach((copy, i) => {
          if (copy !== gradients[i]) copy.dispose();
        });
      }
    }
  }

  /** Keeps what the latest call bound. */
  #keep(program: number, gradients: readonly Tensor[]): Bound {
    const bindings = binding.keepBindings();
    unbound.register(this, bindings, this);
    const storages = [...this.#constant, ...gradients].map(({ storage }) => storage);
    for (const storage of storages) storage.watched = true;
    const borrowed = storages.filter((storage) => storage instanceof BorrowedStorage);
    return { program, bindings, borrowed, changes: changesOfWatched() };
  }

  #forget(): void {
    if (this.#latest?.bound === undefined) return;
    unbound.unregister(this);
    binding.releaseBindings(this.#latest.bound.bindings);
  }
}

/** Whether memory is as it was when it was bound: none was disposed, frozen or transferred. */
function isReady({ borrowed, changes }: Bound): boolean {
  if (changes !== changesOfWatched()) return false;
  for (const storage of borrowed) if (!storage.usable) return false;
  return true;
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
