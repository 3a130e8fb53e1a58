import { inspect } from 'node:util';
import { DrivetrainError, type TypedArray } from '../native/index.js';
import { checkOptions } from '../ops/index.js';
import { defaultPool, isHalf, type MemoryPool, Tensor, wrap } from '../tensor/index.js';
import { type Health, judge, LEAST_IMPROVEMENT } from './health.js';
import { defaultRegistry, type Registry } from './metrics.js';
import { ParameterProbe, type ParameterReport } from './parameter-probe.js';
import { RecentSteps } from './recent-steps.js';
import { Series } from './series.js';
import type { TrainingMetrics } from './training-metrics.js';
import { TrainingSeries } from './training-series.js';

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

const STEP_KEYS = ['loss', 'samples', 'gradients', 'gradNorm'];

/**
 * Watches training: one call of `record` after each step, and its figures are in a registry as `drivetrain_optimizer_*`,
 * in `metrics`, and judged by `health()`.
 *
 * A step costs about a microsecond. Every `every` steps (the sampled ones) parameters are copied before the step and
 * compared with the copy after it, which takes as long as one to two steps of the optimizer alone: at 100, 1 to 2 % of the
 * optimizer's own time, and less of a training step that has a forward and a backward pass. `dispose` frees the copy.
 */
