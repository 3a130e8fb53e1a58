import { DrivetrainError } from '../../native/index.js';
import { checkBetween, checkOneOf, checkPositive, checkSteps } from './checks.js';
import { perGroup } from './per-group.js';
import { LRScheduler, type Scheduled, type ScheduledGroup } from './schedule.js';

/** How the momentum (of SGD and its like) or the first of the betas (of Adam and its like) goes against the rate. */
export interface MomentumCycleOptions {
  /** Whether the momentum goes down as the rate goes up; true unless given. */
  cycleMomentum?: boolean;
  /** The lowest momentum. */
  baseMomentum?: number;
  /** The highest momentum. */
  maxMomentum?: number;
}

function checkMomentum(
  groups: readonly ScheduledGroup[],
  { cycleMomentum, baseMomentum, maxMomentum }: Required<MomentumCycleOptions>,
): void {
  if (!cycleMomentum) return;
  checkBetween('baseMomentum', baseMomentum, 1);
  checkBetween('maxMomentum', maxMomentum, 1);
  if (groups.every((group) => group.momentum !== undefined || group.betas !== undefined)) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    'Expected an optimizer with momentum or betas but received one with neither: give cycleMomentum: false.',
  );
}

function setMomentum(groups: readonly ScheduledGroup[], momentum: number): void {
  for (const group of groups) {
    if (group.momentum !== undefined) group.momentum = momentum;
    else group.betas = [momentum, group.betas![1]];
  }
}

export interface CyclicOptions extends MomentumCycleOptions {
  /** The lowest rate, of all groups or of each. */
  baseLr: number | readonly number[];
  /** The highest rate of the first cycle, of all groups or of each. */
  maxLr: number | readonly number[];
  /** Steps up; 2000 unless given. */
  stepSizeUp?: number;
  /** Steps down; as many as up unless given. */
  stepSizeDown?: number;
  /** Cycles that stay as high, are half as high each time, or shrink by `gamma` with each step. */
  mode?: 'triangular' | 'triangular2' | 'expRange';
  /** For mode `expRange`; 1 unless given. */
  gamma?: number;
}

/**
 * Up and down between two rates in straight lines; momentum, from 0.8 to 0.9 unless given, goes the other way. Smith,
 * arXiv:1506.01186.
 */
export class CyclicLR extends LRScheduler {
  readonly #base: readonly number[];
  readonly #max: readonly number[];
  readonly #cycle: { total: number; up: number; mode: string; gamma: number };
  readonly #momentum: Required<MomentumCycleOptions>;

