import { DrivetrainError } from '../native/index.js';
import { Linear, type Module, Sequential } from '../nn/index.js';
import { QuantizedLinear } from './quantized-linear.js';

/**
 * A copy of a model for inference in which every `Linear` is a `QuantizedLinear` (INT8 weights per output channel,
 * activations quantized per row as they come). Other layers are shared with the original. Takes a `Linear`, or a
 * `Sequential`, nested to any depth.
 */
export function quantize(model: Module): Module {
  const counted = { linear: 0 };
  const quantized = quantizeModule(model, counted);
  if (counted.linear === 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a model with Linear layers, by itself or in Sequential, for quantize but received ${model?.constructor?.name ?? typeof model}.`,
    );
  }
  return quantized;
}

function quantizeModule(module: Module, counted: { linear: number }): Module {
  // Subclasses may do something else in forward: they are left as they are.
  if (isExactly(module, Sequential)) {
    return new Sequential(...module.layers.map((layer) => quantizeModule(layer, counted)));
  }
  if (isExactly(module, Linear)) {
    counted.linear++;
    return QuantizedLinear.from(module.weight, module.bias);
  }
  return module;
}

function isExactly<M extends Module>(
  module: Module,
  type: abstract new (...args: never[]) => M,
): module is M {
  return module?.constructor === type;
}
