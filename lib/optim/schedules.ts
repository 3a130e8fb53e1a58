import { DrivetrainError } from '../native/index.js';

/** An optimizer, as far as a schedule is concerned. */
interface Scheduled {
  readonly paramGroups: readonly { lr: number }[];
}

/**
 * Sets the learning rate of every group after each step: its initial value times a factor of the step's number. Call
 * `step()` once after every optimizer step, as in PyTorch.
 */
abstract class Schedule {
  readonly #groups: readonly { lr: number }[];
  readonly #initial: readonly number[];
  #step = 0;

  protected constructor(optimizer: Scheduled) {
    this.#groups = optimizer.paramGroups;
    this.#initial = optimizer.paramGroups.map(({ lr }) => lr);
  }

  /** Steps taken. */
  get steps(): number {
    return this.#step;
  }

  step(): void {
    this.#step++;
    this.#set();
  }

  /** The learning rate at a step, for a group that began with `initial`. */
  protected abstract rateAt(step: number, initial: number): number;

  /** Sets the rates for step 0; for constructors. */
  protected begin(): void {
    this.#set();
  }

  #set(): void {
    this.#groups.forEach((group, i) => {
      group.lr = this.rateAt(this.#step, this.#initial[i]!);
    });
  }
}

export interface CosineAnnealingOptions {
  /** Steps from the initial rate down to the lowest. */
  tMax: number;
  /** The lowest rate; 0 unless given. */
  etaMin?: number;
}

/**
 * Down along half a cosine: etaMin + (lr − etaMin) · (1 + cos(π · t / tMax)) / 2; past tMax it rises again, as in
 * PyTorch. Loshchilov and Hutter, arXiv:1608.03983.
 */
export class CosineAnnealingLR extends Schedule {
  readonly #tMax: number;
  readonly #etaMin: number;

  constructor(optimizer: Scheduled, { tMax, etaMin = 0 }: CosineAnnealingOptions) {
    super(optimizer);
    checkSteps('tMax', tMax, 1);
    checkBetween('etaMin', etaMin, Number.MAX_VALUE);
    this.#tMax = tMax;
    this.#etaMin = etaMin;
    this.begin();
  }

  protected rateAt(step: number, initial: number): number {
    return this.#etaMin + ((initial - this.#etaMin) * (1 + Math.cos((Math.PI * step) / this.#tMax))) / 2;
  }
}

export interface WarmupCosineOptions {
  /** Steps of the linear rise; step k of them has (k + 1) / warmupSteps of the full rate. */
  warmupSteps: number;
  /** All steps, warm-up included. */
  totalSteps: number;
  /** The lowest rate as a share of the full one; 0 unless given. */
  floor?: number;
}

/** A linear rise to the full rate, then half a cosine down to `floor`, where it stays. */
export class WarmupCosineLR extends Schedule {
  readonly #options: Required<WarmupCosineOptions>;

  constructor(optimizer: Scheduled, { warmupSteps, totalSteps, floor = 0 }: WarmupCosineOptions) {
    super(optimizer);
    checkSteps('warmupSteps', warmupSteps, 0);
    checkSteps('totalSteps', totalSteps, warmupSteps + 1);
    checkBetween('floor', floor, 1);
    this.#options = { warmupSteps, totalSteps, floor };
    this.begin();
  }

  protected rateAt(step: number, initial: number): number {
    const { warmupSteps, totalSteps, floor } = this.#options;
    if (step < warmupSteps) return (initial * (step + 1)) / warmupSteps;
    const progress = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
    return initial * (floor + ((1 - floor) * (1 + Math.cos(Math.PI * progress))) / 2);
  }
}

function checkBetween(name: string, value: number, most: number): void {
  if (!(value >= 0 && value <= most)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${name} to be a finite number from 0 ${most === 1 ? 'to 1' : 'on'} but received ${value}.`,
    );
  }
}

function checkSteps(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${name} to be a whole number from ${least} on but received ${value}.`,
    );
  }
}
