import { DrivetrainError } from '../../native/index.js';
import { checkBetween, checkOneOf, checkSteps } from './checks.js';
import { perGroup } from './per-group.js';
import { checkOutside, checkSchedule, type Scheduled } from './schedule.js';

export interface PlateauOptions {
  /** Whether a smaller or a larger metric is better; `min` unless given. */
  mode?: 'min' | 'max';
  /** What the rate is multiplied by; below 1, 0.1 unless given. */
  factor?: number;
  /** Calls without improvement that are let pass; 10 unless given. */
  patience?: number;
  /** The least change that counts as improvement; 1e-4 unless given. */
  threshold?: number;
  /** Whether `threshold` is a share of the best metric or an amount; `rel` unless given. */
  thresholdMode?: 'rel' | 'abs';
  /** Calls after a reduction in which nothing is counted; 0 unless given. */
  cooldown?: number;
  /** The lowest rate, of all groups or of each; 0 unless given. */
  minLr?: number | readonly number[];
  /** Changes of the rate up to this are not made; 1e-8 unless given. */
  eps?: number;
}

/** Where the schedule stands, as plain JSON; `best` is null before the first metric. */
export interface PlateauState {
  readonly rates: readonly number[];
  readonly best: number | null;
  readonly badCalls: number;
  readonly cooldownLeft: number;
}

/** Lowers the learning rate when a metric has stopped improving. One that is not finite counts as no improvement. */
export class ReduceLROnPlateau {
  readonly #groups: readonly { lr: number }[];
  readonly #options: Required<PlateauOptions>;
  readonly #least: readonly number[];
  #best: number | undefined;
  #badCalls = 0;
  #cooldownLeft = 0;

  constructor(optimizer: Scheduled, options: PlateauOptions = {}) {
    checkSchedule('ReduceLROnPlateau', optimizer, options, [
      'mode',
      'factor',
      'patience',
      'threshold',
      'thresholdMode',
      'cooldown',
      'minLr',
      'eps',
    ]);
    const { mode = 'min', factor = 0.1, patience = 10, threshold = 1e-4, thresholdMode = 'rel' } = options;
    const { cooldown = 0, minLr = 0, eps = 1e-8 } = options;
    this.#groups = optimizer.paramGroups;
    this.#least = perGroup('minLr', minLr, this.#groups.length);
    checkOneOf('mode', mode, ['min', 'max']);
    checkBetween('factor', factor, 1 - Number.EPSILON / 2);
    checkSteps('patience', patience, 0);
    checkBetween('threshold', threshold);
    checkOneOf('thresholdMode', thresholdMode, ['rel', 'abs']);
    checkSteps('cooldown', cooldown, 0);
    for (const least of this.#least) checkBetween('minLr', least);
    checkBetween('eps', eps);
    this.#options = { mode, factor, patience, threshold, thresholdMode, cooldown, minLr, eps };
  }

  /** Takes note of a metric, after each epoch as a rule. */
  step(metric: number): void {
    checkOutside('ReduceLROnPlateau');
    if (typeof metric !== 'number') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a number, the metric, for step of ReduceLROnPlateau but received ${typeof metric}.`,
      );
    }
    if (Number.isFinite(metric) && this.#improves(metric)) {
      this.#best = metric;
      this.#badCalls = 0;
    } else {
      this.#badCalls++;
    }
    if (this.#cooldownLeft > 0) {
      this.#cooldownLeft--;
      this.#badCalls = 0;
    }
    if (this.#badCalls <= this.#options.patience) return;
    this.#reduce();
    this.#cooldownLeft = this.#options.cooldown;
    this.#badCalls = 0;
  }

  #improves(metric: number): boolean {
    const { mode, threshold, thresholdMode } = this.#options;
    const best = this.#best ?? (mode === 'min' ? Infinity : -Infinity);
    const sign = mode === 'min' ? -1 : 1;
    const bar = thresholdMode === 'rel' ? best * (1 + sign * threshold) : best + sign * threshold;
    return mode === 'min' ? metric < bar : metric > bar;
  }

  #reduce(): void {
    this.#groups.forEach((group, i) => {
      const rate = Math.max(group.lr * this.#options.factor, this.#least[i]!);
      if (group.lr - rate > this.#options.eps) group.lr = rate;
    });
  }

  stateDict(): PlateauState {
    return {
      rates: this.#groups.map(({ lr }) => lr),
      best: this.#best ?? null,
      badCalls: this.#badCalls,
      cooldownLeft: this.#cooldownLeft,
    };
  }

  /**
   * Takes up where `stateDict` was called, learning rates included. Throws before anything is changed where the state is of
   * another schedule.
   */
  loadStateDict(state: PlateauState): void {
    const { rates, best, badCalls, cooldownLeft } = state;
    const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
    const isState =
      rates?.length === this.#groups.length &&
      rates.every((rate) => Number.isFinite(rate) && rate >= 0) &&
      (best === null || Number.isFinite(best)) &&
      isCount(badCalls) &&
      isCount(cooldownLeft);
    if (!isState) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected the state of a schedule of ${this.#groups.length} groups, { rates, best, badCalls, cooldownLeft }, but received ${JSON.stringify(state)}.`,
      );
    }
    this.#groups.forEach((group, i) => {
      group.lr = rates[i]!;
    });
    this.#best = best ?? undefined;
    this.#badCalls = badCalls;
    this.#cooldownLeft = cooldownLeft;
  }
}
