import { DrivetrainError, type TypedArray } from '../../native/index.js';
import { loadState, stateEntry } from '../../nn/index.js';
import {
  add,
  assign,
  div,
  Generator,
  globalNorm,
  mul,
  rand,
  randn,
  transient,
  zeros,
} from '../../ops/index.js';
import { checkOptions, isHalf, outsideScopes, Tensor, tensor, wrap } from '../../tensor/index.js';
import type { StepReport } from '../gradient-control.js';
import { checkStepper, type Stepper } from '../optimizer.js';
import { checkOutsideRecording } from '../outside-recording.js';
import { type PrivateSteps, RdpAccountant } from './accountant.js';

export interface DPOptions {
  /** The standard deviation of the noise, in units of `maxGradNorm`; `noiseMultiplierFor` plans it. */
  noiseMultiplier: number;
  /** The L2 norm to which the gradient of each sample is clipped, over all parameters. */
  maxGradNorm: number;
  /** Samples in the data. */
  datasetSize: number;
  /** Samples in a batch on average; each is drawn with the chance batchSize / datasetSize. */
  batchSize: number;
  /** The budget: ε; 1 unless given. */
  epsilon?: number;
  /** δ of the budget; 1e-5 unless given. */
  delta?: number;
}

const OPTIONS = [
  'noiseMultiplier',
  'maxGradNorm',
  'datasetSize',
  'batchSize',
  'epsilon',
  'delta',
] as const satisfies readonly (keyof DPOptions)[];

/**
 * Trains with differential privacy: DP-SGD of Abadi and others, arXiv:1607.00133, algorithm 1, round any optimizer. The
 * gradient of each sample is clipped, their sum gets Gaussian noise, and the optimizer steps with the sum over the
 * expected batch size. A step that would spend more than the budget throws `DT_PRIVACY_BUDGET` and changes nothing.
 *
 * The guarantee holds for batches of `sampleBatch()` (Poisson sampling), and for the parameters, not for losses or
 * accuracies that are looked at. Noise comes from Philox4x32-10 with a seed of the system's cryptographic generator, as
 * floating-point numbers.
 */
export class DPOptimizer {
  readonly accountant = new RdpAccountant();
  readonly #optimizer: Stepper;
  readonly #options: Required<DPOptions>;
  readonly #kind: PrivateSteps;
  readonly #noise: Generator;
  readonly #sampling: Generator;
  /** Of each parameter: the sum of the clipped gradients since the last step, and room for one of them. */
  readonly #sums: readonly (readonly [sum: Tensor, clipped: Tensor])[];

  constructor(optimizer: Stepper, options: DPOptions) {
    checkStepper('DPOptimizer', optimizer);
    checkOptions('DPOptimizer', options, OPTIONS);
    const { noiseMultiplier, maxGradNorm, datasetSize, batchSize, epsilon = 1, delta = 1e-5 } = options;
    check('maxGradNorm', 'a finite number above 0', maxGradNorm, maxGradNorm > 0 && maxGradNorm < Infinity);
    check(
      'datasetSize',
      'a whole number above 0',
      datasetSize,
      Number.isSafeInteger(datasetSize) && datasetSize > 0,
    );
    check(
      'batchSize',
      'a number above 0, at most datasetSize',
      batchSize,
      batchSize > 0 && batchSize <= datasetSize,
    );
    check('epsilon', 'a number above 0', epsilon, epsilon > 0);
    this.#optimizer = optimizer;
    this.#options = { noiseMultiplier, maxGradNorm, datasetSize, batchSize, epsilon, delta };
    this.#kind = { noiseMultiplier, sampleRate: batchSize / datasetSize, steps: 1 };
    this.accountant.epsilon(delta, this.#kind);
    const parameters = optimizer.paramGroups.flatMap(({ params }) => params);
    const half = parameters.find(({ dtype }) => isHalf(dtype));
    check('parameters', 'f32 or f64', half?.dtype, half === undefined);
    [this.#noise, this.#sampling, this.#sums] = outsideScopes(() => [
      secretGenerator(),
      secretGenerator(),
      parameters.map(({ shape, dtype }) => [zeros(shape, { dtype }), zeros(shape, { dtype })] as const),
    ]);
  }

  get paramGroups(): Stepper['paramGroups'] {
    return this.#optimizer.paramGroups;
  }

  get steps(): number {
    return this.#optimizer.steps;
  }

  /** What the optimizer's latest step found, in the noisy mean. */
  get lastStep(): StepReport | undefined {
    return this.#optimizer.lastStep;
  }

