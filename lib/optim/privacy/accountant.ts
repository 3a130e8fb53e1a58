import { DrivetrainError, inspect } from '../../native/index.js';
import { sampledGaussianRdp } from './sampled-gaussian.js';

/** The orders α at which privacy loss is added up; the best of them gives ε. */
const ORDERS: readonly number[] = [
  ...[1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 4.5],
  ...Array.from({ length: 59 }, (_, i) => i + 5),
  ...[80, 96, 128, 256, 512],
];

/** Steps of DP-SGD that were alike. */
export interface PrivateSteps {
  /** The standard deviation of the noise, in units of the clipping norm. */
  readonly noiseMultiplier: number;
  /** The chance of each sample to be in a batch (Poisson sampling). */
  readonly sampleRate: number;
  readonly steps: number;
}

/**
 * Adds up what steps of DP-SGD cost in privacy, by Rényi divergences (Mironov, arXiv:1702.07476), and gives (ε, δ) by the
 * conversion of Canonne, Kamath and Steinke, arXiv:2004.00010, proposition 12. Neighbours differ in one sample more or
 * fewer.
 */
export class RdpAccountant {
  readonly #history = new Map<string, PrivateSteps>();

  /** What was counted so far. */
  get history(): readonly PrivateSteps[] {
    return [...this.#history.values()];
  }

  /** Counts `steps` more. */
  record({ noiseMultiplier, sampleRate, steps }: PrivateSteps): void {
    checkSteps({ noiseMultiplier, sampleRate, steps });
    const key = `${noiseMultiplier} ${sampleRate}`;
    const before = this.#history.get(key)?.steps ?? 0;
    this.#history.set(key, { noiseMultiplier, sampleRate, steps: before + steps });
  }

  /** The privacy spent: ε at `delta`; with `more` steps, what would be spent after them. */
  epsilon(delta: number, more?: PrivateSteps): number {
    checkDelta(delta);
    if (more !== undefined) checkSteps(more);
    const counted = [...this.#history.values(), ...(more ? [more] : [])].filter(({ steps }) => steps > 0);
    if (counted.length === 0) return 0;
    const best = ORDERS.map((order, i) => {
      const spent = counted.reduce((sum, kind) => sum + kind.steps * costsOf(kind)[i]!, 0);
      return spent + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1);
    });
    return Math.max(0, Math.min(...best));
  }

  stateDict(): { history: readonly PrivateSteps[] } {
    return { history: this.history };
  }

  /** Takes the place of everything counted so far. */
  loadStateDict({ history }: { history: readonly PrivateSteps[] }): void {
    for (const kind of history) checkSteps(kind);
    this.#history.clear();
    for (const kind of history) this.record(kind);
  }
}

const costs = new Map<string, readonly number[]>();

/** ε(α) of one step for every order. */
function costsOf({ noiseMultiplier, sampleRate }: PrivateSteps): readonly number[] {
  const key = `${noiseMultiplier} ${sampleRate}`;
  let found = costs.get(key);
  if (found === undefined) {
    found = ORDERS.map((order) => sampledGaussianRdp(sampleRate, noiseMultiplier, order));
    costs.set(key, found);
  }
  return found;
}

/**
 * The least noise, to 1 part in 1,000, with which `steps` steps stay within ε at `delta`; for planning.
 */
export function noiseMultiplierFor(
  budget: { readonly epsilon: number; readonly delta: number },
  { sampleRate, steps }: { readonly sampleRate: number; readonly steps: number },
): number {
  if (!(budget.epsilon > 0)) refuse('an epsilon above 0', budget.epsilon);
  const fits = (noiseMultiplier: number) =>
    new RdpAccountant().epsilon(budget.delta, { noiseMultiplier, sampleRate, steps }) <= budget.epsilon;
  let high = 1;
  while (!fits(high) && high < 2 ** 20) high *= 2;
  if (!fits(high)) refuse('a budget that some noise can keep', budget);
  let low = high / 2;
  while (low > 2 ** -4 && fits(low)) [high, low] = [low, low / 2];
  while (high / low > 1.001) {
    const middle = Math.sqrt(low * high);
    if (fits(middle)) high = middle;
    else low = middle;
  }
  return high;
}

function checkSteps({ noiseMultiplier, sampleRate, steps }: PrivateSteps): void {
  if (!(noiseMultiplier >= 0 && noiseMultiplier < Infinity)) {
    refuse('a noise multiplier that is finite and from 0 on', noiseMultiplier);
  }
  if (!(sampleRate >= 0 && sampleRate <= 1)) refuse('a sample rate from 0 to 1', sampleRate);
  if (!Number.isSafeInteger(steps) || steps < 0) refuse('a whole number of steps from 0 on', steps);
}

function checkDelta(delta: number): void {
  if (!(delta > 0 && delta < 1)) refuse('a delta between 0 and 1', delta);
}

function refuse(expected: string, received: unknown): never {
  throw new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} but received ${inspect(received)}.`);
}
