import type { AdamOptions } from './adam.js';
import { EIGHT_BIT } from './eight-bit.js';
import type { GradientOptions } from './gradient-control.js';
import { flag, nonNegative, share, twoBelowOne } from './hyperparameter.js';
import { Optimizer } from './optimizer.js';
import type { ParameterGroupOptions } from './parameter-group.js';
import type { Parameters } from './parameters.js';

export type Adam8bitOptions = Omit<AdamOptions, 'amsgrad'>;

/**
 * `Adam` with moments of eight bits, for f32 parameters: a quarter of the state. Blocks of 256 values have a scale each,
 * and codes into a dynamic map; parameters of less than 4096 elements keep moments of f32. A step computes in f32.
 * Dettmers, Lewis, Shleifer and Zettlemoyer, arXiv:2110.02861.
 */
export class Adam8bit extends Optimizer<Adam8bitOptions> {
  constructor(
    params: Parameters | readonly ParameterGroupOptions<Adam8bitOptions>[],
    options: Adam8bitOptions & GradientOptions = {},
  ) {
    super(
      {
        name: 'Adam8bit',
        step: 'adam',
        options: {
          lr: nonNegative(1e-3),
          betas: twoBelowOne(0.9, 0.999),
          eps: nonNegative(1e-8),
          weightDecay: share(0),
          maximize: flag(),
        },
        state: () => [{ name: 'm' }, { name: 'v' }],
        large: { step: 'adamEightBit', ...EIGHT_BIT },
        dtypes: ['f32', 'f16', 'bf16'],
        roundsAfter: true,
      },
      params,
      options,
    );
  }
}
