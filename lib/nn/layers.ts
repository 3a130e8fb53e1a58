import { DrivetrainError } from '../native/index.js';
import {
  add,
  checkTensor,
  dropout,
  embedding,
  type Generator,
  layerNorm,
  linear,
  ones,
  reshape,
  rmsNorm,
  transient,
  zeros,
} from '../ops/index.js';
import { checkOptions, normaliseAxis, sizeOf, type Tensor, wrap } from '../tensor/index.js';
import { checkWidth } from './checks.js';
import { standardNormal, uniformByFanIn } from './initialise.js';
import { Module } from './module.js';

export interface LayerOptions {
  /** Where initial values come from; the default generator unless given. */
  generator?: Generator;
}

export interface LinearOptions extends LayerOptions {
  /** Whether to add a bias; true unless given. */
  bias?: boolean;
}

/** x · weightᵀ + bias: [..., in] to [..., out]. Weights and bias start uniform on ±1/√in, as in PyTorch. */
export class Linear extends Module {
  /** [out, in] */
  readonly weight: Tensor;
  /** [out] */
  readonly bias?: Tensor;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    checkOptions('Linear', options, ['bias', 'generator']);
    const { bias = true, generator } = options;
    checkWidth('inFeatures', inFeatures);
    checkWidth('outFeatures', outFeatures);
    this.weight = uniformByFanIn([outFeatures, inFeatures], inFeatures, generator);
    if (bias) this.bias = uniformByFanIn([outFeatures], inFeatures, generator);
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** A `Linear` of these tensors; draws no random numbers. @internal */
export function linearOf(weight: Tensor, bias: Tensor | undefined): Linear {
  const layer = Object.setPrototypeOf(Reflect.construct(Module, []), Linear.prototype) as Linear;
  return Object.assign(layer, { weight, ...(bias && { bias }) });
}

/** Rows of a table by index: i32 or i64 [...] to [..., features]. Rows start standard normal. */
export class Embedding extends Module {
  /** [rows, features] */
  readonly weight: Tensor;

  constructor(rows: number, features: number, options: LayerOptions = {}) {
    super();
    checkWidth('rows', rows);
    checkWidth('features', features);
    checkOptions('Embedding', options, ['generator']);
    this.weight = standardNormal([rows, features], options.generator);
  }

  forward(indices: Tensor): Tensor {
    return embedding(this.weight, indices);
  }
}

export interface LayerNormOptions {
  /** Added to the variance; 1e-5 unless given. */
  eps?: number;
}

/** Normalises the last dimension to mean 0 and variance 1, then scales and shifts it. */
export class LayerNorm extends Module {
  /** [features], ones at first. */
  readonly weight: Tensor;
  /** [features], zeros at first. */
  readonly bias: Tensor;
  readonly eps: number;

  constructor(features: number, options: LayerNormOptions = {}) {
    super();
    checkWidth('features', features);
    checkOptions('LayerNorm', options, ['eps']);
    const { eps = 1e-5 } = options;
    this.weight = ones([features]);
    this.bias = zeros([features]);
    this.eps = eps;
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, this.eps);
  }
}

export interface RMSNormOptions {
  /** Added to the mean of the squares; the dtype's epsilon unless given. */
  eps?: number;
}

/** Divides the last dimension by its root mean square, then scales it. */
export class RMSNorm extends Module {
  /** [features], ones at first. */
  readonly weight: Tensor;
  readonly eps: number | undefined;

  constructor(features: number, options: RMSNormOptions = {}) {
    super();
    checkWidth('features', features);
    checkOptions('RMSNorm', options, ['eps']);
    this.weight = ones([features]);
    this.eps = options.eps;
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this.eps === undefined ? {} : { eps: this.eps });
  }
}

/** In training, sets elements to zero with probability `p` and scales the others by 1 / (1 − p); else gives x itself. */
export class Dropout extends Module {
  readonly p: number;
  private readonly generator: Generator | undefined;
  readonly #rate: Tensor;

  constructor(p = 0.5, options: LayerOptions = {}) {
    super();
    checkOptions('Dropout', options, ['generator']);
    if (!(p >= 0 && p <= 1)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected p of Dropout from 0 to 1 but received ${p}.`,
      );
    }
    this.p = p;
    this.generator = options.generator;
    this.#rate = wrap(Float64Array.of(p), []);
  }

  forward(x: Tensor): Tensor {
    checkTensor('Dropout', x);
    return this.mode(() => this.training) ? dropout(x, this.#rate, this.generator) : x;
  }

  /** Whether it drops anything now. @internal */
  drops(): boolean {
    return this.p > 0 && this.mode(() => this.training);
  }
}

/** Modules one after the other. */
export class Sequential extends Module {
  readonly layers: readonly Module[];

  constructor(...layers: Module[]) {
    super();
    const stranger = layers.findIndex((layer) => !(layer instanceof Module));
    if (stranger >= 0) {
      const other: unknown = layers[stranger];
      const received =
        typeof other === 'function'
          ? 'a function or class'
          : Array.isArray(other)
            ? 'an array'
            : typeof other;
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected modules for Sequential, as in new Sequential(new Linear(2, 3), new ReLU()), but received ${received} as argument ${stranger}.`,
      );
    }
    this.layers = layers;
  }

  forward(x: Tensor): Tensor {
    return transient(() => this.layers.reduce((value, layer) => layer.forward(value), x));
  }
}

/** x + layer(x). */
export class Residual extends Module {
  readonly layer: Module;

  constructor(layer: Module) {
    super();
    if (!(layer instanceof Module)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a module for Residual, as in new Residual(new Linear(3, 3)), but received ${typeof layer}.`,
      );
    }
    this.layer = layer;
  }

  forward(x: Tensor): Tensor {
    return transient(() => add(x, this.layer.forward(x)));
  }
}

/** Makes one dimension of those from `startDim` (1 unless given) to `endDim` (the last unless given). */
export class Flatten extends Module {
  readonly startDim: number;
  readonly endDim: number;

  constructor(startDim = 1, endDim = -1) {
    super();
    this.startDim = startDim;
    this.endDim = endDim;
  }

  forward(x: Tensor): Tensor {
    checkTensor('Flatten', x);
    const [start, end] = [this.startDim, this.endDim].map((axis) => normaliseAxis(axis, x.rank, 'Flatten'));
    const one = sizeOf(x.shape.slice(start!, end! + 1));
    return reshape(x, [...x.shape.slice(0, start!), one, ...x.shape.slice(end! + 1)]);
  }
}
