import { DrivetrainError, inspect } from '../native/index.js';
import { assign, clone } from '../ops/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { curveSvg } from './lr-curve.js';
import { Optimizer } from './optimizer.js';
import { checkPositive, checkSteps } from './schedules/checks.js';

export interface LRFinderOptions {
  /** The first rate; 1e-7 unless given. */
  startLr?: number;
  /** The last rate; 10 unless given. */
  endLr?: number;
  /** Steps between them, each rate a fixed factor above the one before; 100 unless given. */
  numIter?: number;
  /** Ends when the smoothed loss is so many times the best; 4 unless given. */
  divergence?: number;
  signal?: AbortSignal;
}

export interface LRPoint {
  readonly lr: number;
  readonly loss: number;
  /** The exponential average of the losses so far, corrected for its beginning. */
  readonly smoothed: number;
}

export interface LRCurve {
  readonly points: readonly LRPoint[];
  /** The rate at which the smoothed loss falls fastest, per factor of the rate; undefined where it never falls. */
  readonly suggestion: number | undefined;
  /** The curve as a picture: an SVG document. */
  toSvg(): string;
}

/** The share of the past in the smoothed loss. */
const SMOOTHING = 0.9;

/**
 * The learning-rate range test: trains with a rate that grows from step to step, notes the loss, and puts parameters,
 * optimizer state and rates back as they were, also when `trainStep` throws. `trainStep` makes one step and gives its
 * loss. Smith, arXiv:1506.01186, section 3.3.
 */
export async function findLearningRate<H extends { lr: number }>(
  optimizer: Optimizer<H, never>,
  trainStep: () => number | Promise<number>,
  options: LRFinderOptions = {},
): Promise<LRCurve> {
  if (!(optimizer instanceof Optimizer) || typeof trainStep !== 'function') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an optimizer, by itself, and a function that trains a step for findLearningRate but received ${inspect(optimizer, { depth: 0 })} and ${typeof trainStep}.`,
    );
  }
  checkOptions('findLearningRate', options, ['startLr', 'endLr', 'numIter', 'divergence', 'signal']);
  const { startLr = 1e-7, endLr = 10, numIter = 100, divergence = 4, signal } = options;
  checkPositive('startLr', startLr);
  checkPositive('endLr', endLr);
  if (endLr <= startLr) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected endLr of findLearningRate to be above startLr but received ${endLr} and ${startLr}.`,
    );
  }
  checkSteps('numIter', numIter, 2);
  checkPositive('divergence', divergence);
  const restore = keep(optimizer);
  const points: LRPoint[] = [];
  try {
    let [average, best] = [0, Infinity];
    for (let i = 0; i < numIter; i++) {
      signal?.throwIfAborted();
      const lr = startLr * (endLr / startLr) ** (i / (numIter - 1));
      setRates(optimizer, () => lr);
      const loss = await trainStep();
      if (typeof loss !== 'number') {
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          `Expected trainStep to give its loss as a number but received ${typeof loss}.`,
        );
      }
      average = SMOOTHING * average + (1 - SMOOTHING) * loss;
      const smoothed = average / (1 - SMOOTHING ** (i + 1));
      if (!(smoothed <= best + (divergence - 1) * Math.abs(best)) && i > 0) break;
      best = Math.min(best, smoothed);
      points.push({ lr, loss, smoothed });
    }
  } finally {
    restore();
  }
  const suggestion = steepest(points);
  return { points, suggestion, toSvg: () => curveSvg(points, suggestion) };
}

/** Copies of everything that training changes; the function returned puts them back and frees them. */
function keep<H extends { lr: number }>(optimizer: Optimizer<H, never>): () => void {
  const rates = optimizer.paramGroups.map((group: { lr: number }) => group.lr);
  const parameters = optimizer.paramGroups.flatMap((group: { params: readonly Tensor[] }) => group.params);
  const kept = [...parameters, ...Object.values(optimizer.stateDict())].map(
    (tensor) => [tensor, clone(tensor)] as const,
  );
  return () => {
    for (const [tensor, copy] of kept) {
      assign(tensor, copy);
      copy.dispose();
    }
    setRates(optimizer, (i) => rates[i]!);
  };
}

function setRates<H extends { lr: number }>(
  optimizer: Optimizer<H, never>,
  rateOf: (group: number) => number,
): void {
  optimizer.paramGroups.forEach((group: { lr: number }, i) => {
    group.lr = rateOf(i);
  });
}

/** Where the smoothed loss falls fastest against the logarithm of the rate, by central differences. */
function steepest(points: readonly LRPoint[]): number | undefined {
  // Less than this is the rounding of a loss that stays where it is.
  let least = -1e-9 * Math.max(...points.map(({ smoothed }) => Math.abs(smoothed)));
  let suggestion: number | undefined;
  for (let i = 1; i + 1 < points.length; i++) {
    const slope = points[i + 1]!.smoothed - points[i - 1]!.smoothed;
    if (slope < least) [least, suggestion] = [slope, points[i]!.lr];
  }
  return suggestion;
}
