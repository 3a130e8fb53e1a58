import { DrivetrainError, inspect } from '../../native/index.js';
import { activeRecorder } from '../../ops/index.js';
import { checkOptions } from '../../tensor/index.js';

/** Refuses a step inside of `compile(fn)`, which calls `fn` once and not at each run. */
export function checkOutside(name: string): void {
  if (activeRecorder()?.atEnd === undefined) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name}.step() after each call of the compiled function but it was called inside of compile(fn), where it would run once, while fn is recorded; steps read the rates when they run.`,
  );
}

/** A parameter group, as far as a schedule is concerned. */
export interface ScheduledGroup {
  lr: number;
  momentum?: number;
  betas?: readonly [number, number];
}

/** An optimizer, as far as a schedule is concerned. */
export interface Scheduled {
  readonly paramGroups: readonly { lr: number }[];
}

/** Where a schedule stands, as plain JSON. */
export interface ScheduleState {
  readonly steps: number;
  /** The learning rate that each group began with. */
  readonly initial: readonly number[];
}

/** Refuses what has no groups, and options that a schedule does not have. */
export function checkSchedule(
  name: string,
  optimizer: Scheduled,
  options: object,
  known: readonly string[],
): void {
  if (!Array.isArray(optimizer?.paramGroups)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an optimizer for ${name} but received ${Array.isArray(optimizer) ? `an array of ${optimizer.length}` : inspect(optimizer, { depth: 0 })}.`,
    );
  }
  checkOptions(name, options, known);
}

/** The rate that each group began with, and the one that a schedule gave it last. */
const origins = new WeakMap<object, { initial: number; last: number }>();

/**
 * A group's rate before any schedule changed it, so that several schedules may be made for one optimizer before they are
 * put together. A rate that was assigned by hand since counts as a new beginning.
 */
function initialRate(group: { lr: number }): number {
  const origin = origins.get(group);
  return origin !== undefined && origin.last === group.lr ? origin.initial : group.lr;
}

/**
 * Sets the learning rate of every group before the first step and after each: a function of the number of steps taken
 * and of the rate that the group began with. Call `step()` once after every optimizer step, as in PyTorch.
 */
export abstract class LRScheduler {
  protected readonly groups: readonly ScheduledGroup[];
  #initial: readonly number[];
  #steps = 0;

  protected constructor(optimizer: Scheduled, options: object, known: readonly string[]) {
    checkSchedule(this.constructor.name, optimizer, options, known);
    this.groups = optimizer.paramGroups;
    this.#initial = optimizer.paramGroups.map(initialRate);
  }

  /** Steps taken. */
  get steps(): number {
    return this.#steps;
  }

  step(): void {
    checkOutside(this.constructor.name);
    this.moveTo(this.#steps + 1);
  }

  /** The learning rate after `steps` steps, for group number `group`, which began with `initial`. */
  abstract rateAt(steps: number, initial: number, group: number): number;

  /** Sets what else the schedule changes, after `steps` steps. */
  setOthers(_steps: number): void {}

  /** The same where those before were not taken in this process: what parts that have ended left behind, too. */
  restoreOthers(steps: number): void {
    this.setOthers(steps);
  }

  /** Sets everything for `steps` steps taken; constructors end with `moveTo(0)`. */
  moveTo(steps: number): void {
    this.#setRates(steps, this.#initial);
    this.setOthers(steps);
    this.#steps = steps;
  }

  #setRates(steps: number, initial: readonly number[]): void {
    const before = this.groups.map(({ lr }) => lr);
    const rates = initial.map((rate, i) => this.rateAt(steps, rate, i));
    try {
      this.groups.forEach((group, i) => {
        group.lr = rates[i]!;
      });
    } catch (error) {
      this.groups.forEach((group, i) => {
        group.lr = before[i]!;
      });
      throw error;
    }
    this.groups.forEach((group, i) => {
      origins.set(group, { initial: initial[i]!, last: group.lr });
    });
  }

  stateDict(): ScheduleState {
    return { steps: this.#steps, initial: this.#initial };
  }

  /** Takes up where `stateDict` was called. Throws before anything is changed where the state is of another schedule. */
  loadStateDict({ steps, initial }: ScheduleState): void {
    const isStep = Number.isSafeInteger(steps) && steps >= 0;
    if (!isStep || initial?.length !== this.groups.length || !initial.every(Number.isFinite)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected the state of a schedule of ${this.groups.length} groups, { steps, initial }, but received ${JSON.stringify({ steps, initial })}.`,
      );
    }
    this.#setRates(steps, initial);
    this.#initial = [...initial];
    this.restoreOthers(steps);
    this.#steps = steps;
  }
}
