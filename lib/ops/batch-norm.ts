import { DrivetrainError } from '../native/index.js';
import { formatShape, sizeOf, type Tensor } from '../tensor/index.js';
import { apply, transient } from './apply.js';
import { checkEps, checkFloat, checkSameDtype, checkShapeIs } from './checks.js';
import { add, div, mul, sqrt, sub } from './elementwise.js';
import type { Op } from './op.js';
import type { NormAttrs } from './rows.js';
import { reshape, transpose } from './views.js';

/** Inputs x [n, channels, length], gamma and beta; outputs y, and mean and variance of each channel. */
const batchNormOp: Op<NormAttrs> = {
  name: 'batchNorm',
  infer: ([x, gamma]) => [x!, gamma!, gamma!].map(({ shape, dtype }) => ({ shape, dtype })),
  numbers: ({ eps }) => [eps],
};

/** Inputs x, gamma, mean, variance and the gradient of y; outputs the gradients of x, gamma and beta. */
const batchNormGradOp: Op<NormAttrs> = {
  name: 'batchNormGrad',
  infer: ([x, gamma]) => [x!, gamma!, gamma!].map(({ shape, dtype }) => ({ shape, dtype })),
  numbers: ({ eps }) => [eps],
};

/** What `batchNorm` normalised by: [channels] each, without a gradient. */
export interface BatchStatistics {
  readonly mean: Tensor;
  /** The mean of the squared distances from the mean: without Bessel's correction. */
  readonly variance: Tensor;
}

/**
 * (x − mean) / √(variance + eps) · gamma + beta for x [n, channels, ...], gamma and beta [channels], with mean and variance
 * of each channel over all else; they are given back. f32 or f64. Ioffe and Szegedy, arXiv:1502.03167.
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  eps = 1e-5,
): { y: Tensor; statistics: BatchStatistics } {
  checkEps('batchNorm', eps);
  checkChannels('batchNorm', x, { gamma, beta });
  if (x.size <= x.shape[1]!) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected more than one value per channel to normalise by for batchNorm but received shape ${formatShape(x.shape)}; in evaluation the running statistics are taken.`,
    );
  }
  const [y, mean, variance] = transient(() => {
    const [samples, channels, ...places] = x.shape as [number, number, ...number[]];
    // The values of a channel side by side.
    if (places.length === 0) {
      const rows = reshape(transpose(x), [1, channels, samples]);
      const [out, ...statistics] = apply(batchNormOp, [rows, gamma, beta], { eps });
      return [transpose(reshape(out!, [channels, samples])), ...statistics];
    }
    const rows = reshape(x, [samples, channels, sizeOf(places)]);
    const [out, ...statistics] = apply(batchNormOp, [rows, gamma, beta], { eps });
    return [reshape(out!, x.shape), ...statistics];
  }) as [Tensor, Tensor, Tensor];
  return { y, statistics: { mean, variance } };
}

/** The same by a mean and a variance [channels] that are given. */
export function normaliseBy(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  { mean, variance }: BatchStatistics,
  eps = 1e-5,
): Tensor {
  checkEps('batchNorm', eps);
  checkChannels('batchNorm', x, { gamma, beta, mean, variance });
  return transient(() => {
    const scale = div(gamma, sqrt(add(variance, eps)));
    const shift = sub(beta, mul(mean, scale));
    const perChannel = (t: Tensor) => reshape(t, [t.size, ...x.shape.slice(2).fill(1)]);
    return add(mul(x, perChannel(scale)), perChannel(shift));
  });
}

function checkChannels(operation: string, x: Tensor, parameters: Readonly<Record<string, Tensor>>): void {
  checkFloat(operation, x, ...Object.values(parameters));
  if (x.rank < 2) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected x [n, channels, ...] for ${operation} but received shape ${formatShape(x.shape)}.`,
    );
  }
  for (const [name, parameter] of Object.entries(parameters)) {
    checkSameDtype(operation, x, parameter);
    checkShapeIs(operation, name, parameter, [x.shape[1]!]);
  }
}

/** The gradients of x [n, channels, length], gamma and beta. */
export function batchNormGrad(
  dy: Tensor,
  [x, gamma]: readonly Tensor[],
  [, mean, variance]: readonly Tensor[],
  eps: number,
): Tensor[] {
  return apply(batchNormGradOp, [x!, gamma!, mean!, variance!, dy], { eps });
}
