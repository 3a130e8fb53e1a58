import {
  type AvgPool1dOptions,
  type AvgPool2dOptions,
  adaptiveAvgPool2d,
  avgPool1d,
  avgPool2d,
  type MaxPool1dOptions,
  type MaxPool2dOptions,
  maxPool1d,
  maxPool2d,
  type Pair,
  pairOf,
} from '../ops/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { checkWidth } from './checks.js';
import { Module } from './module.js';

interface PoolOptions<Extent extends Pair> {
  readonly stride?: Extent;
  readonly padding?: Extent;
}

abstract class Pool<Extent extends Pair> extends Module {
  readonly kernelSize: Extent;
  readonly stride: Extent;
  readonly padding: Extent;

  protected constructor(
    layer: string,
    kernelSize: Extent,
    options: PoolOptions<Extent>,
    more: string[] = [],
  ) {
    super();
    checkOptions(layer, options, ['stride', 'padding', ...more]);
    const { stride = kernelSize, padding = 0 } = options;
    pairOf(layer, 'kernelSize', kernelSize, 1);
    pairOf(layer, 'stride', stride, 1);
    pairOf(layer, 'padding', padding, 0);
    this.kernelSize = kernelSize;
    this.stride = stride;
    this.padding = padding as Extent;
  }
}

/** The largest of each window: [..., length] to [..., places]. */
export class MaxPool1d extends Pool<number> {
  readonly dilation: number;

  constructor(kernelSize: number, options: MaxPool1dOptions = {}) {
    super('MaxPool1d', kernelSize, options, ['dilation']);
    this.dilation = options.dilation ?? 1;
    checkWidth('dilation', this.dilation);
  }

  forward(x: Tensor): Tensor {
    const { kernelSize, stride, padding, dilation } = this;
    return maxPool1d(x, kernelSize, { stride, padding, dilation });
  }
}

/** The largest of each window: [..., height, width] to [..., rows, columns]. */
export class MaxPool2d extends Pool<Pair> {
  readonly dilation: Pair;

  constructor(kernelSize: Pair, options: MaxPool2dOptions = {}) {
    super('MaxPool2d', kernelSize, options, ['dilation']);
    this.dilation = options.dilation ?? 1;
    pairOf('MaxPool2d', 'dilation', this.dilation, 1);
  }

  forward(x: Tensor): Tensor {
    const { kernelSize, stride, padding, dilation } = this;
    return maxPool2d(x, kernelSize, { stride, padding, dilation });
  }
}

/** The mean of each window, padding counted as zeros: [..., length] to [..., places]. */
export class AvgPool1d extends Pool<number> {
  constructor(kernelSize: number, options: AvgPool1dOptions = {}) {
    super('AvgPool1d', kernelSize, options);
  }

  forward(x: Tensor): Tensor {
    const { kernelSize, stride, padding } = this;
    return avgPool1d(x, kernelSize, { stride, padding });
  }
}

/** The mean of each window, padding counted as zeros: [..., height, width] to [..., rows, columns]. */
export class AvgPool2d extends Pool<Pair> {
  constructor(kernelSize: Pair, options: AvgPool2dOptions = {}) {
    super('AvgPool2d', kernelSize, options);
  }

  forward(x: Tensor): Tensor {
    const { kernelSize, stride, padding } = this;
    return avgPool2d(x, kernelSize, { stride, padding });
  }
}

/** Means over windows that cover the plane evenly: [..., height, width] to [..., rows, columns]. */
export class AdaptiveAvgPool2d extends Module {
  readonly outputSize: Pair;

  constructor(outputSize: Pair) {
    super();
    pairOf('AdaptiveAvgPool2d', 'outputSize', outputSize, 1);
    this.outputSize = outputSize;
  }

  forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.outputSize);
  }
}
