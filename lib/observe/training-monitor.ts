import { DrivetrainError, inspect, type TypedArray } from '../native/index.js';
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
  /** How many batches make a step, of what accumulates gradients; 1 unless given. */
  readonly batches?: number;
  /**
   * What the last step found out about its gradients, where the optimizer looked at them. Where it counts the steps that it
   * skipped, a call that neither this count nor `steps` shows was no step.
   */
  readonly lastStep?:
    | {
        readonly norm: number;
        readonly notFinite: number;
        readonly skipped: boolean;
        readonly skippedSteps?: number;
      }
    | undefined;
  stateDict?(): Readonly<Record<string, unknown>>;
}

export interface TrainingMonitorOptions {
  /**
   * Looks at parameters and gradients every so many steps. Unless given every 100, or more rarely where that would take
   * more than a quarter of a per cent of the time of the steps.
   */
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

/** What a step with a look at the parameters, and the one before it, ask for. */
interface Look {
  /** Parameters are to be measured, with these gradients. */
  readonly gradients: Tensor[] | undefined;
  /** A copy of the parameters is to be kept. */
  readonly keep: boolean;
}

const DEFAULT_EVERY = 100;
/** Steps after which the queue is worked off. */
const MAX_QUEUE = 100;
/** Of the steps' time, what looks at the parameters may take unless `every` is given. */
const LOOK_SHARE = 0.0025;
const DONE = Promise.resolve();
const STEP_KEYS = ['loss', 'samples', 'gradients', 'gradNorm'];

/**
 * Watches training: one call of `record` after each step, and its figures are in a registry as `drivetrain_optimizer_*`,
 * in `metrics`, and judged by `health()`.
 *
 * A step costs one or two microseconds. Every `every` steps (the sampled ones) parameters are copied before the step and
 * compared with the copy after it, which takes as long as two to four steps of the optimizer alone: where `every` is not
 * given, that is left out in as many sampled steps as keep it under a quarter of a per cent. The registry is brought up
 * to date when it is read. `dispose` frees the copy.
 */
export class TrainingMonitor {
  readonly optimizer: MonitoredOptimizer;
  readonly pools: Readonly<Record<string, MemoryPool>>;
  readonly #every: number;
  /** Whether looks at the parameters are to be rare enough to cost little. */
  readonly #bounded: boolean;
  /** The step after which parameters are looked at next, a sampled one. */
  #nextLook: number;
  /** Seconds that the copy for it took. */
  #keepSeconds = 0;
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
  /** What the optimizer had counted when a step that it looks at was last recorded. */
  #counted = { steps: Number.NaN, skipped: Number.NaN };
  /** Time and processor time in ms at the sampled step before; undefined where training has rested since. */
  #sample: { readonly at: number; readonly cpu: number } | undefined;
  #processors: number | undefined;
  #steps = 0;
  readonly #stopCollecting: () => void;
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
      every = DEFAULT_EVERY,
      window = 100,
      registry = defaultRegistry,
      pools = { default: defaultPool },
    } = options;
    checkWhole('every', every, 1);
    checkWhole('window', window, 3);
    this.optimizer = optimizer;
    this.pools = pools;
    this.#every = every;
    this.#bounded = options.every === undefined;
    this.#nextLook = every;
    this.#series = new TrainingSeries(registry, options.name ?? optimizer.constructor.name);
    this.#parameters = optimizer.paramGroups.flatMap(({ params }) => params);
    this.#probe = new ParameterProbe(this.#parameters);
    this.#statistics = new TrainingStatistics(window, this.#series);
    this.#failures = new Map(Object.entries(pools).map(([name, pool]) => [name, pool.statistics.failures]));
    this.#optimizerSteps = optimizer.steps;
    this.#stopCollecting = collectFrom(registry, new WeakRef(this));
    if (every === 1) this.#probe.keep.runSync();
  }

  /**
   * Notes a step that was made, off the event loop where there is much to look at. What it is given is read before it
   * returns, save `gradients`, which are used until the promise resolves. In a loop of awaited steps the promise may be
   * left alone; where steps are synchronous, await it, or call `recordSync`.
   */
  record(step: TrainingStep = {}): Promise<void> {
    try {
      const look = this.#note(step);
      return look === undefined ? DONE : this.#look(look);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The same on the calling thread, which it holds for as long as one to two steps of the optimizer when it samples. */
  recordSync(step: TrainingStep = {}): void {
    const look = this.#note(step);
    if (look === undefined) return;
    const begin = performance.now();
    if (look.gradients !== undefined) this.#take(this.#probe.measureSync(look.gradients), begin);
    if (look.keep) {
      const copied = performance.now();
      this.#probe.keep.runSync();
      this.#keepSeconds = (performance.now() - copied) / 1e3;
    }
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

  /** Frees the copy of the parameters. The series stay in the registry as they are. */
  dispose(): void {
    if (this.#disposed) return;
    this.publish();
    this.#stopCollecting();
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
    const latest = this.#isNew(lastStep) ? lastStep : undefined;
    const norm = gradNorm ?? latest?.norm;
    this.#queue.push({
      seconds: this.#last === undefined ? undefined : (now - this.#last) / 1e3,
      samples,
      loss,
      norm,
      // Of a norm alone it is not known how many were not finite.
      notFinite: latest?.notFinite ?? (norm === undefined || Number.isFinite(norm) ? 0 : 1),
      skipped: latest?.skipped ?? false,
      phases: this.#pending,
    });
    this.#last = now;
    if (this.#pending.size > 0) this.#pending = new Map();
    this.#steps++;
    const looks = this.#steps === this.#nextLook;
    if (looks) this.#nextLook += this.#every;
    const keep = this.#steps + 1 === this.#nextLook;
    if (sampled) {
      this.#flush();
      if (lastStep === undefined) this.#countOptimizerSteps();
      this.#noteProcessors(now);
    } else if (this.#queue.length === MAX_QUEUE) this.#flush();
    if (!looks) return keep ? { gradients: undefined, keep } : undefined;
    return { gradients: norm === undefined ? this.#tensorsOf(gradients) : [], keep };
  }

  async #look({ gradients, keep }: Look): Promise<void> {
    const begin = performance.now();
    // Both are submitted before the next step is.
    const measured = gradients && this.#probe.measure(gradients);
    const [report] = await Promise.all([measured, keep && this.#probe.keep()]);
    if (report !== undefined) this.#take(report, begin);
    else this.#keepSeconds = (performance.now() - begin) / 1e3;
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

  /** Whether a report is of a step that was made since the last one was recorded: an accumulator mostly makes none. */
  #isNew(report: MonitoredOptimizer['lastStep']): boolean {
    if (report?.skippedSteps === undefined) return true;
    const before = this.#counted;
    const { steps } = this.optimizer;
    if (steps === before.steps && report.skippedSteps === before.skipped) return false;
    this.#counted = { steps, skipped: report.skippedSteps };
    return true;
  }

  /** An optimizer that says nothing of its steps has skipped those that it has not counted since it was last asked. */
  #countOptimizerSteps(): void {
    const { steps, batches = 1 } = this.optimizer;
    const missing = Math.floor(this.#every / batches) - (steps - this.#optimizerSteps);
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
    const { user, system } = process.cpuUsage();
    this.#sample = { at: now, cpu: (user + system) / 1e3 };
    if (before !== undefined) this.#processors = (this.#sample.cpu - before.cpu) / (now - before.at);
  }

  /** Takes what a look that began at `begin` has found. The next one is the later, the longer this one took. */
  #take(report: ParameterReport, begin: number): void {
    this.#statistics.addReport(report);
    const { stepSeconds } = this.#statistics.metrics;
    if (!this.#bounded || stepSeconds === undefined) return;
    const seconds = this.#keepSeconds + (performance.now() - begin) / 1e3;
    const least = Math.ceil(seconds / (LOOK_SHARE * stepSeconds * this.#every));
    this.#nextLook = (Math.floor(this.#steps / this.#every) + Math.max(1, least)) * this.#every;
  }

  /** Brings the registry up to date. @internal */
  publish(): void {
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

/** Brings the registry up to date when it is read, for as long as something refers to the monitor. */
function collectFrom(registry: Registry, monitor: WeakRef<TrainingMonitor>): () => void {
  const stop = registry.onCollect(() => {
    const alive = monitor.deref();
    alive === undefined ? stop() : alive.publish();
  });
  return stop;
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
