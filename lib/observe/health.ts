import type { Trend } from './series.js';

export type HealthStatus = 'healthy' | 'warning' | 'critical';

export type HealthCode =
  | 'loss-not-finite'
  | 'parameters-not-finite'
  | 'gradients-not-finite'
  | 'gradient-norm-high'
  | 'gradient-norm-low'
  | 'exploding'
  | 'stalled'
  | 'steps-skipped'
  | 'no-steps'
  | 'memory';

export interface HealthReason {
  readonly code: HealthCode;
  readonly status: 'warning' | 'critical';
  /** What was found, and what to do. */
  readonly message: string;
  /** What was found, as a number: a norm, a share, seconds. */
  readonly value: number;
}

export interface Health {
  /** That of the worst reason. */
  readonly status: HealthStatus;
  /** Worst first; empty where all is well. */
  readonly reasons: readonly HealthReason[];
}

/** Where gradient norms usually lie. */
const GRADIENT_NORM = { least: 1e-6, most: 10 };
/** Windows without a mean loss below the best one, by the share of `LEAST_IMPROVEMENT`, after which training has stalled. */
const STALLED_WINDOWS = 3;
/** What counts as an improvement, as a share of the loss. */
export const LEAST_IMPROVEMENT = 1e-4;
/** Growth over a window, of the loss or of the gradient norm, fitted to at least so many of them. */
const GROWTH = { warning: 2, critical: 10, least: 10 };
/** A slope counts where it is so many standard errors above 0: less is noise. */
const SURE = 3;
/** The share of skipped steps in the last window. */
const SKIPPED = { warning: 0.1, critical: 0.5 };
/** Seconds without a step, at least, and in steps of the usual length; ten times as much is critical. */
const SILENCE = { seconds: 1, steps: 5 };
/** The share of a pool's limit in use. */
const MEMORY_SHARE = 0.9;

/** What health is judged by; undefined is not known. */
export interface HealthFacts {
  readonly loss: number | undefined;
  readonly lossTrend: Trend | undefined;
  /** Windows since the mean loss last improved. */
  readonly windowsWithoutImprovement: number;
  readonly window: number;
  readonly gradientNorm: number | undefined;
  readonly gradientNormTrend: Trend | undefined;
  /** Elements that were NaN or infinite when gradients were last looked at. */
  readonly nonFiniteGradients: number;
  readonly parameterNorm: number | undefined;
  readonly skippedShare: number;
  /** Seconds since the last step; undefined where training does not run. */
  readonly silence: number | undefined;
  /** Seconds from one step to the next, on average. */
  readonly stepSeconds: number | undefined;
  readonly pools: readonly {
    readonly name: string;
    readonly current: number;
    readonly limit: number;
    /** Allocations refused since the monitor was made. */
    readonly refused: number;
  }[];
}

/** Judges training. */
export function judge(facts: HealthFacts): Health {
  const reasons = [
    ...notFinite(facts),
    ...gradientNorms(facts),
    ...growth('loss', facts.lossTrend),
    ...growth('gradient norm', facts.gradientNormTrend),
    ...progress(facts),
    ...silence(facts),
    ...memory(facts),
  ].sort((a, b) => Number(b.status === 'critical') - Number(a.status === 'critical'));
  return { status: reasons[0]?.status ?? 'healthy', reasons };
}

function* notFinite(facts: HealthFacts): Generator<HealthReason> {
  const { loss, gradientNorm, nonFiniteGradients, parameterNorm } = facts;
  if (!Number.isFinite(parameterNorm ?? 0)) {
    yield {
      code: 'parameters-not-finite',
      status: 'critical',
      message:
        'Parameters are NaN or infinite: training cannot recover. Go back to a checkpoint, and train on with a lower learning rate.',
      value: parameterNorm!,
    };
  }
  if (loss !== undefined && !Number.isFinite(loss)) {
    yield {
      code: 'loss-not-finite',
      status: 'critical',
      message: `The loss is ${loss}. Look for NaN and extreme values in the inputs, lower the learning rate, clip gradients; if the parameters are spoilt, go back to a checkpoint.`,
      value: loss,
    };
  }
  if (nonFiniteGradients > 0 || !Number.isFinite(gradientNorm ?? 0)) {
    const found =
      nonFiniteGradients > 0
        ? `${count(nonFiniteGradients, 'element')} of the gradients ${are(nonFiniteGradients)} NaN or infinite`
        : `The gradient norm is ${gradientNorm}`;
    yield {
      code: 'gradients-not-finite',
      status: 'warning',
      message: `${found}. Look at the samples of that batch and lower the learning rate; such a step should be left out.`,
      value: nonFiniteGradients,
    };
  }
}

