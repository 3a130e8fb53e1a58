import { checkOptions } from '../../tensor/index.js';
import type { Parameter } from '../parameters.js';
import { checkBetween } from './checks.js';

export interface LayerwiseOptions {
  /** The rate of the last layer. */
  lr: number;
  /** What the rate is multiplied by with each layer down, such as 0.9. */
  decay: number;
}

/**
 * Groups for an optimizer, one for each layer, first to last: lr · decay^(layers above it), so that a trained model's
 * lower layers change less. Howard and Ruder, arXiv:1801.06146, section 3.2. Layers without parameters are left out.
 */
export function layerwiseDecay(
  layers: readonly { parameters(): readonly Parameter[] }[],
  options: LayerwiseOptions,
): { params: readonly Parameter[]; lr: number }[] {
  checkOptions('layerwiseDecay', options, ['lr', 'decay']);
  const { lr, decay } = options;
  checkBetween('lr', lr);
  checkBetween('decay', decay, 1);
  const params = layers.map((layer) => layer.parameters()).filter(({ length }) => length > 0);
  return params.map((own, i) => ({ params: own, lr: lr * decay ** (params.length - 1 - i) }));
}
