import { checkBetween, checkSteps } from './checks.js';
import { LRScheduler, type Scheduled } from './schedule.js';

/** 1 at progress 0, 0 at progress 1, along half a cosine. */
const halfCosine = (progress: number) => (1 + Math.cos(Math.PI * progress)) / 2;

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
export class CosineAnnealingLR extends LRScheduler {
  readonly #tMax: number;
  readonly #etaMin: number;

  constructor(optimizer: Scheduled, options: CosineAnnealingOptions) {
    super(optimizer, options, ['tMax', 'etaMin']);
    const { tMax, etaMin = 0 } = options;
    checkSteps('tMax', tMax, 1);
    checkBetween('etaMin', etaMin);
    this.#tMax = tMax;
    this.#etaMin = etaMin;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return this.#etaMin + (initial - this.#etaMin) * halfCosine(steps / this.#tMax);
  }
}

export interface WarmRestartsOptions {
  /** Steps of the first cycle. */
  t0: number;
  /** How many times longer each cycle is than the one before; a whole number, 1 unless given. */
  tMult?: number;
  /** The lowest rate; 0 unless given. */
  etaMin?: number;
}

/** Cosine annealing that begins anew at the full rate after each cycle. Loshchilov and Hutter, arXiv:1608.03983. */
export class CosineAnnealingWarmRestarts extends LRScheduler {
  readonly #options: Required<WarmRestartsOptions>;

  constructor(optimizer: Scheduled, options: WarmRestartsOptions) {
    super(optimizer, options, ['t0', 'tMult', 'etaMin']);
    const { t0, tMult = 1, etaMin = 0 } = options;
    checkSteps('t0', t0, 1);
    checkSteps('tMult', tMult, 1);
    checkBetween('etaMin', etaMin);
    this.#options = { t0, tMult, etaMin };
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    const { t0, tMult, etaMin } = this.#options;
    let [begin, length] = [0, t0];
    if (tMult === 1) begin = steps - (steps % t0);
    else for (; steps >= begin + length; length *= tMult) begin += length;
    return etaMin + (initial - etaMin) * halfCosine((steps - begin) / length);
  }
}

export interface WarmupCosineOptions {
  /** All steps, warm-up included. */
  totalSteps: number;
  /**
   * Steps of the linear rise; step k of them has (k + 1) / warmupSteps of the full rate. 6 % of all steps, rounded up,
   * unless given.
   */
  warmupSteps?: number;
  /** The lowest rate as a share of the full one; 0.01 unless given. */
  floor?: number;
}

/** A linear rise to the full rate, then half a cosine down to `floor`, where it stays. */
export class WarmupCosineLR extends LRScheduler {
  readonly #options: Required<WarmupCosineOptions>;

  constructor(optimizer: Scheduled, options: WarmupCosineOptions) {
    super(optimizer, options, ['totalSteps', 'warmupSteps', 'floor']);
    const {
      totalSteps,
      // Six hundredths by whole numbers: 0.06 · 50 is a little more than 3.
      warmupSteps = Math.min(totalSteps - 1, Math.ceil((totalSteps * 6) / 100)),
      floor = 0.01,
    } = options;
    checkSteps('totalSteps', totalSteps, 1);
    checkSteps('warmupSteps', warmupSteps, 0);
    checkSteps('totalSteps', totalSteps, warmupSteps + 1);
    checkBetween('floor', floor, 1);
    this.#options = { warmupSteps, totalSteps, floor };
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    const { warmupSteps, totalSteps, floor } = this.#options;
    if (steps < warmupSteps) return (initial * (steps + 1)) / warmupSteps;
    const progress = Math.min(1, (steps - warmupSteps) / (totalSteps - warmupSteps));
    return initial * (floor + (1 - floor) * halfCosine(progress));
  }
}
