import { DrivetrainError } from '../native/index.js';
import { activeRecorder, contiguous, describeNonTensor } from '../ops/index.js';
import { checkOptions, defaultPool, Tensor } from '../tensor/index.js';
import type { Explanation } from './explain.js';
import { LiveSet } from './live-set.js';
import { Program, type RunOptions, runChecked } from './program.js';
import { record } from './record.js';

/**
 * Programs kept for one function: one for each set of input shapes, the least recently used is let go. Near the limit of the
 * default pool only the latest is kept.
 */
const MAX_PROGRAMS = 32;

/** Of one set of input shapes, those for the latest modes of layers. */
const MAX_MODES = 4;

/** The programs of every compiled function. */
const caches = new LiveSet<Map<string, unknown>>();

// Whatever tensors they made while they were recorded is found by the collector, which is asked to look next.
defaultPool.onPressure(({ missing }) => {
  if (missing === 0) for (const cache of caches) cache.clear();
});

/** A function that runs as a native program. Calling it awaits the run; outputs are fresh tensors that the caller disposes. */
export interface Compiled<A extends readonly Tensor[], R> {
  (...inputs: A): Promise<R>;
  /** The same with options. */
  run(inputs: A, options?: RunOptions): Promise<R>;
  /** Runs on the calling thread, which it holds: for small work. */
  runSync(...inputs: A): R;
  /** The program for inputs of these shapes and dtypes, recorded now if it was not yet. */
  program(...inputs: A): Program<R>;
  /**
   * What the program for these inputs consists of: instructions, shapes, bytes, FLOPs, memory, and the time that each
   * instruction takes. For that it runs several times on the calling thread, on copies of what it writes: nothing is
   * changed. `console.log` prints a table.
   */
  explain(...inputs: A): Explanation;
}

/**
 * Turns `fn` into a native program. `fn` is run once for each set of input shapes and dtypes, and once more where a layer
 * is in a mode in which it does something else, on tensors without values: what it does with them is recorded,
 * differentiated where it calls `grad`, and from then on executed natively, off the event loop, as one call. Tensors from
 * outside that it uses are captured by reference. Its writes to them (an optimizer's step, `assign`) happen all together
 * at the end of a run, or not at all.
 */
export function compile<A extends readonly Tensor[], R>(fn: (...inputs: A) => R): Compiled<A, R> {
  if (typeof fn !== 'function') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a function for compile, as in compile((x) => model.forward(x)), but received ${typeof fn}.`,
    );
  }
  const programs = new Map<string, readonly Program<R>[]>();
  caches.add(programs);
  let latest: Program<R> | undefined;

  const programFor = (inputs: readonly Tensor[]): Program<R> => {
    if (latest?.accepts(inputs) && latest.isCurrent()) return latest;
    const key = inputs.map(describe).join(';');
    const known = programs.get(key) ?? [];
    const program =
      known.find((one) => one.isCurrent()) ??
      new Program(record(fn as unknown as (...inputs: Tensor[]) => R, inputs));
    programs.delete(key);
    programs.set(key, [program, ...known.filter((one) => one !== program)].slice(0, MAX_MODES));
    if (programs.size > MAX_PROGRAMS) programs.delete(programs.keys().next().value!);
    latest = program;
    return program;
  };

  const run = async (inputs: A, options: RunOptions = {}): Promise<R> => {
    if (!Array.isArray(inputs)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected an array of inputs for run, as in compiled.run([x], { signal }), but received ${describeNonTensor(inputs)}.`,
      );
    }
    checkOptions('run', options, ['signal']);
    checkOutsideRecording();
    const program = programFor(inputs);
    return withContiguous(inputs, (ready) => program.run(ready, options));
  };
  const runSync = (...inputs: A): R => {
    checkOutsideRecording();
    const program = programFor(inputs);
    return withContiguous(inputs, (ready) => runChecked(program, ready));
  };
  return Object.assign((...inputs: A) => run(inputs), {
    run,
    runSync,
    program: (...inputs: A) => programFor(inputs),
    explain: (...inputs: A) => {
      checkOutsideRecording();
      const program = programFor(inputs);
      return withContiguous(inputs, (ready) => program.explain(ready));
    },
  });
}

function describe(input: unknown): string {
  if (!(input instanceof Tensor)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected tensors as inputs of a compiled function but received ${describeNonTensor(input)}.`,
    );
  }
  return `${input.dtype}[${input.shape.join()}]`;
}

function checkOutsideRecording(): void {
  if (activeRecorder() !== undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      'Expected a compiled function to be called outside of recording but another compile or valueAndGrad is active; call the plain function there.',
    );
  }
}

/** Calls `use` with row-major inputs; copies that were needed are freed when it has begun, since a run holds its memory. */
function withContiguous<T>(inputs: readonly Tensor[], use: (ready: readonly Tensor[]) => T): T {
  if (inputs.every((input) => input.contiguous)) return use(inputs);
  const ready = inputs.map(contiguous);
  try {
    return use(ready);
  } finally {
    ready.forEach((tensor, i) => {
      if (tensor !== inputs[i]) tensor.dispose();
    });
  }
}
