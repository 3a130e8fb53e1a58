import { DrivetrainError } from './errors.js';
import load from './load.cjs';
import type { TypedArray } from './typed-array.js';

/** What `deviceInfo()` says: which processor path runs, and with how many threads. */
export interface DeviceInfo {
  /** The instruction set whose kernels run: the best that the processor has, or what `DRIVETRAIN_ISA` pinned. */
  readonly isa: string;
  /** All instruction sets that this build and this processor share, best first. */
  readonly isas: readonly string[];
  /** Threads that native work may use. */
  readonly threads: number;
  /** Processors that this process may really use: affinity and cgroup quota counted. */
  readonly processors: number;
  /** True in a build with address and undefined-behaviour sanitizers. */
  readonly sanitized: boolean;
}

/**
 * The outcome of a native call that takes locks; of a run that is not `ok`, nothing lasting was written. Why one was
 * `refused` stands in the command page (`readRefusal`).
 */
export const Status = { ok: 0, busy: 1, cancelled: 2, refused: 3, pending: 4 } as const;

/**
 * The whole native surface. TypeScript has validated everything that crosses it: handles are checked, the rest is
 * trusted. Sizes, offsets and handles cross as doubles.
 */
export interface Binding {
  /** Hash of the opcode list that the addon was compiled with. */
  readonly opcodeHash: string;
  deviceInfo(): DeviceInfo;
  setThreads(threads: number): void;

  /** Makes this environment's state; `onComplete` is called once for each awaited run. */
  start(onComplete: (runId: number, status: number) => void): void;
  /** The page through which commands pass: native code reads it in `execute`, `run` and `runSync`, and writes it where it refuses one. */
  setCommandPage(page: Float64Array): void;

  /** Tells V8 of memory that it does not count itself. */
  adjustExternalMemory(bytes: number): void;
  /** Gives the pages of a free range back to the system; its content is undefined afterwards. */
  discardPages(slab: Uint8Array, byteOffset: number, bytes: number): void;
  /** Marks a range as not to be touched by native code, or as usable again. Only in sanitized builds. */
  poison(slab: Uint8Array, byteOffset: number, bytes: number, poisoned: boolean): void;
  /** Where in memory the view begins. */
  address(view: TypedArray): number;

  /** Registers a range of shared memory; returns its handle. A range that overlaps one of these shares its lock. */
  createStorage(address: number, bytes: number): number;
  releaseStorage(storage: number): void;
  /** Takes a storage's lock for the calling thread if no run holds it; false where one does. */
  lock(storage: number, write: boolean): boolean;
  unlock(storage: number, write: boolean): void;

  /** Runs the one instruction in the command page now. `held` keeps callers' arrays alive until then. */
  execute(held: unknown): number;

  createProgram(words: Float64Array): number;
  releaseProgram(program: number): void;
  /**
   * Submits a run with the bindings in the command page: `pending`, and `onComplete(runId, status)` follows. One of little
   * work whose locks are free is done at once instead: its status, and no `onComplete`.
   */
  run(program: number, runId: number): number;
  /** Runs with the bindings in the command page now. `held` keeps callers' arrays alive until then. */
  runSync(program: number, held: unknown): number;
  /** Keeps the bindings of the last `runSync`, for `runBound`; they hold only while their memory is there. */
  keepBindings(): number;
  releaseBindings(bindings: number): void;
  /** Runs with bindings that were kept. `held` keeps callers' arrays alive until then. */
  runBound(program: number, bindings: number, held: unknown): number;
  /** The same as `runSync`, and writes the nanoseconds of each instruction to `times`. */
  profile(program: number, held: unknown, times: Float64Array): number;
  /**
   * Looks for non-finite values from the next run on: `roles` says of each operand of each instruction what it is, as in
   * native/program/program.h.
   */
  watch(program: number, roles: Uint8Array): void;
  /** Whether one was found since the last call; then its instruction, and the operand it came in by or -1, in `found`. */
  takeNonFinite(program: number, found: Float64Array): boolean;
  cancel(runId: number): void;

  /** The size of a packed INT8 weight of k rows and n columns, for the kernels in use. */
  packedInt8Bytes(k: number, n: number): number;
  /** The size of what `packMatmul` makes of k rows and n columns of f32 (`double`: f64), for the kernels in use. */
  packedMatmulBytes(k: number, n: number, double: boolean): number;
}

function loadAddon(): Binding {
  try {
    return load();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new DrivetrainError(code === 'DT_UNSUPPORTED_ISA' ? code : 'DT_ADDON_LOAD', message, {
      cause: error,
    });
  }
}

export const binding: Binding = loadAddon();
