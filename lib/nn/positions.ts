import { DrivetrainError } from '../native/index.js';
import { add, cast, checkTensor, slice, transient } from '../ops/index.js';
import { checkOptions, formatShape, type Tensor, tensor } from '../tensor/index.js';
import { checkWidth } from './checks.js';
import { standardNormal } from './initialise.js';
import type { LayerOptions } from './layers.js';
import { Module } from './module.js';

/**
 * Adds sines and cosines of the position to x [..., length, dModel]: sin(p / 10000^(i / dModel)) in the even columns i, the
 * cosine of the same in the next. Vaswani et al., arXiv:1706.03762. It has no state.
 */
export class PositionalEncoding extends Module {
  readonly maxLen: number;
  /** f32 [maxLen, dModel]; inside an object, as it is no part of the model's state. */
  private readonly made: { readonly table: Tensor };

  constructor(dModel: number, maxLen = 5000) {
    super();
    checkWidth('dModel', dModel);
    checkWidth('maxLen', maxLen);
    this.maxLen = maxLen;
    const angle = (position: number, column: number) =>
      position / 10000 ** ((column - (column % 2)) / dModel);
    const values = Float32Array.from({ length: maxLen * dModel }, (_, i) => {
      const column = i % dModel;
      return (column % 2 === 0 ? Math.sin : Math.cos)(angle(Math.floor(i / dModel), column));
    });
    this.made = { table: tensor(values, { shape: [maxLen, dModel] }) };
  }

  forward(x: Tensor): Tensor {
    return addPositions('PositionalEncoding', x, this.made.table);
  }
}

/** Adds a learned row for each position to x [..., length, dModel]. Rows start standard normal, as those of `Embedding`. */
export class LearnedPositionalEncoding extends Module {
  /** [maxLen, dModel] */
  readonly weight: Tensor;

  constructor(dModel: number, maxLen: number, options: LayerOptions = {}) {
    super();
    checkWidth('dModel', dModel);
    checkWidth('maxLen', maxLen);
    checkOptions('LearnedPositionalEncoding', options, ['generator']);
    this.weight = standardNormal([maxLen, dModel], options.generator);
  }

  forward(x: Tensor): Tensor {
    return addPositions('LearnedPositionalEncoding', x, this.weight);
  }
}

function addPositions(layer: string, x: Tensor, table: Tensor): Tensor {
  checkTensor(layer, x);
  const [maxLen, width] = table.shape as [number, number];
  const length = x.shape.at(-2);
  if (length === undefined || length > maxLen || x.shape.at(-1) !== width) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected x [..., length, ${width}] of at most ${maxLen} positions for ${layer} but received ${formatShape(x.shape)}.`,
    );
  }
  return transient(() => add(x, cast(slice(table, 0, 0, length), x.dtype)));
}
