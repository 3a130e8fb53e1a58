/** What a monitor knows; undefined is not known (yet). */
export interface TrainingMetrics {
  /** Steps recorded. */
  readonly steps: number;
  readonly samples: number;
  readonly loss: number | undefined;
  /** Seconds from one step to the next, on average over the last window. */
  readonly stepSeconds: number | undefined;
  /** Over the last window. */
  readonly samplesPerSecond: number | undefined;
  /** The L2 norm of the latest gradients that were looked at. */
  readonly gradientNorm: number | undefined;
  /** The L2 norm of the parameters after the latest sampled step. */
  readonly parameterNorm: number | undefined;
  /** ‖change‖ / ‖parameters‖ of the latest sampled step; around 1e-3 is usual. */
  readonly updateRatio: number | undefined;
  /** Of each group that has one. */
  readonly learningRates: readonly (number | undefined)[];
  /**
   * (b − a) / |b|, where a is the mean loss of the last window and b that of the window before it: 0.1 where it fell by a
   * tenth. Losses that are not finite are left out.
   */
  readonly improvementRate: number | undefined;
  /**
   * −s, where s is the slope of the least-squares line through the logarithms of the losses of the last window, over
   * steps: 0.01 where the loss falls by 1 % a step. Undefined where a loss is not above 0.
   */
  readonly convergenceRate: number | undefined;
  /** Steps that the optimizer says it skipped; where it says nothing, that it had not counted by the latest sampled step. */
  readonly skippedSteps: number;
  readonly nonFiniteLosses: number;
  /** Elements of the gradients that were looked at. */
  readonly nonFiniteGradients: number;
  /** Processors that the whole process kept busy, on average, between the last two sampled steps. */
  readonly processors: number | undefined;
  /** Seconds of training that were measured: pauses and the first step are left out. */
  readonly seconds: number;
  /** Of these, seconds in each phase that `time` measured. */
  readonly phases: Readonly<Record<string, number>>;
}