export class TrainingMonitor {
  readonly optimizer: MonitoredOptimizer;
  readonly pools: Readonly<Record<string, MemoryPool>>;
  readonly #every: number;
  readonly #series: TrainingSeries;
  readonly #parameters: readonly Tensor[];
  readonly #probe: ParameterProbe;
  readonly #losses: Series;
  readonly #gradientNorms: Series;
  readonly #recent: RecentSteps;
  /** Refused allocations of each pool when the monitor was made. */
  readonly #failures: ReadonlyMap<string, number>;
  /** Time in phases since the last step. */
  readonly #pending = new Map<string, number>();
  readonly #phases = new Map<string, number>();
  /** The same, as far as they are in the registry. */
  readonly #exposed = new Map<string, number>();
  /** When the last step was recorded; undefined where training rests. */
  #last: number | undefined;
  #optimizerSteps: number;
  /** Time and processor time at the sampled step before; undefined where training has rested since. */
  #sample: { readonly at: number; readonly cpu: NodeJS.CpuUsage } | undefined;
  #processors: number | undefined;
  #steps = 0;
  #samples = 0;
  #seconds = 0;
  #loss: number | undefined;
  #gradientNorm: number | undefined;
  #report: ParameterReport | undefined;
  #skipped = 0;
  #nonFiniteLosses = 0;
  #nonFiniteGradients = 0;
  #latestNonFiniteGradients = 0;
  #bestLoss = Infinity;
  #windowsWithoutImprovement = 0;
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
    this.#losses = new Series(window);
    this.#gradientNorms = new Series(window);
    this.#recent = new RecentSteps(window);
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
    const { gradients, keep } = this.#note(step);
    if (gradients === undefined && !keep) return;
    // Both are submitted before the next step is.
    const measured = gradients && this.#probe.measure(gradients);
    const [report] = await Promise.all([measured, keep && this.#probe.keep()]);
    if (report !== undefined) this.#take(report);
  }

  /** The same on the calling thread, which it holds for as long as one to two steps of the optimizer when it samples. */
  recordSync(step: TrainingStep = {}): void {
    const { gradients, keep } = this.#note(step);
    if (gradients !== undefined) this.#take(this.#probe.measureSync(gradients));
    if (keep) this.#probe.keep.runSync();
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
    this.#pending.clear();
  }

  get metrics(): TrainingMetrics {
    const { steps, seconds, samples } = this.#recent.totals;
    const [now, before] = [this.#losses.mean(), this.#losses.mean(1)];
    const trend = this.#losses.trend();
    return {
      steps: this.#steps,
      samples: this.#samples,
      loss: this.#loss,
      stepSeconds: steps === 0 ? undefined : seconds / steps,
      samplesPerSecond: samples === 0 ? undefined : samples / seconds,
      gradientNorm: this.#gradientNorm,
      parameterNorm: this.#report?.norm,
      updateRatio: this.#report?.updateRatio,
      learningRates: this.optimizer.paramGroups.map(({ lr }) => lr),
      improvementRate:
        now === undefined || before === undefined || before === 0
          ? undefined
          : (before - now) / Math.abs(before),
      convergenceRate: trend === undefined ? undefined : -trend.slope,
      skippedSteps: this.#skipped,
      nonFiniteLosses: this.#nonFiniteLosses,
      nonFiniteGradients: this.#nonFiniteGradients,
      processors: this.#processors,
      seconds: this.#seconds,
      phases: Object.fromEntries(this.#phases),
    };
  }

  /** How training does, as far as it is known: the status, and reasons that say what to do. */
  health(): Health {
    const { stepSeconds } = this.metrics;
    return judge({
      loss: this.#loss,
      lossTrend: this.#losses.trend(),
      windowsWithoutImprovement: this.#windowsWithoutImprovement,
      window: this.#losses.window,
      gradientNorm: this.#gradientNorm,
      gradientNormTrend: this.#gradientNorms.trend(),
      nonFiniteGradients: this.#latestNonFiniteGradients,
      parameterNorm: this.#report?.norm,
      skippedShare: this.#recent.skippedShare,
      silence: this.#last === undefined ? undefined : (performance.now() - this.#last) / 1e3,
      stepSeconds,
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

  /** All that costs little. Says whether the step is a sampled one, then with the gradients to look at, and whether the next is. */
  #note(step: TrainingStep): { gradients: Tensor[] | undefined; keep: boolean } {
    const now = performance.now();
    if (this.#disposed) {
      throw new DrivetrainError('DT_DISPOSED', 'Expected a monitor in use but this one was disposed.');
    }
    const sampled = (this.#steps + 1) % this.#every === 0;
    // Loops make the same call again and again.
    if (sampled || this.#steps === 0) checkOptions('record', step, STEP_KEYS);
    const loss = numberOf('loss', step.loss);
    const gradNorm = numberOf('gradNorm', step.gradNorm);
    const { samples = 0 } = step;
    checkWhole('samples', samples, 0);
    this.#checkGradients(step.gradients);
    const { lastStep } = this.optimizer;
    this.#steps++;
    this.#samples += samples;
    this.#noteTime(now, samples);
    if (lastStep?.skipped) this.#noteSkipped(1);
    else if (sampled && lastStep === undefined) this.#countOptimizerSteps();
    if (loss !== undefined) this.#noteLoss(loss);
    const norm = gradNorm ?? lastStep?.norm;
    if (norm !== undefined) this.#noteGradients(norm, lastStep?.notFinite);
    this.#series.steps.inc();
    this.#series.samples.inc(samples);
    if (sampled) this.#noteProcessors(now);
    return {
      gradients: sampled ? (norm === undefined ? this.#tensorsOf(step.gradients) : []) : undefined,
      keep: (this.#steps + 1) % this.#every === 0,
    };
  }

  #checkGradients(gradients: TrainingStep['gradients']): void {
    const count = this.#parameters.length;
    if (gradients === undefined || (Array.isArray(gradients) && gradients.length === count)) return;
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
    if (missing > 0 && missing <= this.#every) this.#noteSkipped(missing);
  }

  #noteSkipped(count: number): void {
    this.#skipped += count;
    this.#recent.skip(count);
    this.#series.skippedSteps.inc(count);
  }

  #noteTime(now: number, samples: number): void {
    const seconds = this.#last === undefined ? Number.NaN : (now - this.#last) / 1e3;
    this.#last = now;
    this.#recent.push(seconds, samples);
    if (!Number.isNaN(seconds)) {
      this.#seconds += seconds;
      this.#series.stepDuration.observe(seconds);
      for (const [phase, own] of this.#pending) this.#phases.set(phase, (this.#phases.get(phase) ?? 0) + own);
    }
    this.#pending.clear();
  }

  #noteProcessors(now: number): void {
    const before = this.#sample;
    this.#sample = { at: now, cpu: process.cpuUsage() };
    if (before === undefined) return;
    const { user, system } = process.cpuUsage(before.cpu);
    this.#processors = (user + system) / 1e3 / (now - before.at);
  }

  #noteLoss(loss: number): void {
    this.#loss = loss;
    this.#series.loss(loss);
    if (!Number.isFinite(loss)) {
      this.#nonFiniteLosses++;
      this.#series.nonFiniteLosses.inc();
      return;
    }
    this.#losses.push(loss);
    if (this.#losses.count % this.#losses.window !== 0) return;
    const mean = this.#losses.mean()!;
    if (mean < this.#bestLoss - LEAST_IMPROVEMENT * Math.abs(mean)) {
      this.#bestLoss = mean;
      this.#windowsWithoutImprovement = 0;
    } else {
      this.#windowsWithoutImprovement++;
    }
  }

  #noteGradients(norm: number, notFinite = 0): void {
    this.#gradientNorm = norm;
    this.#gradientNorms.push(norm);
    this.#series.gradientNorm(norm);
    this.#latestNonFiniteGradients = notFinite;
    this.#nonFiniteGradients += notFinite;
    this.#series.nonFiniteGradients.inc(notFinite);
  }

  /** What a sampled step has found out goes to the registry. */
  #take(report: ParameterReport): void {
    this.#report = report;
    if (report.gradients !== undefined)
      this.#noteGradients(report.gradients.norm, report.gradients.notFinite);
    const { metrics } = this;
    this.#series.processors(metrics.processors);
    this.#series.samplesPerSecond(metrics.samplesPerSecond);
    this.#series.parameterNorm(metrics.parameterNorm);
    this.#series.updateRatio(metrics.updateRatio);
    this.#series.improvementRate(metrics.improvementRate);
    this.#series.convergenceRate(metrics.convergenceRate);
    this.#series.learningRates(metrics.learningRates);
    for (const [phase, seconds] of this.#phases) {
      this.#series.phase(phase, seconds - (this.#exposed.get(phase) ?? 0));
      this.#exposed.set(phase, seconds);
    }
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
