import { DrivetrainError } from '../native/index.js';
import { Linear, type Module } from '../nn/index.js';
import { checkOptions } from '../tensor/index.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { layersOf } from './layers-of.js';
import { isExactly, replaceModules } from './submodules.js';

export interface PrepareQatOptions {
  /** The share of a new batch in the ranges of activations, in (0, 1]; 0.01 unless given. */
  averagingConstant?: number;
  /** Layers that stay as they are, by name: `layers.0`. */
  exclude?: readonly string[];
}

/**
 * A model for quantization-aware training: every `Linear` becomes a `FakeQuantizedLinear` of the same tensors, so that
 * training it trains the original; all else is shared. `quantize` then makes the layers of integers, with the ranges that
 * were learned.
 */
export function prepareQat(model: Module, options: PrepareQatOptions = {}): Module {
  checkOptions('prepareQat', options, ['averagingConstant', 'exclude']);
  const { averagingConstant = 0.01, exclude = [] } = options;
  if (!(typeof averagingConstant === 'number' && averagingConstant > 0 && averagingConstant <= 1)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected averagingConstant of prepareQat in (0, 1] but received ${String(averagingConstant)}.`,
    );
  }
  const layers = layersOf('prepareQat', model, exclude, (module) => isExactly(module, Linear));
  return replaceModules(
    model,
    new Map(
      [...layers].map(([name, { weight, bias }]) => [
        name,
        new FakeQuantizedLinear(weight, bias, averagingConstant),
      ]),
    ),
  );
}
