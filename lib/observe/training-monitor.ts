import { inspect } from 'node:util';
import { DrivetrainError, type TypedArray } from '../native/index.js';
import { checkOptions, defaultPool, isHalf, type MemoryPool, Tensor, wrap } from '../tensor/index.js';
import { type Health, judge } from './health.js';
import { defaultRegistry, type Registry } from './metrics.js';
import { ParameterProbe, type ParameterReport } from './parameter-probe.js';
import type { TrainingMetrics } from './training-metrics.js';
import { TrainingSeries } from './training-series.js';
import { type RecordedStep, TrainingStatistics } from './training-statistics.js';

/** What a monitor needs of an optimizer: ours all have it. */
export interface MonitoredOptimizer {
  readonly paramGroups: readonly {
    readonly params: readonly Tensor[];
    readonly names?: readonly string[];
    readonly lr?: number;
  }[];
  readonly steps: number;
  /** What the last step found out about its gradients, where the optimizer looked at them. */
  readonly lastStep?:
    | { readonly norm: number; readonly notFinite: number; readonly skipped: boolean }
    | undefined;
  stateDict?(): Readonly<Record<string, Tensor>>;
}

export interface TrainingMonitorOptions {
  /** Looks at parameters and gradients, and updates gauges, every so many steps; 100 unless given. */
  every?: number;
  /** Steps over which rates are computed and health is judged; 100 unless given. */
  window?: number;
  /** Where the series go; `defaultRegistry` unless given. */
  registry?: Registry;
  /** The series' label `optimizer`; the name of the optimizer's class unless given. */
  name?: string;
  /** Memory pools by name; `{ default: defaultPool }` unless given. */
  pools?: Readonly<Record<string, MemoryPool>>;
}

/** What is known of a step. All of it may be left out. */
export interface TrainingStep {
  /** The loss, as a number or a tensor of one element, which is read at once. */
  readonly loss?: number | Tensor;
  /** Samples in the batch. */
  readonly samples?: number;
  /** The gradients that the step took: looked at in sampled steps, where their norm is not known otherwise. */
  readonly gradients?: readonly (Tensor | TypedArray)[];
  /** Their norm, where it is there already: `clipGradNorm` gives it, and a compiled step can return it. */
  readonly gradNorm?: number | Tensor;
}

/** What a sampled step, and the one before it, ask for. */
interface Look {
  /** Parameters are to be measured, with these gradients. */
  readonly gradients: Tensor[] | undefined;
  /** A copy of the parameters is to be kept. */
  readonly keep: boolean;
}

/** Steps after which the queue is worked off. */
const MAX_QUEUE = 100;
const STEP_KEYS = ['loss', 'samples', 'gradients', 'gradNorm'];

/**
 * Watches training: one call of `record` after each step, and its figures are in a registry as `drivetrain_optimizer_*`,
 * in `metrics`, and judged by `health()`.
 *
 * A step costs some microseconds. Every `every` steps (the sampled ones) parameters are copied before the step and
 * compared with the copy after it, which takes as long as one to two steps of the optimizer alone: at 100, 1 to 4 % of the
 * optimizer's own time, and less of a training step that has a forward and a backward pass. `dispose` frees the copy. The
 * registry is brought up to date in sampled steps, and at least every hundred steps.
 */
export class TrainingMonitor {
  readonly optimizer: MonitoredOptimizer;
  readonly pools: Readonly<Record<string, MemoryPool>>;
  readonly #every: number;
  readonly #series: TrainingSeries;
  readonly #parameters: readonly Tensor[];
  readonly #probe: ParameterProbe;
  readonly #statistics: TrainingStatistics;
  /** Refused allocations of each pool when the monitor was made. */
  readonly #failures: ReadonlyMap<string, number>;
  /** Steps that are not worked off yet. */
  readonly #queue: RecordedStep[] = [];
  /** Time in phases since the last step. */
  #pending = new Map<string, number>();
  /** When the last step was recorded; undefined where training rests. */
  #last: number | undefined;
  #optimizerSteps: number;
  /** Time and processor time at the sampled step before; undefined where training has rested since. */
  #sample: { readonly at: number; readonly cpu: NodeJS.CpuUsage } | undefined;
  #processors: number | undefined;
  #steps = 0;
  #disposed = false;

