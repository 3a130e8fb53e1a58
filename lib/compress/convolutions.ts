import { BatchNorm1d, BatchNorm2d, Conv1d, Conv2d, type Module } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';
import { narrowed } from './slices.js';
import { isExactly } from './submodules.js';

export type Convolution = Conv1d | Conv2d;
export type BatchNorm = BatchNorm1d | BatchNorm2d;

export function isConvolution(module: Module | undefined): module is Convolution {
  return isExactly(module, Conv1d) || isExactly(module, Conv2d);
}

export function isBatchNorm(module: Module | undefined): module is BatchNorm {
  return isExactly(module, BatchNorm1d) || isExactly(module, BatchNorm2d);
}

/** A normalisation of so many channels, as a new one is, with the options and the mode of another. */
export function emptyBatchNorm(layer: BatchNorm, channels: number): BatchNorm {
  const { eps, momentum } = layer;
  const type = isExactly(layer, BatchNorm1d) ? BatchNorm1d : BatchNorm2d;
  return new type(channels, { eps, momentum }).train(layer.training);
}

/** A normalisation of its own with some of another's channels. */
export function narrowedBatchNorm(layer: BatchNorm, kept: readonly number[]): BatchNorm {
  const smaller = emptyBatchNorm(layer, kept.length);
  const state: Record<string, Tensor> = {};
  for (const [name, t] of Object.entries(layer.stateDict())) state[name] = narrowed(t, kept, undefined);
  smaller.loadStateDict(state);
  for (const t of Object.values(state)) t.dispose();
  return smaller;
}
