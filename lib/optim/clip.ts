import { DrivetrainError } from '../native/index.js';
import { add, div, globalNorm, minimum, mul, transient } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

/**
 * The gradients scaled so that their common L2 norm is at most `maxNorm`: by min(1, maxNorm / (norm + 1e-6)), as in
 * PyTorch. Also the norm before. A norm of NaN or infinity shows in the gradients.
 */
export function clipGradNorm(
  gradients: readonly Tensor[],
  maxNorm: number,
): { gradients: Tensor[]; norm: Tensor } {
  if (!(maxNorm >= 0)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected maxNorm of clipGradNorm from 0 on but received ${maxNorm}.`,
    );
  }
  return transient(() => {
    const norm = globalNorm(gradients);
    const scale = minimum(div(maxNorm, add(norm, 1e-6)), 1);
    return { gradients: gradients.map((gradient) => mul(gradient, scale)), norm };
  });
}
