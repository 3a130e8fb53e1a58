import { DrivetrainError } from '../native/index.js';
import { checkOptions } from '../tensor/index.js';

export interface CubicSparsityOptions {
  /** The share pruned at the end, from 0 to 1. */
  final: number;
  /** Steps from the first to the last pruning. */
  steps: number;
  /** The share pruned up to `begin`; 0 unless given. */
  initial?: number;
  /** The step after which more is pruned; 0 unless given. */
  begin?: number;
}

/**
 * A share to prune for each step, which rises fast at first and slowly at the end: final + (initial − final) · (1 − t)³,
 * where t goes from 0 at `begin` to 1 after `steps`. Zhu and Gupta, arXiv:1710.01878, equation 1.
 */
export function cubicSparsity(options: CubicSparsityOptions): (step: number) => number {
  checkOptions('cubicSparsity', options, ['final', 'steps', 'initial', 'begin']);
  const { final, steps, initial = 0, begin = 0 } = options;
  for (const [name, value] of Object.entries({ final, initial })) {
    if (!(typeof value === 'number' && value >= 0 && value <= 1)) throw invalid(`${name} from 0 to 1`, value);
  }
  if (!(Number.isSafeInteger(steps) && steps >= 1)) throw invalid('a whole number from 1 on as steps', steps);
  if (!(Number.isSafeInteger(begin) && begin >= 0)) throw invalid('a whole number from 0 on as begin', begin);
  return (step) => {
    const left = 1 - Math.min(1, Math.max(0, (step - begin) / steps));
    return final + (initial - final) * left ** 3;
  };
}

function invalid(expected: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for cubicSparsity but received ${String(received)}.`,
  );
}
