import { DrivetrainError } from '../native/index.js';
import { clone, type Op, type Recorder, type View, withRecorder } from '../ops/index.js';
import {
  checkShape,
  DTYPES,
  formatShape,
  outsideScopes,
  type Storage,
  SymbolicStorage,
  sizeOf,
  Tensor,
} from '../tensor/index.js';
import { coversStorage } from './plan.js';
import { callersLine, debug } from './source-line.js';
import type { OpEntry, Taped, TapeEntry } from './tape.js';

/** One recorded op: the tensors it reads and writes, in the order of its operands. */
export interface Step {
  readonly op: Op<unknown>;
  readonly attrs: unknown;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** The part of the program that it belongs to, where `checkpoint` made one. */
  readonly region?: number | undefined;
  /** The line of the user's function that recorded it, with DRIVETRAIN_DEBUG=1. */
  readonly line?: string | undefined;
}

/** What running a function on symbolic tensors left behind. */
export interface Recording<R> {
  readonly inputs: readonly Tensor[];
  readonly steps: readonly Step[];
  /** The function's result, its tensors symbolic and each with storage of its own. */
  readonly result: R;
  readonly outputs: readonly Tensor[];
  /** Whether what the function read and acted upon, as modes of layers, is as it was. */
  readonly holds: () => boolean;
}

export interface InputSpec {
  readonly shape: readonly number[];
  readonly dtype: Tensor['dtype'];
}

class ProgramRecorder implements Recorder, Taped {
  readonly tape: TapeEntry[] = [];
  readonly #atEnd: (() => void)[] = [];
  readonly #read: { read: () => boolean; value: boolean }[] = [];
  #line: string | undefined;
  #regions = 0;
  #region: number | undefined;

  apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
    inputs.forEach((input, i) => {
      if (op.writes?.(i)) checkLasting(op, input);
    });
    const outputs = op.infer(inputs, attrs).map(({ shape, dtype }) => symbolic({ shape, dtype }));
    const line = debug ? (this.#line ?? callersLine()) : undefined;
    const region = this.#region;
    this.tape.push({ kind: 'op', op: op as Op<unknown>, attrs, inputs, outputs, region, line });
    return outputs;
  }

  view(view: View, input: Tensor, output: Tensor): void {
    this.tape.push({ kind: 'view', view, inputs: [input], outputs: [output] });
  }

  atEnd(fn: () => void): void {
    this.#atEnd.push(fn);
  }

  reads(read: () => boolean): void {
    this.#read.push({ read, value: read() });
  }

  holds(): boolean {
    return this.#read.every(({ read, value }) => read() === value);
  }

  finish(): void {
    for (const fn of this.#atEnd) fn();
  }

  backward<T>(fn: () => T): T {
    try {
      return fn();
    } finally {
      this.#line = undefined;
    }
  }

  inNewRegion<T>(fn: () => T): T {
    return this.#region === undefined ? this.#within(2 * this.#regions++, fn) : fn();
  }

  again<T>(region: number, fn: () => T): T {
    return this.#within(region + 1, fn);
  }

  #within<T>(region: number, fn: () => T): T {
    const outer = this.#region;
    this.#region = region;
    try {
      return fn();
    } finally {
      this.#region = outer;
    }
  }

  differentiates({ line }: OpEntry): void {
    this.#line = line && `${line} (its gradient)`;
  }
}

/** Lasting state is what a program may write: tensors that exist outside of it. */
function checkLasting(op: { name: string }, target: Tensor): void {
  if (target.storage.kind === 'symbolic') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${op.name} inside compile(fn) to write a tensor made outside of fn but received an argument or a result of it (shape ${formatShape(target.shape)}); compute a new tensor instead.`,
    );
  }
}

function symbolic({ shape, dtype }: InputSpec): Tensor {
  checkShape(shape);
  return new Tensor(new SymbolicStorage(sizeOf(shape) * DTYPES[dtype].bytes), dtype, shape);
}

/**
 * Runs `fn` once on symbolic tensors and keeps the ops; changes no state. Constants that `fn` makes last as long as the
 * program, whatever scope is open.
 */
export function record<R>(fn: (...inputs: Tensor[]) => R, specs: readonly InputSpec[]): Recording<R> {
  const recorder = new ProgramRecorder();
  const inputs = specs.map(symbolic);
  const outputs: Tensor[] = [];
  const result = outsideScopes(() =>
    withRecorder(recorder, () => {
      const returned = fn(...inputs);
      if (typeof (returned as { then?: unknown } | null | undefined)?.then === 'function') {
        // What the promise comes to is of no use: its rejection must not end the process.
        Promise.resolve(returned).catch(() => {});
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          'Expected a synchronous function for compile but received one that returns a promise.',
        );
      }
      const taken = new Set<Storage>(inputs.map(({ storage }) => storage));
      const fresh = mapTensors(returned, (value) => {
        const output = ownStorage(value, taken);
        taken.add(output.storage);
        outputs.push(output);
        return output;
      });
      recorder.finish();
      return fresh;
    }),
  );
  const steps = recorder.tape.filter((entry) => entry.kind === 'op');
  checkKnown(steps, inputs, outputs);
  return { inputs, steps, result: result as R, outputs, holds: () => recorder.holds() };
}

/** An output must be a whole, row-major symbolic storage that no other output has: anything else is copied. */
function ownStorage(value: Tensor, taken: ReadonlySet<Storage>): Tensor {
  const { storage } = value;
  return storage.kind === 'symbolic' && coversStorage(value) && !taken.has(storage) ? value : clone(value);
}

/** A tensor without a value that another recording made has none here either. */
function checkKnown(steps: readonly Step[], inputs: readonly Tensor[], outputs: readonly Tensor[]): void {
  const known = new Set<Storage>(inputs.map(({ storage }) => storage));
  const check = ({ storage, shape }: Tensor) => {
    if (storage.kind !== 'symbolic' || known.has(storage)) return;
    throw new DrivetrainError(
      'DT_SYMBOLIC_VALUE',
      `Expected arguments, results and captured tensors inside compile(fn) but received a tensor (shape ${formatShape(shape)}) that another recording left behind; return it from there and pass it as an argument.`,
    );
  };
  for (const step of steps) {
    step.inputs.forEach(check);
    for (const { storage } of step.outputs) known.add(storage);
  }
  outputs.forEach(check);
}

/** The same structure (a tensor, or arrays and plain objects of them) with each tensor replaced. */
export function mapTensors(value: unknown, replace: (value: Tensor) => Tensor): unknown {
  if (value instanceof Tensor) return replace(value);
  if (Array.isArray(value)) return value.map((item) => mapTensors(item, replace));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTensors(item, replace)]));
  }
  if (value === undefined) return value;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a compiled function to return tensors, or arrays and objects of them, but received ${typeof value}.`,
  );
}
