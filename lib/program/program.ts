import { binding, commandPage, DrivetrainError, type Refusal, readRefusal, Status } from '../native/index.js';
import { bindingWords, indexOutOfRange, writeBinding } from '../ops/index.js';
import {
  BorrowedStorage,
  busy,
  currentPool,
  DTYPES,
  type MemoryPool,
  type SharedStorage,
  type Storage,
  sameShape,
  storagesOverlap,
  Tensor,
} from '../tensor/index.js';
import { Arenas } from './arenas.js';
import { type Captured, capturedBy, checkApart, checkCaptured } from './captured.js';
import { splitSections } from './commit.js';
import { encode } from './encode.js';
import { Explanation, explainSteps } from './explain.js';
import { checkInput } from './inputs.js';
import { describeStep, foundNonFinite, nonFiniteGradients, watchNonFinite } from './non-finite.js';
import { optimise } from './optimise.js';
import { PackedStorage, packable } from './pack.js';
import { align, type MemoryPlan, type MemoryReport, planMemory } from './plan.js';
import { mapTensors, type Recording, type Step } from './record.js';
import { RunMemory, snapshot } from './run-memory.js';
import { submitRun } from './runs.js';
import { debug } from './source-line.js';

export interface RunOptions {
  /** Ends the run between two instructions, unless it has begun to write its results to lasting state. */
  signal?: AbortSignal;
}

/** Bytes of pool memory that are in use while a program runs. */
export interface Footprint {
  readonly inputs: number;
  readonly outputs: number;
  /** The arena: activations, gradients and whatever else is gone afterwards. */
  readonly temporaries: number;
  /** Tensors that the function found outside of itself: parameters, optimizer state. */
  readonly captured: number;
}

/** Temporaries up to this size lie in native scratch, one block a thread. */
const MAX_SCRATCH_BYTES = 64 * 2 ** 10;

/** `explain` measures for so long, at least twice and at most so often. */
const MEASURED_MS = 100;
const MAX_MEASUREMENTS = 20;

const released = new FinalizationRegistry<number>((handle) => binding.releaseProgram(handle));

/**
 * Runs synchronously with inputs that the program accepts, while it holds: for `compile`, which has seen to both. Not a method,
 * which others could call with inputs that would be read out of bounds.
 */
export let runChecked: <R>(program: Program<R>, inputs: readonly Tensor[]) => R;

/**
 * A recorded function for one exact set of input shapes: native code executes it in one call. Inputs are read,
 * captured tensors are used by reference, outputs are fresh tensors.
 */
export class Program<R> {
  /** Instructions that one run executes. */
  readonly instructions: number;
  /** The memory that the program's temporaries take. */
  readonly memory: MemoryReport;
  readonly footprint: Footprint;
  readonly #handle: number;
  /** Bytes of pool memory that each run takes for temporaries; none where native scratch has room for them. */
  readonly #arenaBytes: number;
  /** Of awaited runs. */
  readonly #arenas: Arenas;
  readonly #inputs: readonly Tensor[];
  readonly #outputs: readonly Tensor[];
  readonly #captured: readonly Captured[];
  readonly #written: ReadonlySet<Storage>;
  /** Those of what it captures that are copies of frozen matrices. */
  readonly #packed: readonly PackedStorage[];
  /** Pool matrices of its products that were not frozen when it was recorded. */
  readonly #unpacked: readonly Storage[];
  /** Those that it writes that are a caller's. */
  readonly #writtenCallers: readonly Storage[];
  readonly #result: R;
  readonly #holds: () => boolean;
  readonly #steps: readonly Step[];
  readonly #commitStart: number;
  readonly #plan: MemoryPlan;
  #warned = false;

