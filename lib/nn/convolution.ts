import { DrivetrainError, inspect } from '../native/index.js';
import { type Conv1dOptions, type Conv2dOptions, conv1d, conv2d, type Pair, pairOf } from '../ops/index.js';
import { checkOptions, sizeOf, type Tensor } from '../tensor/index.js';
import { checkWidth } from './checks.js';
import { uniformByFanIn } from './initialise.js';
import type { LinearOptions } from './layers.js';
import { Module } from './module.js';

const OPTIONS = ['stride', 'padding', 'dilation', 'groups', 'bias', 'generator'] as const;

/** What all convolutions have; weights and bias start uniform on ±1/√(elements of a window), as in PyTorch. */
abstract class Convolution<Extent extends Pair> extends Module {
  readonly weight: Tensor;
  readonly bias?: Tensor;
  readonly stride: Extent;
  readonly padding: Extent;
  readonly dilation: Extent;
  readonly groups: number;

  protected constructor(
    layer: string,
    inChannels: number,
    outChannels: number,
    kernel: readonly number[],
    options: ConvOptions<Extent>,
  ) {
    super();
    checkWidth('inChannels', inChannels);
    checkWidth('outChannels', outChannels);
    checkOptions(layer, options, OPTIONS);
    const { stride = 1, padding = 0, dilation = 1, groups = 1, bias = true, generator } = options;
    pairOf(layer, 'stride', stride, 1);
    pairOf(layer, 'padding', padding, 0);
    pairOf(layer, 'dilation', dilation, 1);
    checkGroups(layer, groups, inChannels, outChannels);
    this.stride = stride as Extent;
    this.padding = padding as Extent;
    this.dilation = dilation as Extent;
    this.groups = groups;
    const shape = [outChannels, inChannels / groups, ...kernel];
    const window = sizeOf(shape.slice(1));
    this.weight = uniformByFanIn(shape, window, generator);
    if (bias) this.bias = uniformByFanIn([outChannels], window, generator);
  }
}

interface ConvOptions<Extent extends Pair> extends LinearOptions {
  readonly stride?: Extent;
  readonly padding?: Extent;
  readonly dilation?: Extent;
  readonly groups?: number;
}

/** Cross-correlation with weight [out, in / groups, kernel]: [n, in, length] to [n, out, places]. */
export class Conv1d extends Convolution<number> {
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    options: Conv1dOptions & LinearOptions = {},
  ) {
    checkWidth('kernelSize', kernelSize);
    super('Conv1d', inChannels, outChannels, [kernelSize], options);
  }

  forward(x: Tensor): Tensor {
    const { weight, bias, stride, padding, dilation, groups } = this;
    return conv1d(x, weight, bias, { stride, padding, dilation, groups });
  }
}

/** Cross-correlation with weight [out, in / groups, kh, kw]: [n, in, height, width] to [n, out, rows, columns]. */
export class Conv2d extends Convolution<Pair> {
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Pair,
    options: Conv2dOptions & LinearOptions = {},
  ) {
    super('Conv2d', inChannels, outChannels, pairOf('Conv2d', 'kernelSize', kernelSize, 1), options);
  }

  forward(x: Tensor): Tensor {
    const { weight, bias, stride, padding, dilation, groups } = this;
    return conv2d(x, weight, bias, { stride, padding, dilation, groups });
  }
}

function checkGroups(layer: string, groups: number, inChannels: number, outChannels: number): void {
  const divides = inChannels % groups === 0 && outChannels % groups === 0;
  if (Number.isSafeInteger(groups) && groups >= 1 && divides) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected groups of ${layer} to divide its channels, ${inChannels} in and ${outChannels} out, but received ${inspect(groups)}.`,
  );
}