  constructor(optimizer: MonitoredOptimizer, options: TrainingMonitorOptions = {}) {
    checkOptions('TrainingMonitor', options, ['every', 'window', 'registry', 'name', 'pools']);
    if (!Array.isArray(optimizer?.paramGroups)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected an optimizer for TrainingMonitor but received ${inspect(optimizer, { depth: 0 })}.`,
      );
    }
    const {
      every = 100,
      window = 100,
      registry = defaultRegistry,
      pools = { default: defaultPool },
    } = options;
    checkWhole('every', every, 1);
    checkWhole('window', window, 3);
    this.optimizer = optimizer;
    this.pools = pools;
    this.#every = every;
    this.#series = new TrainingSeries(registry, options.name ?? optimizer.constructor.name);
    this.#parameters = optimizer.paramGroups.flatMap(({ params }) => params);
    this.#probe = new ParameterProbe(this.#parameters);
    this.#statistics = new TrainingStatistics(window, this.#series);
    this.#failures = new Map(Object.entries(pools).map(([name, pool]) => [name, pool.statistics.failures]));
    this.#optimizerSteps = optimizer.steps;
    if (every === 1) this.#probe.keep.runSync();
  }

  /**
   * Notes a step that was made, off the event loop where there is much to look at. What it is given is read before it
   * returns, save `gradients`, which are used until the promise resolves. In a loop of awaited steps the promise may be
   * left alone; where steps are synchronous, await it, or call `recordSync`.
   */
  async record(step: TrainingStep = {}): Promise<void> {
    const look = this.#note(step);
    if (look === undefined) return;
    const { gradients, keep } = look;
    // Both are submitted before the next step is.
    const measured = gradients && this.#probe.measure(gradients);
    const [report] = await Promise.all([measured, keep && this.#probe.keep()]);
    if (report !== undefined) this.#take(report);
  }

  /** The same on the calling thread, which it holds for as long as one to two steps of the optimizer when it samples. */
  recordSync(step: TrainingStep = {}): void {
    const look = this.#note(step);
    if (look?.gradients !== undefined) this.#take(this.#probe.measureSync(look.gradients));
    if (look?.keep) this.#probe.keep.runSync();
  }

  /**
   * Calls `fn`, and counts the time that it, or the promise that it returns, takes to the phase: `forward`, `data`. What
   * of a step is in no phase shows as the rest.
   */
  time<T>(phase: string, fn: () => T): T {
    const begin = performance.now();
    const end = () => {
      const seconds = (performance.now() - begin) / 1e3;
      this.#pending.set(phase, (this.#pending.get(phase) ?? 0) + seconds);
    };
    let result: T;
    try {
      result = fn();
    } catch (error) {
      end();
      throw error;
    }
    if (!isPromise(result)) {
      end();
      return result;
    }
    return result.finally(end) as T;
  }

  /** Training rests, for an evaluation or for good: the time until the next step does not count, and no step is missed. */
  pause(): void {
    this.#last = undefined;
    this.#sample = undefined;
    this.#pending = new Map();
  }

  get metrics(): TrainingMetrics {
    this.#flush();
    return {
      ...this.#statistics.metrics,
      learningRates: this.optimizer.paramGroups.map(({ lr }) => lr),
      processors: this.#processors,
    };
  }

  /** How training does, as far as it is known: the status, and reasons that say what to do. */
  health(): Health {
    this.#flush();
    return judge({
      ...this.#statistics.facts,
      silence: this.#last === undefined ? undefined : (performance.now() - this.#last) / 1e3,
      pools: Object.entries(this.pools).map(([name, pool]) => {
        const { current, failures } = pool.statistics;
        return { name, current, limit: pool.limit, refused: failures - this.#failures.get(name)! };
      }),
    });
  }

  /** Frees the copy of the parameters. The series stay in the registry. */
  dispose(): void {
    this.pause();
    this.#disposed = true;
    this.#probe.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Queues a step. Says what else is to be done where it, or the next one, is a sampled one. */
  #note(step: TrainingStep): Look | undefined {
    const now = performance.now();
    if (this.#disposed) {
      throw new DrivetrainError('DT_DISPOSED', 'Expected a monitor in use but this one was disposed.');
    }
    const sampled = (this.#steps + 1) % this.#every === 0;
    // Loops make the same call again and again.
    if (sampled || this.#steps === 0) checkOptions('record', step, STEP_KEYS);
    const loss = numberOf('loss', step.loss);
    const gradNorm = numberOf('gradNorm', step.gradNorm);
    const { samples = 0, gradients } = step;
    checkWhole('samples', samples, 0);
    if (gradients !== undefined) this.#checkGradients(gradients);
    const { lastStep } = this.optimizer;
    const norm = gradNorm ?? lastStep?.norm;
    this.#queue.push({
      seconds: this.#last === undefined ? undefined : (now - this.#last) / 1e3,
      samples,
      loss,
      norm,
      notFinite: lastStep?.notFinite ?? 0,
      skipped: lastStep?.skipped ?? false,
      phases: this.#pending,
    });
    this.#last = now;
    if (this.#pending.size > 0) this.#pending = new Map();
    this.#steps++;
    const keep = (this.#steps + 1) % this.#every === 0;
    if (this.#queue.length === MAX_QUEUE) this.#flush();
    if (!sampled) return keep ? { gradients: undefined, keep } : undefined;
    this.#flush();
    if (lastStep === undefined) this.#countOptimizerSteps();
    this.#noteProcessors(now);
    return { gradients: norm === undefined ? this.#tensorsOf(gradients) : [], keep };
  }

  #checkGradients(gradients: readonly unknown[]): void {
    const count = this.#parameters.length;
    if (Array.isArray(gradients) && gradients.length === count) return;
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected ${count} gradients for record, as for the optimizer's step, but received ${Array.isArray(gradients) ? gradients.length : typeof gradients}.`,
    );
  }