  constructor(recording: Recording<R>) {
    const { compute, commit } = splitSections(optimise(recording));
    const steps = [...compute, ...commit];
    const ends = [...recording.inputs, ...recording.outputs].map(({ storage }) => storage);
    const plan = planMemory(steps, new Set(ends));
    this.#steps = steps;
    this.#commitStart = compute.length;
    this.#plan = plan;
    this.#inputs = recording.inputs;
    this.#outputs = recording.outputs;
    this.#result = recording.result;
    this.#holds = recording.holds;
    this.#captured = capturedBy(steps);
    checkApart(this.#captured);
    this.#written = new Set(this.#captured.filter(({ written }) => written).map(({ storage }) => storage));
    const storages = this.#captured.map(({ storage }) => storage);
    this.#packed = storages.filter((storage) => storage instanceof PackedStorage);
    this.#unpacked = packable(steps);
    this.#writtenCallers = [...this.#written].filter(({ callerOwned }) => callerOwned);
    this.instructions = steps.length;
    this.memory = plan.report;
    const { planned } = plan.report;
    this.#arenaBytes = planned > MAX_SCRATCH_BYTES ? planned : 0;
    this.#arenas = new Arenas(this.#arenaBytes);
    const blocks = (storages: readonly Storage[]) =>
      storages.reduce((sum, { byteLength }) => sum + align(byteLength), 0);
    this.footprint = {
      inputs: blocks(recording.inputs.map(({ storage }) => storage)),
      outputs: blocks(recording.outputs.map(({ storage }) => storage)),
      temporaries: this.#arenaBytes,
      captured: blocks(
        this.#captured.map(({ storage }) => storage).filter(({ callerOwned }) => !callerOwned),
      ),
    };
    const bound = [...ends, ...this.#captured.map(({ storage }) => storage)];
    this.#handle = binding.createProgram(encode(steps, compute.length, plan, this.#arenaBytes > 0, bound));
    released.register(this, this.#handle);
    if (debug) {
      const given = new Set(recording.inputs.map(({ storage }) => storage));
      const isInside = ({ storage }: Tensor) => storage.kind === 'symbolic' && !given.has(storage);
      watchNonFinite(this.#handle, steps, plan, isInside);
    }
  }

  /**
   * Runs off the event loop, or at once where that costs less than handing over. Typed arrays of the caller's among the
   * inputs are copied first. Rejects with `DT_ABORTED` when cancelled, `DT_NON_FINITE` where an optimizer refuses its
   * gradients and `DT_INDEX_OUT_OF_RANGE` for a label or index that there is not; then nothing was written. Throws
   * `DT_NOT_SHARED` where it would write a caller's array.
   */
  async run(inputs: readonly Tensor[], options: RunOptions = {}): Promise<R> {
    this.#check(inputs);
    const pool = currentPool();
    const memory = new RunMemory();
    const arena = this.#arenaBytes > 0 ? this.#arenas.take(pool) : undefined;
    try {
      const held: SharedStorage[] = [];
      this.#bind(memory, pool, inputs, arena?.storage, (storage, written) => {
        const borrowed = storage instanceof BorrowedStorage;
        if (written && borrowed) throw notShared();
        const shared = borrowed ? snapshot(storage, pool) : storage;
        if (shared !== storage) memory.temporaries.push(shared);
        held.push(shared as SharedStorage);
        return shared;
      });
      for (const storage of held) storage.enterRun();
      try {
        await submitRun(this.#handle, options.signal, (refusal) => this.#refused(refusal));
        if (debug) this.#warn();
      } finally {
        for (const storage of held) storage.leaveRun();
      }
      return this.#results(memory);
    } finally {
      memory.dispose();
      if (arena !== undefined) this.#arenas.giveBack(arena);
    }
  }

  /** Runs on the calling thread, which it holds: for small work. Throws `DT_TENSOR_BUSY` where an awaited run is in the way. */
  runSync(inputs: readonly Tensor[]): R {
    this.#check(inputs);
    return this.#runChecked(inputs);
  }

  static {
    runChecked = (program, inputs) => program.#runChecked(inputs);
  }

  #runChecked(inputs: readonly Tensor[]): R {
    const memory = new RunMemory();
    try {
      const pool = currentPool();
      this.#bind(memory, pool, inputs, this.#ownArena(memory, pool), (storage) => storage);
      const status = binding.runSync(this.#handle, [inputs, this.#captured]);
      if (status !== Status.ok) throw status === Status.busy ? busy() : this.#refused(readRefusal());
      if (debug) this.#warn();
      return this.#results(memory);
    } finally {
      memory.dispose();
    }
  }

  /**
   * What the program consists of, with the time of each instruction where inputs are given: then it runs several times on
   * the calling thread, on copies of what it writes, so that nothing is changed.
   */
  explain(inputs?: readonly Tensor[]): Explanation {
    const names = new Map<Storage, string>();
    const name = (what: string, storages: readonly Storage[]) => {
      storages.forEach((storage, i) => {
        names.set(storage, `${what} ${i}`);
      });
    };
    name(
      'input',
      this.#inputs.map(({ storage }) => storage),
    );
    name(
      'result',
      this.#outputs.map(({ storage }) => storage),
    );
    name(
      'captured',
      this.#captured.map(({ storage }) => storage),
    );
    for (const [storage, offset] of this.#plan.offsets) names.set(storage, `arena +${offset}`);
    const instructions = explainSteps(
      this.#steps,
      this.#commitStart,
      (storage) => names.get(storage)!,
      inputs && this.#measure(inputs),
    );
    return new Explanation(instructions, this.memory, this.footprint);
  }

  /** The least nanoseconds of each instruction in several runs. */
  #measure(inputs: readonly Tensor[]): Float64Array {
    this.#check(inputs);
    const least = new Float64Array(this.instructions).fill(Number.POSITIVE_INFINITY);
    const times = new Float64Array(this.instructions);
    const pool = currentPool();
    const end = performance.now() + MEASURED_MS;
    for (let i = 0; i < MAX_MEASUREMENTS && (i < 2 || performance.now() < end); i++) {
      const memory = new RunMemory();
      try {
        this.#bind(memory, pool, inputs, this.#ownArena(memory, pool), (storage) => {
          if (!this.#written.has(storage)) return storage;
          const copy = snapshot(storage, pool);
          memory.temporaries.push(copy);
          return copy;
        });
        const status = binding.profile(this.#handle, [inputs, this.#captured], times);
        if (status !== Status.ok) throw status === Status.busy ? busy() : this.#refused(readRefusal());
      } finally {
        memory.dispose();
      }
      for (let at = 0; at < times.length; at++) least[at] = Math.min(least[at]!, times[at]!);
    }
    return least;
  }

  #ownArena({ temporaries }: RunMemory, pool: MemoryPool): Storage | undefined {
    if (this.#arenaBytes === 0) return undefined;
    const arena = pool.allocate(this.#arenaBytes);
    temporaries.push(arena);
    return arena;
  }

  /** The error of a run that was refused. */
  #refused(refusal: Refusal): DrivetrainError {
    const found = debug
      ? foundNonFinite(this.#handle, this.#steps)
      : 'DRIVETRAIN_DEBUG=1 names the op that made the first such value.';
    const { op, inputs, attrs, line } = this.#steps[refusal.instruction]!;
    return op.indices === undefined
      ? nonFiniteGradients(found)
      : indexOutOfRange(op.indices(inputs, attrs), inputs, refusal, line);
  }

  /** Says once where a value that is not finite came from. */
  #warn(): void {
    const found = foundNonFinite(this.#handle, this.#steps);
    if (found === undefined || this.#warned) return;
    this.#warned = true;
    process.emitWarning(found, { type: 'DrivetrainWarning', code: 'DT_NON_FINITE' });
  }

  /** The step that uses, or writes, a captured storage. */
  readonly #userOf = (captured: Captured): string => {
    const step = this.#steps.find(({ op, inputs }) =>
      inputs.some((input, i) => input.storage === captured.storage && (!captured.written || op.writes?.(i))),
    );
    return describeStep(step!);
  };

  /** Whether the inputs have the shapes and dtypes that were recorded. */
  accepts(inputs: readonly Tensor[]): boolean {
    if (inputs.length !== this.#inputs.length) return false;
    for (let i = 0; i < inputs.length; i++) {
      const [input, expected] = [inputs[i], this.#inputs[i]!];
      if (!(input instanceof Tensor) || input.dtype !== expected.dtype) return false;
      if (!sameShape(input.shape, expected.shape)) return false;
    }
    return true;
  }

  /** Whether it uses memory that was there before it was recorded. @internal */
  captures(storage: Storage): boolean {
    return this.#captured.some((captured) => captured.storage === storage);
  }

  /** Whether the modes of layers that it was recorded in are as they were: training or evaluation, frozen or not. */
  holds(): boolean {
    return this.#holds() && this.#packed.every(({ source }) => source.frozen || source.disposed);
  }

  /** Whether it holds and a new recording would pack no more matrices than it has packed. @internal */
  isCurrent(): boolean {
    return this.holds() && !this.#unpacked.some(({ frozen }) => frozen);
  }

  /** Slots have the shapes that were recorded: any other input would be read out of bounds. */
  #check(inputs: readonly Tensor[]): void {
    if (!this.accepts(inputs) || !inputs.every(({ contiguous }) => contiguous)) {
      const list = (tensors: readonly Tensor[]) => tensors.map((t) => `${t?.dtype} [${t?.shape}]`).join(', ');
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected contiguous inputs ${list(this.#inputs) || 'none'} for this program but received ${list(inputs) || 'none'}; the compiled function itself takes any shapes.`,
      );
    }
    if (!this.holds()) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        'Expected layers in the mode (training or evaluation, frozen or not) that this program was recorded in but one has another by now; the compiled function itself records what is new.',
      );
    }
  }

  /** Binds every slot in the command page, to new memory where it is the run's own; `resolve` says what stands in for a storage. */
  #bind(
    { outputs, pinned }: RunMemory,
    pool: MemoryPool,
    inputs: readonly Tensor[],
    arena: Storage | undefined,
    resolve: (storage: Storage, written: boolean) => Storage,
  ): void {
    const arenas = arena === undefined ? 0 : 1;
    const slots = arenas + inputs.length + this.#outputs.length + this.#captured.length;
    // The page is written at the end: what allocates may call listeners, and what packs writes the same page.
    const bound: Storage[] = [];
    if (arena !== undefined) bound.push(resolve(arena, true));
    for (const input of inputs) {
      checkInput(input, this.#writes(input.storage));
      bound.push(resolve(input.storage, false));
    }
    for (const { storage, dtype, shape, strides } of this.#outputs) {
      const output = new Tensor(pool.allocate(storage.byteLength), dtype, shape, strides);
      outputs.push(output);
      bound.push(resolve(output.storage, true));
    }
    for (const captured of this.#captured) {
      checkCaptured(captured, this.#userOf);
      if (captured.storage.kind !== 'packed') {
        bound.push(resolve(captured.storage, captured.written));
        continue;
      }
      const packed = (captured.storage as PackedStorage).current();
      packed.enterRun();
      pinned.push(packed);
      bound.push(resolve(packed, false));
    }
    const page = commandPage(bindingWords(slots));
    page[0] = slots;
    let [slot, at] = [0, 1];
    const write = (written: boolean, byteOffset = 0) => {
      at = writeBinding(page, at, bound[slot++]!, byteOffset, written);
    };
    if (arena !== undefined) write(true);
    for (const { offset, dtype } of inputs) write(false, offset * DTYPES[dtype].bytes);
    for (let i = 0; i < outputs.length; i++) write(true);
    for (const { written } of this.#captured) write(written);
  }

  /** Whether a run writes to the storage's bytes. Blocks of pools lie apart; a caller's array may overlap anything. */
  #writes(storage: Storage): boolean {
    if (this.#written.has(storage)) return true;
    const others = storage.callerOwned ? [...this.#written] : this.#writtenCallers;
    return others.some((written) => storagesOverlap(storage, written));
  }

  /** The function's result with the run's tensors in the place of the recorded ones. */
  #results(memory: RunMemory): R {
    memory.handedOut = true;
    return mapTensors(this.#result, (value) => memory.outputs[this.#outputs.indexOf(value)]!) as R;
  }
}

function notShared(): DrivetrainError {
  return new DrivetrainError(
    'DT_NOT_SHARED',
    "Expected an awaited run to write pool memory but it would write a caller's typed array, which could be transferred meanwhile; make the parameter with tensor(array), or use runSync.",
  );
}
