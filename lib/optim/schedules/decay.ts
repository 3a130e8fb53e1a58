import { checkBetween, checkMilestones, checkPositive, checkSteps } from './checks.js';
import { perGroup } from './per-group.js';
import { LRScheduler, type Scheduled } from './schedule.js';

export interface ConstantOptions {
  /** What the rate is multiplied by at first; 1/3 unless given. */
  factor?: number;
  /** Steps until the full rate; 5 unless given. */
  totalIters?: number;
}

/** lr · factor for `totalIters` steps, then lr. */
export class ConstantLR extends LRScheduler {
  readonly #factor: number;
  readonly #totalIters: number;

  constructor(optimizer: Scheduled, options: ConstantOptions = {}) {
    super(optimizer, options, ['factor', 'totalIters']);
    const { factor = 1 / 3, totalIters = 5 } = options;
    checkBetween('factor', factor, 1);
    checkSteps('totalIters', totalIters, 0);
    this.#factor = factor;
    this.#totalIters = totalIters;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return steps < this.#totalIters ? initial * this.#factor : initial;
  }
}

export interface LinearLROptions {
  /** What the rate is multiplied by at first; 1/3 unless given. */
  startFactor?: number;
  /** What the rate is multiplied by in the end; 1 unless given. */
  endFactor?: number;
  /** Steps from the one to the other; 5 unless given. */
  totalIters?: number;
}

/** lr times a factor that goes from `startFactor` to `endFactor` in equal steps, and stays there. */
export class LinearLR extends LRScheduler {
  readonly #options: Required<LinearLROptions>;

  constructor(optimizer: Scheduled, options: LinearLROptions = {}) {
    super(optimizer, options, ['startFactor', 'endFactor', 'totalIters']);
    const { startFactor = 1 / 3, endFactor = 1, totalIters = 5 } = options;
    checkBetween('startFactor', startFactor, 1);
    checkBetween('endFactor', endFactor, 1);
    checkSteps('totalIters', totalIters, 1);
    this.#options = { startFactor, endFactor, totalIters };
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    const { startFactor, endFactor, totalIters } = this.#options;
    return initial * (startFactor + ((endFactor - startFactor) * Math.min(totalIters, steps)) / totalIters);
  }
}

export interface PolynomialOptions {
  /** Steps until the rate is 0; 5 unless given. */
  totalIters?: number;
  /** 1 unless given, which is a straight line. */
  power?: number;
}

/** lr · (1 − t / totalIters)^power, then 0. */
export class PolynomialLR extends LRScheduler {
  readonly #totalIters: number;
  readonly #power: number;

  constructor(optimizer: Scheduled, options: PolynomialOptions = {}) {
    super(optimizer, options, ['totalIters', 'power']);
    const { totalIters = 5, power = 1 } = options;
    checkSteps('totalIters', totalIters, 1);
    checkPositive('power', power);
    this.#totalIters = totalIters;
    this.#power = power;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return initial * (1 - Math.min(this.#totalIters, steps) / this.#totalIters) ** this.#power;
  }
}

/** lr · gamma^t. */
export class ExponentialLR extends LRScheduler {
  readonly #gamma: number;

  constructor(optimizer: Scheduled, options: { gamma: number }) {
    super(optimizer, options, ['gamma']);
    const { gamma } = options;
    checkBetween('gamma', gamma);
    this.#gamma = gamma;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return initial * this.#gamma ** steps;
  }
}

export interface StepOptions {
  /** Steps from one change to the next. */
  stepSize: number;
  /** What the rate is multiplied by then; 0.1 unless given. */
  gamma?: number;
}

/** lr · gamma^⌊t / stepSize⌋. */
export class StepLR extends LRScheduler {
  readonly #stepSize: number;
  readonly #gamma: number;

  constructor(optimizer: Scheduled, options: StepOptions) {
    super(optimizer, options, ['stepSize', 'gamma']);
    const { stepSize, gamma = 0.1 } = options;
    checkSteps('stepSize', stepSize, 1);
    checkBetween('gamma', gamma);
    this.#stepSize = stepSize;
    this.#gamma = gamma;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return initial * this.#gamma ** Math.floor(steps / this.#stepSize);
  }
}

export interface MultiStepOptions {
  /** The numbers of steps after which the rate changes, rising. */
  milestones: readonly number[];
  /** What the rate is multiplied by then; 0.1 unless given. */
  gamma?: number;
}

/** lr · gamma^(number of milestones reached). */
export class MultiStepLR extends LRScheduler {
  readonly #milestones: readonly number[];
  readonly #gamma: number;

  constructor(optimizer: Scheduled, options: MultiStepOptions) {
    super(optimizer, options, ['milestones', 'gamma']);
    const { milestones, gamma = 0.1 } = options;
    checkMilestones('milestones', milestones, 0);
    checkBetween('gamma', gamma);
    this.#milestones = [...milestones];
    this.#gamma = gamma;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    return initial * this.#gamma ** this.#milestones.filter((milestone) => milestone <= steps).length;
  }
}

/**
 * A linear rise over `warmupSteps` w, then lr · √(w / (t + 1)); step t of the rise has (t + 1) / w of the rate. Vaswani
 * and others, arXiv:1706.03762, section 5.3, with the peak at lr.
 */
export class InverseSquareRootLR extends LRScheduler {
  readonly #warmupSteps: number;

  constructor(optimizer: Scheduled, options: { warmupSteps: number }) {
    super(optimizer, options, ['warmupSteps']);
    const { warmupSteps } = options;
    checkSteps('warmupSteps', warmupSteps, 1);
    this.#warmupSteps = warmupSteps;
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number): number {
    const now = steps + 1;
    return initial * Math.min(now / this.#warmupSteps, Math.sqrt(this.#warmupSteps / now));
  }
}

/** A schedule of one's own: lr · factor(t); one function for all groups, or one for each. */
export class LambdaLR extends LRScheduler {
  readonly #factors: readonly ((steps: number) => number)[];

  constructor(
    optimizer: Scheduled,
    options: { lrLambda: ((steps: number) => number) | readonly ((steps: number) => number)[] },
  ) {
    super(optimizer, options, ['lrLambda']);
    const { lrLambda } = options;
    this.#factors = perGroup('lrLambda', lrLambda, this.groups.length);
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number, group: number): number {
    return initial * this.#factors[group]!(steps);
  }
}