  /** The privacy spent so far: ε at the budget's δ. */
  get epsilon(): number {
    return this.accountant.epsilon(this.#options.delta);
  }

  /** The indices of a batch: each sample is in it with the chance batchSize / datasetSize, so that sizes differ. */
  sampleBatch(): Uint32Array {
    const { datasetSize } = this.#options;
    return transient(() => {
      const draws = rand([datasetSize], {
        dtype: 'f64',
        generator: this.#sampling,
      }).toArray() as Float64Array;
      return Uint32Array.from(draws.keys()).filter((i) => draws[i]! < this.#kind.sampleRate);
    });
  }

  /**
   * Adds the gradients of one sample, clipped to `maxGradNorm`: as for `step` of the optimizer. Gradients with NaN or
   * infinity throw `DT_NON_FINITE`, and nothing is added.
   */
  accumulate(gradients: readonly (Tensor | TypedArray)[]): void {
    check(
      'gradients',
      `an array of ${this.#sums.length}`,
      gradients,
      gradients?.length === this.#sums.length,
    );
    transient(() => {
      const tensors = gradients.map((gradient, i) =>
        gradient instanceof Tensor ? gradient : wrap(gradient, this.#sums[i]![0].shape),
      );
      const norm = Math.hypot(...tensors.map((gradient) => globalNorm([gradient]).item()));
      if (!Number.isFinite(norm)) {
        throw new DrivetrainError(
          'DT_NON_FINITE',
          `Expected finite gradients for accumulate but received some of the norm ${norm}; leave this sample out, or lower the learning rate.`,
        );
      }
      const factor = Math.min(1, this.#options.maxGradNorm / norm);
      // All of them first: one that does not fit must not leave the others added.
      tensors.forEach((gradient, i) => {
        mul(gradient, norm > 0 ? factor : 0, { out: this.#sums[i]![1] });
      });
      for (const [sum, clipped] of this.#sums) add(sum, clipped, { out: sum });
    });
  }

  /** Adds noise, steps with the mean, counts what it cost and starts the next batch. A batch may be empty. */
  step(): void {
    const { epsilon, delta, noiseMultiplier, maxGradNorm, batchSize } = this.#options;
    checkOutsideRecording(
      'DPOptimizer.step',
      'each step counts what it costs in privacy',
      'return the gradients of a sample, and accumulate and step with them',
    );
    const after = this.accountant.epsilon(delta, this.#kind);
    if (after > epsilon) {
      throw new DrivetrainError(
        'DT_PRIVACY_BUDGET',
        `Expected to stay within ε = ${epsilon} at δ = ${delta} but another step would reach ${after.toFixed(4)}: stop here, or start anew with more noise (noiseMultiplierFor) or a larger budget.`,
      );
    }
    transient(() => {
      const noisy = this.#sums.map(([sum]) => {
        const noise = randn(sum.shape, { dtype: sum.dtype as 'f32' | 'f64', generator: this.#noise });
        return div(add(sum, mul(noise, noiseMultiplier * maxGradNorm)), batchSize);
      });
      this.#optimizer.step(noisy);
      // What has been seen is spent, whatever happens next.
      this.accountant.record(this.#kind);
      for (const [sum] of this.#sums) mul(sum, 0, { out: sum });
    });
  }

  /**
   * What was spent (`history`), so that a run that goes on stays within its budget, and the sums since the last step by
   * parameter. The optimizer has a state of its own; noise and batches are drawn anew.
   */
  stateDict(): Record<string, Tensor | readonly PrivateSteps[]> {
    const sums = this.#entries().map(({ name, tensor: sum }) => [name, sum] as const);
    return { ...Object.fromEntries(sums), ...this.accountant.stateDict() };
  }

  /** Takes the place of what was spent and added up; throws before anything is changed where something does not fit. */
  loadStateDict(state: Readonly<Record<string, Tensor | readonly PrivateSteps[]>>): void {
    const { history, ...sums } = state;
    check('history', 'an array, as in stateDict()', history, Array.isArray(history));
    new RdpAccountant().loadStateDict({ history: history as readonly PrivateSteps[] });
    loadState(
      this.#entries().map(({ name, tensor }) => stateEntry(name, tensor)),
      sums as Readonly<Record<string, Tensor>>,
    );
    this.accountant.loadStateDict({ history: history as readonly PrivateSteps[] });
  }

  #entries(): { name: string; tensor: Tensor }[] {
    const names = this.paramGroups.flatMap((group) => group.names);
    return this.#sums.map(([sum], i) => ({ name: `${names[i]}.sum`, tensor: sum }));
  }
}

/** A generator that nobody can foresee: 63 bits from the system. */
function secretGenerator(): Generator {
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const generator = new Generator(0);
  transient(() =>
    assign(
      generator.state,
      tensor(BigInt64Array.of(randomBytes(8).readBigInt64LE() & 0x7fffffffffffffffn, 0n)),
    ),
  );
  return generator;
}

function check(name: string, expected: string, received: unknown, holds: boolean): void {
  if (holds) return;
  const shown = Array.isArray(received) ? `${received.length}` : String(received);
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} to be ${expected} but received ${shown}.`,
  );
}
