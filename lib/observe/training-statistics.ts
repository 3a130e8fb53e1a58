import { type HealthFacts, LEAST_IMPROVEMENT } from './health.js';
import type { ParameterReport } from './parameter-probe.js';
import { RecentSteps } from './recent-steps.js';
import { Series } from './series.js';
import type { TrainingMetrics } from './training-metrics.js';
import type { TrainingSeries } from './training-series.js';

/** A step as it was recorded. */
export interface RecordedStep {
  /** Since the step before; undefined where training rested. */
  readonly seconds: number | undefined;
  readonly samples: number;
  readonly loss: number | undefined;
  /** Of the gradients, with how many of their elements are NaN or infinite. */
  readonly norm: number | undefined;
  readonly notFinite: number;
  readonly skipped: boolean;
  /** Seconds in each phase that was timed. */
  readonly phases: ReadonlyMap<string, number>;
}

/** What steps add up to, in constant memory: counted into the series as well. */
export class TrainingStatistics {
  readonly #series: TrainingSeries;
  readonly #losses: Series;
  readonly #gradientNorms: Series;
  readonly #recent: RecentSteps;
  readonly #phases = new Map<string, number>();
  #steps = 0;
  #samples = 0;
  #seconds = 0;
  #loss: number | undefined;
  #gradientNorm: number | undefined;
  #parameters: ParameterReport | undefined;
  #skipped = 0;
  #nonFiniteLosses = 0;
  #nonFiniteGradients = 0;
  #latestNonFiniteGradients = 0;
  #bestLoss = Infinity;
  #windowsWithoutImprovement = 0;

  constructor(window: number, series: TrainingSeries) {
    this.#series = series;
    this.#losses = new Series(window);
    this.#gradientNorms = new Series(window);
    this.#recent = new RecentSteps(window);
  }

  add({ seconds, samples, loss, norm, notFinite, skipped, phases }: RecordedStep): void {
    this.#steps++;
    this.#samples += samples;
    this.#series.steps.inc();
    this.#series.samples.inc(samples);
    this.#recent.push(seconds ?? Number.NaN, samples);
    if (seconds !== undefined) this.#addTime(seconds, phases);
    if (skipped) this.addSkipped(1);
    if (loss !== undefined) this.#addLoss(loss);
    if (norm !== undefined) this.#addGradients(norm, notFinite);
  }

  /** The latest `count` steps were skipped. */
  addSkipped(count: number): void {
    this.#skipped += count;
    this.#recent.skip(count);
    this.#series.skippedSteps.inc(count);
  }

  /** What a look at the parameters after the latest step has found. */
  addReport(report: ParameterReport): void {
    this.#parameters = report;
    if (report.gradients !== undefined) this.#addGradients(report.gradients.norm, report.gradients.notFinite);
  }

  get metrics(): Omit<TrainingMetrics, 'learningRates' | 'processors'> {
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
      parameterNorm: this.#parameters?.norm,
      updateRatio: this.#parameters?.updateRatio,
      improvementRate:
        now === undefined || before === undefined || before === 0
          ? undefined
          : (before - now) / Math.abs(before),
      convergenceRate: trend === undefined ? undefined : -trend.slope,
      skippedSteps: this.#skipped,
      nonFiniteLosses: this.#nonFiniteLosses,
      nonFiniteGradients: this.#nonFiniteGradients,
      seconds: this.#seconds,
      phases: Object.fromEntries(this.#phases),
    };
  }

  get facts(): Omit<HealthFacts, 'silence' | 'pools'> {
    const { steps, seconds } = this.#recent.totals;
    return {
      loss: this.#loss,
      lossTrend: this.#losses.trend(),
      windowsWithoutImprovement: this.#windowsWithoutImprovement,
      window: this.#losses.window,
      gradientNorm: this.#gradientNorm,
      gradientNormTrend: this.#gradientNorms.trend(),
      nonFiniteGradients: this.#latestNonFiniteGradients,
      parameterNorm: this.#parameters?.norm,
      skippedShare: this.#recent.skippedShare,
      stepSeconds: steps === 0 ? undefined : seconds / steps,
    };
  }

  #addTime(seconds: number, phases: ReadonlyMap<string, number>): void {
    this.#seconds += seconds;
    this.#series.stepDuration.observe(seconds);
    for (const [phase, own] of phases) {
      this.#phases.set(phase, (this.#phases.get(phase) ?? 0) + own);
      this.#series.phase(phase, own);
    }
  }

  #addLoss(loss: number): void {
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

  #addGradients(norm: number, notFinite: number): void {
    this.#gradientNorm = norm;
    this.#gradientNorms.push(norm);
    this.#series.gradientNorm(norm);
    this.#latestNonFiniteGradients = notFinite;
    this.#nonFiniteGradients += notFinite;
    this.#series.nonFiniteGradients.inc(notFinite);
  }
}
