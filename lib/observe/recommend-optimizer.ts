import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions, defaultPool } from '../tensor/index.js';

/** Methods that the advice may name: classes of drivetrain. */
export type AdvisedOptimizer = 'Adam' | 'Adam8bit' | 'AdamW' | 'AdamW8bit' | 'LAMB';

export interface OptimizerQuery {
  /** How many numbers are trained. */
  parameters: number;
  /** Where they are trained; 'cpu' unless given. */
  device?: 'cpu' | 'gpu';
  /** Bytes for parameters, gradients and optimizer state together; the limit of `defaultPool` unless given. */
  memory?: number;
}

export interface OptimizerAdvice {
  /** What fits such a model: a method, and how its state is kept. */
  readonly ideal: {
    readonly name: AdvisedOptimizer;
    /** Its state is spread over several devices. */
    readonly sharded: boolean;
    /** 16-bit parameters and gradients on the device, beside f32 copies. */
    readonly mixedPrecision: boolean;
    /** Bytes of state, over all devices. */
    readonly stateBytes: number;
    readonly reason: string;
  };
  /** The class of drivetrain to construct now. */
  readonly name: AdvisedOptimizer;
  /** Options to construct it with. */
  readonly options: Readonly<Record<string, number>>;
  /** Bytes of state that it keeps. */
  readonly stateBytes: number;
  /** Bytes of f32 parameters, gradients and state; activations come on top (`recommendBatchSize`). */
  readonly bytes: number;
  /** Whether they fit into `memory`. */
  readonly fits: boolean;
  /** Why this one, and what it is not. */
  readonly reason: string;
}

/** Where a method for large batches begins to pay, and where one device no longer does. */
const LARGE = 1e8;
const HUGE = 1e9;

const F32 = 4;

/**
 * Bytes of state for each f32 parameter, and options to begin with: Adam's own; AdamW's of a GPT-3 of 1.3 · 10⁹ parameters
 * (arXiv:2005.14165, table 2.1 and appendix B); LAMB's between those for batches of 512 and 32,768 (arXiv:1904.00962).
 */
const METHODS: Readonly<Record<AdvisedOptimizer, { state: number; options: Record<string, number> }>> = {
  Adam: { state: 2 * F32, options: { lr: 1e-3 } },
  AdamW: { state: 2 * F32, options: { lr: 2e-4, weightDecay: 0.1 } },
  LAMB: { state: 2 * F32, options: { lr: 2e-3, weightDecay: 0.01 } },
  // Two codes of a byte, and two scales for each block of 256.
  Adam8bit: { state: 2 + (2 * F32) / 256, options: { lr: 1e-3 } },
  AdamW8bit: { state: 2 + (2 * F32) / 256, options: { lr: 2e-4, weightDecay: 0.1 } },
};

/**
 * An optimizer for a model of so many parameters: AdamW, sharded and in mixed precision, above 10⁹ on GPUs; LAMB above
 * 10⁸; Adam otherwise. `ideal` is that rule, and the rest is what drivetrain can construct now, on the processor, in f32:
 * with 8-bit state where memory asks for it.
 */
export function recommendOptimizer(query: OptimizerQuery): OptimizerAdvice {
  checkOptions('recommendOptimizer', query, ['parameters', 'device', 'memory']);
  const { parameters, device = 'cpu', memory = defaultPool.limit } = query;
  check(
    'parameters',
    'a whole number above 0',
    parameters,
    Number.isSafeInteger(parameters) && parameters > 0,
  );
  check('device', "'cpu' or 'gpu'", device, device === 'cpu' || device === 'gpu');
  check('memory', 'a number of bytes above 0', memory, memory > 0);
  const ideal = idealFor(parameters, device);
  const bytesOf = (name: AdvisedOptimizer) => parameters * (2 * F32 + METHODS[name].state);
  const small = ideal.name === 'Adam' ? 'Adam8bit' : 'AdamW8bit';
  const name = bytesOf(ideal.name) <= memory ? ideal.name : small;
  const bytes = bytesOf(name);
  const fits = bytes <= memory;
  return {
    ideal,
    name,
    options: METHODS[name].options,
    stateBytes: stateBytes(name, parameters),
    bytes,
    fits,
    reason: [
      name === ideal.name
        ? ideal.reason
        : `${ideal.name} would take ${gigabytes(bytesOf(ideal.name))} with f32 parameters and gradients, and ${gigabytes(memory)} are there: ${name} keeps a quarter of the state.`,
      ...(ideal.sharded
        ? ['drivetrain neither shards nor runs on a GPU yet: this is one process, on the processor, in f32.']
        : device === 'gpu'
          ? ['drivetrain does not run on a GPU yet: this is on the processor.']
          : []),
      ...(fits ? [] : [`Even so it takes ${gigabytes(bytes)}: more memory, or a smaller model, is needed.`]),
    ].join(' '),
  };
}

function idealFor(parameters: number, device: 'cpu' | 'gpu'): OptimizerAdvice['ideal'] {
  if (parameters > HUGE && device === 'gpu') {
    return {
      name: 'AdamW',
      sharded: true,
      mixedPrecision: true,
      // Moments, and f32 copies of 16-bit parameters.
      stateBytes: parameters * 3 * F32,
      reason:
        'Above 10⁹ parameters neither state nor f32 parameters should be whole on one device; decoupled decay is what such models are trained with.',
    };
  }
  const name = parameters > LARGE ? 'LAMB' : 'Adam';
  return {
    name,
    sharded: false,
    mixedPrecision: false,
    stateBytes: stateBytes(name, parameters),
    reason:
      name === 'LAMB'
        ? 'Models above 10⁸ parameters are trained with large batches, for which LAMB gives each layer a rate of its own.'
        : 'Adam needs the least tuning, and its state is small beside what else such a model takes.',
  };
}

const stateBytes = (name: AdvisedOptimizer, parameters: number) =>
  Math.ceil(parameters * METHODS[name].state);

const gigabytes = (bytes: number) => `${Number((bytes / 1e9).toPrecision(3))} GB`;

function check(name: string, expected: string, value: unknown, valid: boolean): void {
  if (valid) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for ${name} of recommendOptimizer but received ${inspect(value)}.`,
  );
}