  constructor(optimizer: Scheduled, options: CyclicOptions) {
    super(optimizer, options, [
      'baseLr',
      'maxLr',
      'stepSizeUp',
      'stepSizeDown',
      'mode',
      'gamma',
      'cycleMomentum',
      'baseMomentum',
      'maxMomentum',
    ]);
    const {
      baseLr,
      maxLr,
      stepSizeUp = 2000,
      stepSizeDown = stepSizeUp,
      mode = 'triangular',
      gamma = 1,
      cycleMomentum = true,
      baseMomentum = 0.8,
      maxMomentum = 0.9,
    } = options;
    this.#base = perGroup('baseLr', baseLr, this.groups.length);
    this.#max = perGroup('maxLr', maxLr, this.groups.length);
    for (const rate of this.#base) checkBetween('baseLr', rate);
    for (const rate of this.#max) checkBetween('maxLr', rate);
    checkSteps('stepSizeUp', stepSizeUp, 1);
    checkSteps('stepSizeDown', stepSizeDown, 1);
    checkOneOf('mode', mode, ['triangular', 'triangular2', 'expRange']);
    checkBetween('gamma', gamma, 1);
    this.#momentum = { cycleMomentum, baseMomentum, maxMomentum };
    checkMomentum(this.groups, this.#momentum);
    this.#cycle = { total: stepSizeUp + stepSizeDown, up: stepSizeUp, mode, gamma };
    this.moveTo(0);
  }

  rateAt(steps: number, _: number, group: number): number {
    const base = this.#base[group]!;
    return base + (this.#max[group]! - base) * this.#heightAt(steps);
  }

  override setOthers(steps: number): void {
    const { cycleMomentum, baseMomentum, maxMomentum } = this.#momentum;
    if (!cycleMomentum) return;
    setMomentum(this.groups, maxMomentum - (maxMomentum - baseMomentum) * this.#heightAt(steps));
  }

  /** From 0 at the lowest rate to 1 at the highest of the first cycle. */
  #heightAt(steps: number): number {
    const { total, up, mode, gamma } = this.#cycle;
    const within = steps % total;
    const height = within <= up ? within / up : (total - within) / (total - up);
    if (mode === 'triangular2') return height / 2 ** Math.floor(steps / total);
    return mode === 'expRange' ? height * gamma ** steps : height;
  }
}

export interface OneCycleOptions extends MomentumCycleOptions {
  /** The highest rate, of all groups or of each. */
  maxLr: number | readonly number[];
  /** All steps; after the last one the rate stays, and another is refused. */
  totalSteps: number;
  /** The share of the steps in which the rate rises; 0.3 unless given. */
  pctStart?: number;
  /** Along cosines unless `linear` is given. */
  annealStrategy?: 'cos' | 'linear';
  /** The first rate is maxLr / divFactor; 25 unless given. */
  divFactor?: number;
  /** The last rate is the first / finalDivFactor; 10,000 unless given. */
  finalDivFactor?: number;
  /** Down to the first rate as fast as up from it, and only then on to the last; false unless given. */
  threePhase?: boolean;
}

interface Phase {
  readonly end: number;
  /** Rates as shares of the highest. */
  readonly from: number;
  readonly to: number;
  readonly momentumFrom: number;
  readonly momentumTo: number;
}

/**
 * Up to the highest rate, then down far below the first; momentum, from 0.85 to 0.95 unless given, goes the other way.
 * Smith and Topin, arXiv:1708.07120.
 */
export class OneCycleLR extends LRScheduler {
  readonly #max: readonly number[];
  readonly #totalSteps: number;
  readonly #phases: readonly Phase[];
  readonly #cosine: boolean;
  readonly #cycleMomentum: boolean;

  constructor(optimizer: Scheduled, options: OneCycleOptions) {
    super(optimizer, options, [
      'maxLr',
      'totalSteps',
      'pctStart',
      'annealStrategy',
      'divFactor',
      'finalDivFactor',
      'threePhase',
      'cycleMomentum',
      'baseMomentum',
      'maxMomentum',
    ]);
    const {
      maxLr,
      totalSteps,
      pctStart = 0.3,
      annealStrategy = 'cos',
      divFactor = 25,
      finalDivFactor = 1e4,
      threePhase = false,
      cycleMomentum = true,
      baseMomentum = 0.85,
      maxMomentum = 0.95,
    } = options;
    this.#max = perGroup('maxLr', maxLr, this.groups.length);
    for (const rate of this.#max) checkBetween('maxLr', rate);
    checkSteps('totalSteps', totalSteps, 2);
    checkBetween('pctStart', pctStart, 1);
    checkOneOf('annealStrategy', annealStrategy, ['cos', 'linear']);
    checkPositive('divFactor', divFactor);
    checkPositive('finalDivFactor', finalDivFactor);
    checkMomentum(this.groups, { cycleMomentum, baseMomentum, maxMomentum });
    const [first, last] = [1 / divFactor, 1 / divFactor / finalDivFactor];
    const top = pctStart * totalSteps - 1;
    const up = { end: top, from: first, to: 1, momentumFrom: maxMomentum, momentumTo: baseMomentum };
    const down = {
      end: totalSteps - 1,
      from: 1,
      to: last,
      momentumFrom: baseMomentum,
      momentumTo: maxMomentum,
    };
    const phases = threePhase
      ? [up, { ...down, end: 2 * top, to: first }, { ...down, from: first, momentumFrom: maxMomentum }]
      : [up, down];
    // So short a cycle, or so small a pctStart, that a phase has no steps.
    this.#phases = phases.filter(({ end }, i) => end > (phases[i - 1]?.end ?? 0));
    this.#totalSteps = totalSteps;
    this.#cosine = annealStrategy === 'cos';
    this.#cycleMomentum = cycleMomentum;
    this.moveTo(0);
  }

  rateAt(steps: number, _: number, group: number): number {
    if (steps > this.#totalSteps) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected at most ${this.#totalSteps} steps of OneCycleLR but received another.`,
      );
    }
    const [{ from, to }, progress] = this.#phaseAt(steps);
    return this.#max[group]! * this.#anneal(from, to, progress);
  }

  override setOthers(steps: number): void {
    if (!this.#cycleMomentum) return;
    const [{ momentumFrom, momentumTo }, progress] = this.#phaseAt(steps);
    setMomentum(this.groups, this.#anneal(momentumFrom, momentumTo, progress));
  }

  #phaseAt(steps: number): [phase: Phase, progress: number] {
    let start = 0;
    for (const phase of this.#phases) {
      if (steps <= phase.end || phase === this.#phases.at(-1)) {
        return [phase, Math.min(1, (steps - start) / (phase.end - start))];
      }
      start = phase.end;
    }
    throw new Error('unreachable');
  }

  #anneal(from: number, to: number, progress: number): number {
    return this.#cosine
      ? to + ((from - to) * (1 + Math.cos(Math.PI * progress))) / 2
      : from + (to - from) * progress;
  }
}
