import type { Counter, Gauge, Histogram, Registry } from './metrics.js';

/** Bucket bounds in seconds, 10 µs to 100 s: from a step on a few numbers to one on a large model. */
const STEP_BUCKETS = [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]
  .flatMap((bound) => [bound, 2.5 * bound, 5 * bound])
  .concat(100);

/** Sets a gauge. What was never known is not exposed; what is no longer known is NaN. */
type SetGauge = (value: number | undefined) => void;

/** The series of one optimizer, `drivetrain_optimizer_*`, in a registry. */
export class TrainingSeries {
  readonly steps: Counter;
  readonly samples: Counter;
  readonly skippedSteps: Counter;
  readonly nonFiniteLosses: Counter;
  readonly nonFiniteGradients: Counter;
  readonly stepDuration: Histogram;
  readonly loss: SetGauge;
  readonly samplesPerSecond: SetGauge;
  readonly processors: SetGauge;
  readonly gradientNorm: SetGauge;
  readonly parameterNorm: SetGauge;
  readonly updateRatio: SetGauge;
  readonly improvementRate: SetGauge;
  readonly convergenceRate: SetGauge;
  readonly #phaseSeconds: (phase: string) => Counter;
  readonly #learningRate: (group: string) => Gauge;
  readonly #memory: readonly ((pool: string) => Gauge)[];

  constructor(registry: Registry, optimizer: string) {
    const names = ['optimizer'] as const;
    const labels = { optimizer };
    const counter = (name: string, help: string) =>
      registry.counter(`drivetrain_optimizer_${name}`, help, names).labels(labels);
    const gauge = (name: string, help: string): SetGauge => {
      const family = registry.gauge(`drivetrain_optimizer_${name}`, help, names);
      let own: Gauge | undefined;
      return (value) => {
        if (value !== undefined) own ??= family.labels(labels);
        own?.set(value ?? Number.NaN);
      };
    };
    this.steps = counter('steps_total', 'Training steps, skipped ones among them.');
    this.samples = counter('samples_total', 'Samples that were trained on.');
    this.skippedSteps = counter(
      'skipped_steps_total',
      'Training steps that left the parameters as they were.',
    );
    this.nonFiniteLosses = counter('nonfinite_losses_total', 'Losses that were NaN or infinite.');
    this.nonFiniteGradients = counter(
      'nonfinite_gradients_total',
      'Elements of gradients that were NaN or infinite, in the steps that were looked at.',
    );
    this.stepDuration = registry
      .histogram(
        'drivetrain_optimizer_step_duration_seconds',
        'Time from one step to the next.',
        names,
        STEP_BUCKETS,
      )
      .labels(labels);
    this.loss = gauge('loss', 'The latest loss.');
    this.samplesPerSecond = gauge('samples_per_second', 'Samples a second, over the last window.');
    this.processors = gauge('processors', 'Processors that the process kept busy, on average.');
    this.gradientNorm = gauge('gradient_norm', 'The L2 norm of the gradients.');
    this.parameterNorm = gauge('parameter_norm', 'The L2 norm of the parameters.');
    this.updateRatio = gauge('update_ratio', "The norm of a step's change over the norm of the parameters.");
    this.improvementRate = gauge(
      'improvement_rate',
      'By what share the mean loss of the last window is below that of the window before.',
    );
    this.convergenceRate = gauge(
      'convergence_rate',
      'By what the logarithm of the loss falls with each step, fitted to the last window.',
    );
    const phases = registry.counter(
      'drivetrain_optimizer_phase_seconds_total',
      'Time in each timed phase of training.',
      [...names, 'phase'],
    );
    this.#phaseSeconds = (phase) => phases.labels({ optimizer, phase });
    const rates = registry.gauge(
      'drivetrain_optimizer_learning_rate',
      'The learning rate of a parameter group.',
      [...names, 'group'],
    );
    this.#learningRate = (group) => rates.labels({ optimizer, group });
    this.#memory = [
      ['memory_bytes', 'Bytes in use in a memory pool.'],
      ['memory_peak_bytes', 'The most bytes that were in use in a memory pool at once.'],
      ['memory_reserved_bytes', 'Bytes that a memory pool holds.'],
    ].map(([name, help]) => {
      const family = registry.gauge(`drivetrain_optimizer_${name}`, help!, [...names, 'pool']);
      return (pool: string) => family.labels({ optimizer, pool });
    });
  }

  phase(name: string, seconds: number): void {
    this.#phaseSeconds(name).inc(seconds);
  }

  learningRates(rates: readonly (number | undefined)[]): void {
    rates.forEach((rate, group) => {
      if (rate !== undefined) this.#learningRate(`${group}`).set(rate);
    });
  }

  memory(pool: string, bytes: { current: number; peak: number; reserved: number }): void {
    [bytes.current, bytes.peak, bytes.reserved].forEach((value, i) => {
      this.#memory[i]!(pool).set(value);
    });
  }
}