function* gradientNorms({ gradientNorm: norm }: HealthFacts): Generator<HealthReason> {
  if (norm === undefined || !Number.isFinite(norm)) return;
  if (norm > GRADIENT_NORM.most) {
    yield {
      code: 'gradient-norm-high',
      status: 'warning',
      message: `The gradient norm is ${short(norm)}, above ${GRADIENT_NORM.most}. Clip it (clipGradNorm), warm the learning rate up, or scale the inputs; where gradients are clipped already, a high norm is harmless.`,
      value: norm,
    };
  } else if (norm < GRADIENT_NORM.least) {
    yield {
      code: 'gradient-norm-low',
      status: 'warning',
      message: `The gradient norm is ${short(norm)}, below ${GRADIENT_NORM.least}: next to nothing is learnt. Either training has converged, or gradients vanish: look for saturated activations, add normalisation, initialise with larger weights.`,
      value: norm,
    };
  }
}

function* growth(what: string, trend: Trend | undefined): Generator<HealthReason> {
  if (trend === undefined || trend.count < GROWTH.least || !(trend.slope > SURE * trend.error)) return;
  const factor = Math.exp(trend.slope * (trend.count - 1));
  if (factor < GROWTH.warning) return;
  yield {
    code: 'exploding',
    status: factor < GROWTH.critical ? 'warning' : 'critical',
    message: `The ${what} has grown ${short(factor)} times as large over the last ${trend.count} that were seen. Lower the learning rate (a tenth is a good try), clip gradients, and go back to a checkpoint from before.`,
    value: factor,
  };
}

function* progress(facts: HealthFacts): Generator<HealthReason> {
  const { windowsWithoutImprovement: windows, window, skippedShare: share } = facts;
  if (windows >= STALLED_WINDOWS) {
    yield {
      code: 'stalled',
      status: 'warning',
      message: `The mean loss of ${window} steps has not improved for ${windows * window} steps. Lower the learning rate (ReduceLROnPlateau does it by itself), try a higher one if the loss was never low (findLearningRate), or stop: this may be all there is to learn.`,
      value: windows * window,
    };
  }
  if (share > SKIPPED.warning) {
    yield {
      code: 'steps-skipped',
      status: share > SKIPPED.critical ? 'critical' : 'warning',
      message: `${short(100 * share)} % of the last steps left the parameters as they were. Lower the learning rate or the loss scale, and look at the batches whose gradients are not finite.`,
      value: share,
    };
  }
}

function* silence({ silence: seconds, stepSeconds = 0 }: HealthFacts): Generator<HealthReason> {
  const most = Math.max(SILENCE.seconds, SILENCE.steps * stepSeconds);
  if (seconds === undefined || seconds <= most) return;
  yield {
    code: 'no-steps',
    status: seconds > 10 * most ? 'critical' : 'warning',
    message: `No step for ${short(seconds)} s, where ${short(most)} s is the most that is usual. See whether data arrives and whether something holds the event loop; say monitor.pause() where training rests.`,
    value: seconds,
  };
}

function* memory({ pools }: HealthFacts): Generator<HealthReason> {
  for (const { name, current, limit, refused } of pools) {
    const share = current / limit;
    if (refused === 0 && share <= MEMORY_SHARE) continue;
    const found =
      refused > 0
        ? `The pool '${name}' has refused ${count(refused, 'allocation')} at its limit`
        : `The pool '${name}' is ${short(100 * share)} % full`;
    yield {
      code: 'memory',
      status: 'warning',
      message: `${found}. Dispose what is no longer needed, take a smaller batch (recommendBatchSize), or raise pool.limit.`,
      value: share,
    };
  }
}

const short = (value: number) => `${Number(value.toPrecision(3))}`;
const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`;
const are = (n: number) => (n === 1 ? 'is' : 'are');
