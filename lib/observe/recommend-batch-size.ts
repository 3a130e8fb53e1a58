import { DrivetrainError, inspect } from '../native/index.js';
import { align, type Compiled, type Footprint, type Program } from '../program/index.js';
import {
  checkOptions,
  collectStorages,
  DTYPES,
  defaultPool,
  SharedStorage,
  SymbolicStorage,
  sizeOf,
  Tensor,
} from '../tensor/index.js';
import { stateTensors } from './state-tensors.js';
import type { MonitoredOptimizer } from './training-monitor.js';

export interface BatchSizeQuery {
  /** The compiled training step, optimizer and all. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever inputs and results it has
  step: Compiled<any, any>;
  /** A batch for it, of any size: the first dimension of the first one. Inputs that begin with the same dimension grow with it. */
  inputs: readonly Tensor[];
  optimizer: MonitoredOptimizer;
  /**
   * Bytes of pool memory for parameters, state, inputs and temporaries together. Unless given, what the default pool's
   * limit leaves beside what else it holds.
   */
  memory?: number;
  /** Samples that one update should see; several batches are accumulated where they do not fit at once. */
  totalBatch?: number;
}

export interface BatchSizeAdvice {
  /** Samples of one run of the step. */
  readonly batchSize: number;
  /** Runs whose gradients are to be added up for one update; batchSize · accumulationSteps ≥ totalBatch. */
  readonly accumulationSteps: number;
  /** The largest batch that fits, at most `totalBatch`. */
  readonly largest: number;
  /** Bytes at `batchSize`. */
  readonly bytes: {
    readonly parameters: number;
    readonly gradients: number;
    readonly optimizerState: number;
    /** Temporaries of forward and backward pass that are alive at once, beside the gradients. */
    readonly activations: number;
    readonly inputs: number;
    /** Sums of gradients, where they are accumulated. */
    readonly accumulated: number;
    /** Results, constants and other tensors that the step uses. */
    readonly other: number;
    readonly total: number;
  };
  readonly memory: number;
}

/** Nobody wants a batch beyond it, whatever the memory. */
const MAX_BATCH = 2 ** 20;

/**
 * The largest batch whose training step fits into memory, found by recording the step (nothing runs): what counts is its
 * own memory plan. With `totalBatch`, the batch size that takes the least accumulation steps. Records the step some ten
 * times, on the calling thread. Throws `DT_INVALID_ARGUMENT` where not even one sample fits.
 */
