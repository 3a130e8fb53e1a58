import { DrivetrainError, inspect } from '../../native/index.js';
import { checkMilestones } from './checks.js';
import { LRScheduler, type Scheduled } from './schedule.js';

function checkSchedules(name: string, schedules: readonly LRScheduler[]): void {
  if (
    Array.isArray(schedules) &&
    schedules.length > 0 &&
    schedules.every((one) => one instanceof LRScheduler)
  )
    return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected at least one schedule for ${name}, each a function of the step (ReduceLROnPlateau goes by a metric: step it by itself), but received ${inspect(schedules, { depth: 0 })}.`,
  );
}

export interface SequentialOptions {
  /** Schedules made for the same optimizer. */
  schedulers: readonly LRScheduler[];
  /** The steps after which the next one takes over, one fewer than there are schedules. */
  milestones: readonly number[];
}

/** One schedule after another; each counts its steps from its milestone. Only this one is stepped. */
export class SequentialLR extends LRScheduler {
  readonly #schedulers: readonly LRScheduler[];
  readonly #milestones: readonly number[];

  constructor(optimizer: Scheduled, options: SequentialOptions) {
    super(optimizer, options, ['schedulers', 'milestones']);
    const { schedulers, milestones } = options;
    checkSchedules('SequentialLR', schedulers);
    checkMilestones('milestones', milestones, 1);
    if (milestones.length !== schedulers.length - 1) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected ${schedulers.length - 1} milestones for ${schedulers.length} schedules but received ${milestones.length}.`,
      );
    }
    this.#schedulers = [...schedulers];
    this.#milestones = [...milestones];
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number, group: number): number {
    const [schedule, own] = this.#at(steps);
    return schedule.rateAt(own, initial, group);
  }

  override setOthers(steps: number): void {
    const [schedule, own] = this.#at(steps);
    schedule.setOthers(own);
  }

  override restoreOthers(steps: number): void {
    for (const milestone of this.#milestones) {
      if (milestone > steps) break;
      const [schedule, last] = this.#at(milestone - 1);
      schedule.restoreOthers(last);
    }
    const [schedule, own] = this.#at(steps);
    schedule.restoreOthers(own);
  }

  #at(steps: number): [schedule: LRScheduler, steps: number] {
    const index = this.#milestones.filter((milestone) => milestone <= steps).length;
    return [this.#schedulers[index]!, steps - (this.#milestones[index - 1] ?? 0)];
  }
}

/** Several schedules at once: each takes the rate that the one before gives for its initial one. Only this one is stepped. */
export class ChainedScheduler extends LRScheduler {
  readonly #schedulers: readonly LRScheduler[];

  constructor(optimizer: Scheduled, options: { schedulers: readonly LRScheduler[] }) {
    super(optimizer, options, ['schedulers']);
    const { schedulers } = options;
    checkSchedules('ChainedScheduler', schedulers);
    this.#schedulers = [...schedulers];
    this.moveTo(0);
  }

  rateAt(steps: number, initial: number, group: number): number {
    return this.#schedulers.reduce((rate, schedule) => schedule.rateAt(steps, rate, group), initial);
  }

  override setOthers(steps: number): void {
    for (const schedule of this.#schedulers) schedule.setOthers(steps);
  }

  override restoreOthers(steps: number): void {
    for (const schedule of this.#schedulers) schedule.restoreOthers(steps);
  }
}