  #tensorsOf(gradients: TrainingStep['gradients'] = []): Tensor[] {
    return gradients.map((gradient, i) => {
      if (gradient instanceof Tensor) return gradient;
      const { dtype } = this.#parameters[i]!;
      return wrap(gradient, [gradient.length], isHalf(dtype) ? { dtype } : {});
    });
  }

  /** An optimizer that says nothing of its steps has skipped those that it has not counted since it was last asked. */
  #countOptimizerSteps(): void {
    const { steps } = this.optimizer;
    const missing = this.#every - (steps - this.#optimizerSteps);
    this.#optimizerSteps = steps;
    // Whoever loads a state sets the count: that tells nothing.
    if (missing > 0 && missing <= this.#every) this.#statistics.addSkipped(missing);
  }

  /** Works the queued steps off: together they cost a small part of what each would by itself, in cold caches. */
  #flush(): void {
    for (const step of this.#queue) this.#statistics.add(step);
    this.#queue.length = 0;
  }

  #noteProcessors(now: number): void {
    const before = this.#sample;
    this.#sample = { at: now, cpu: process.cpuUsage() };
    if (before === undefined) return;
    const { user, system } = process.cpuUsage(before.cpu);
    this.#processors = (user + system) / 1e3 / (now - before.at);
  }

  /** What a sampled step has found out goes to the registry. */
  #take(report: ParameterReport): void {
    this.#statistics.addReport(report);
    const { metrics } = this;
    this.#series.processors(metrics.processors);
    this.#series.samplesPerSecond(metrics.samplesPerSecond);
    this.#series.parameterNorm(metrics.parameterNorm);
    this.#series.updateRatio(metrics.updateRatio);
    this.#series.improvementRate(metrics.improvementRate);
    this.#series.convergenceRate(metrics.convergenceRate);
    this.#series.learningRates(metrics.learningRates);
    for (const [name, pool] of Object.entries(this.pools)) this.#series.memory(name, pool.statistics);
  }
}

function numberOf(name: string, value: number | Tensor | undefined): number | undefined {
  if (value === undefined || typeof value === 'number') return value;
  if (value instanceof Tensor) return value.item();
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a number or a tensor of one element for ${name} of record but received ${inspect(value, { depth: 0 })}; await a compiled step first.`,
  );
}

function checkWhole(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a whole number from ${least} on for ${name} of TrainingMonitor but received ${inspect(value)}.`,
  );
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}