export function recommendBatchSize(query: BatchSizeQuery): BatchSizeAdvice {
  checkOptions('recommendBatchSize', query, ['step', 'inputs', 'optimizer', 'memory', 'totalBatch']);
  const { step, inputs, optimizer, totalBatch } = query;
  check('step', 'a compiled function', step, typeof step?.program === 'function');
  check('optimizer', 'an optimizer', optimizer, Array.isArray(optimizer?.paramGroups));
  const isList = Array.isArray(inputs) && inputs.every((input) => input instanceof Tensor);
  const given = isList ? inputs[0]?.shape[0] : undefined;
  check(
    'inputs',
    'tensors whose first dimension is that of the batch',
    inputs,
    given !== undefined && given > 0,
  );
  check(
    'totalBatch',
    'a whole number above 0',
    totalBatch,
    totalBatch === undefined || (Number.isSafeInteger(totalBatch) && totalBatch > 0),
  );
  const programAt = (batch: number) => step.program(...inputs.map((input) => ofBatch(input, given!, batch)));
  const footprintAt = (batch: number): Footprint => programAt(batch).footprint;
  const beside = bytesBeside(optimizer, programAt(given!));
  const memory = query.memory ?? remaining(footprintAt(given!)) + beside;
  check('memory', 'a number of bytes above 0', memory, memory > 0);

  const most = Math.min(totalBatch ?? MAX_BATCH, MAX_BATCH);
  const search = (budget: number) =>
    largestWithin(budget, most, (batch) => total(footprintAt(batch)) + beside);
  const parameters = bytesOf(optimizer.paramGroups.flatMap(({ params }) => params));
  let largest = search(memory);
  let accumulated = 0;
  if (totalBatch !== undefined && largest < totalBatch) {
    accumulated = parameters;
    largest = search(memory - accumulated);
  }
  if (largest === 0) {
    const least = total(footprintAt(1)) + beside + accumulated;
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected memory for at least one sample, ${least} bytes, for recommendBatchSize but received ${memory}; take an optimizer with less state (AdamW8bit), a smaller model or shorter samples.`,
    );
  }
  const accumulationSteps = totalBatch === undefined ? 1 : Math.ceil(totalBatch / largest);
  const batchSize = totalBatch === undefined ? largest : Math.ceil(totalBatch / accumulationSteps);
  const found = footprintAt(batchSize);
  const optimizerState = bytesOf(Object.values(stateTensors(optimizer)));
  // All gradients are there when the optimizer steps.
  const gradients = Math.min(parameters, found.temporaries);
  const all = total(found) + beside + accumulated;
  const bytes = {
    parameters,
    gradients,
    optimizerState,
    activations: found.temporaries - gradients,
    inputs: found.inputs,
    accumulated,
    other: found.captured - parameters - optimizerState + found.outputs + beside,
    total: all,
  };
  return { batchSize, accumulationSteps, largest, bytes, memory };
}

const total = ({ inputs, outputs, temporaries, captured }: Footprint) =>
  inputs + outputs + temporaries + captured;

/** What the optimizer keeps that this step does not use: a few numbers for steps of other kinds. */
function bytesBeside(optimizer: MonitoredOptimizer, program: Program<unknown>): number {
  const found = new Set<unknown>();
  collectStorages(optimizer, found);
  const storages = [...found].filter((one) => one instanceof SharedStorage);
  return storages
    .filter((storage) => !storage.callerOwned && !program.captures(storage))
    .reduce((sum, { byteLength }) => sum + align(byteLength), 0);
}

/** The bytes of the tensors' memory, each counted once. */
function bytesOf(tensors: readonly Tensor[]): number {
  const storages = new Set(tensors.map(({ storage }) => storage).filter(({ callerOwned }) => !callerOwned));
  return [...storages].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** What the default pool can give the step, beside what it holds already for others. */
function remaining({ captured }: Footprint): number {
  return defaultPool.limit - defaultPool.statistics.current + captured;
}

/** A tensor like the input, without values, for another batch. */
function ofBatch({ shape, dtype }: Tensor, given: number, batch: number): Tensor {
  const own = shape[0] === given ? [batch, ...shape.slice(1)] : [...shape];
  return new Tensor(new SymbolicStorage(sizeOf(own) * DTYPES[dtype].bytes), dtype, own);
}

/** The largest number from 1 to `most` whose bytes are within the budget, 0 where none is; bytes rise about linearly. */
function largestWithin(budget: number, most: number, bytesAt: (batch: number) => number): number {
  let low = { batch: 1, bytes: bytesAt(1) };
  if (low.bytes > budget) return 0;
  let high = { batch: 2, bytes: bytesAt(Math.min(2, most)) };
  for (let turn = 0; high.bytes <= budget && high.batch < most; turn++) {
    const slope = (high.bytes - low.bytes) / (high.batch - low.batch);
    low = high;
    // A little beyond where the line meets the budget.
    const guess = Math.floor(low.batch + (budget - low.bytes) / slope) + 1;
    const batch = Math.min(most, Math.max(low.batch + 2 ** turn, Number.isFinite(guess) ? guess : most));
    high = { batch, bytes: bytesAt(batch) };
  }
  if (high.bytes <= budget) return Math.min(high.batch, most);
  for (let turn = 0; high.batch - low.batch > 1; turn++) {
    const [width, share] = [high.batch - low.batch, (budget - low.bytes) / (high.bytes - low.bytes)];
    // Along the line first; in every other turn by half, which ends for any curve.
    const ahead = turn % 2 === 0 ? Math.floor(width * share) : Math.floor(width / 2);
    const batch = low.batch + Math.min(width - 1, Math.max(1, ahead));
    const found = { batch, bytes: bytesAt(batch) };
    if (found.bytes <= budget) low = found;
    else high = found;
  }
  return low.batch;
}

function check(name: string, expected: string, value: unknown, valid: boolean): void {
  if (valid) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for ${name} of recommendBatchSize but received ${inspect(value, { depth: 0 })}.`,
  );
}
