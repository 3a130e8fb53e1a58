import type { Tensor } from '../tensor/index.js';

/** The loss at a step of length `t` along a direction, its gradient there, and the slope: gradient · direction. */
export interface LinePoint {
  readonly t: number;
  readonly loss: number;
  readonly gradient: Tensor;
  readonly slope: number;
}

export interface LineSearch {
  /** Where the line begins, t = 0; its slope is negative. */
  readonly start: LinePoint;
  /** The first length to be tried. */
  readonly first: number;
  /** The largest element of the direction, by its size: a bracket that is shorter than the tolerance ends the search. */
  readonly largest: number;
  readonly toleranceChange: number;
  /** Gives an infinite loss where the loss or the slope is not finite. */
  readonly evaluate: (t: number) => LinePoint;
}

/** The share of the promised descent that must be made, and the share of the slope that may remain. */
const C1 = 1e-4;
const C2 = 0.9;
const MOST = 25;

/**
 * A point that satisfies the strong Wolfe conditions, loss(t) ≤ loss(0) + c₁ t slope(0) and |slope(t)| ≤ c₂ |slope(0)|, or
 * the lowest one that 25 trials find, and how often the loss was evaluated. Nocedal and Wright, "Numerical
 * optimization", algorithms 3.5 and 3.6, with the safeguards of minFunc that PyTorch's `LBFGS` has.
 */
export function strongWolfe({ start, first, largest, toleranceChange, evaluate }: LineSearch): {
  point: LinePoint;
  evaluations: number;
} {
  const isTooHigh = ({ t, loss }: LinePoint) => loss > start.loss + C1 * t * start.slope;
  const isFlat = ({ slope }: LinePoint) => Math.abs(slope) <= -C2 * start.slope;

  // Longer and longer steps, until two points have one that will do between them.
  let [previous, point] = [start, evaluate(first)];
  let trials = 0;
  let bracket: [LinePoint, LinePoint] | undefined;
  for (; trials < MOST; trials++) {
    if (
      isTooHigh(point) ||
      (trials > 1 && point.loss >= previous.loss) ||
      (!isFlat(point) && point.slope >= 0)
    ) {
      bracket = [previous, point];
      break;
    }
    if (isFlat(point)) return { point, evaluations: trials + 1 };
    const t = lowest(previous, point, point.t + 0.01 * (point.t - previous.t), 10 * point.t);
    [previous, point] = [point, evaluate(t)];
  }
  bracket ??= [start, point];

  // Then between these two.
  let low: 0 | 1 = bracket[0].loss <= bracket[1].loss ? 0 : 1;
  let evaluations = trials + 1;
  let wasNearEnd = false;
  for (; trials < MOST; trials++) {
    const [begin, end] = [Math.min(bracket[0].t, bracket[1].t), Math.max(bracket[0].t, bracket[1].t)];
    if ((end - begin) * largest < toleranceChange) break;
    const lowestThere = lowest(bracket[0], bracket[1], begin, end);
    // A trial near an end twice, or at an end, brings little: then a tenth of the bracket from there.
    const margin = 0.1 * (end - begin);
    const [toBegin, toEnd] = [lowestThere - begin, end - lowestThere];
    const isNearEnd = Math.min(toBegin, toEnd) < margin;
    const isMoved: boolean = isNearEnd && (wasNearEnd || toBegin <= 0 || toEnd <= 0);
    const moved = toEnd < toBegin ? end - margin : begin + margin;
    wasNearEnd = isNearEnd && !isMoved;

    point = evaluate(isMoved ? moved : lowestThere);
    evaluations++;
    const high: 0 | 1 = low === 0 ? 1 : 0;
    if (isTooHigh(point) || point.loss >= bracket[low].loss) {
      bracket[high] = point;
      low = bracket[0].loss <= bracket[1].loss ? 0 : 1;
      continue;
    }
    if (!isFlat(point) && point.slope * (bracket[high].t - bracket[low].t) >= 0) bracket[high] = bracket[low];
    bracket[low] = point;
    if (isFlat(point)) break;
  }
  return { point: bracket[low], evaluations };
}

/** Where the cubic through two points and their slopes is lowest, from `least` to `most`; else their middle. */
function lowest(a: LinePoint, b: LinePoint, least: number, most: number): number {
  const [left, right] = a.t <= b.t ? [a, b] : [b, a];
  const d1 = a.slope + b.slope - (3 * (a.loss - b.loss)) / (a.t - b.t);
  const d2 = Math.sqrt(d1 * d1 - a.slope * b.slope);
  const t = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2));
  return Number.isNaN(t) ? (least + most) / 2 : Math.min(Math.max(t, least), most);
}
