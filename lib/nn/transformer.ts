import { DrivetrainError } from '../native/index.js';
import { add, gelu, relu, transient } from '../ops/index.js';
import { checkOptions, type Tensor } from '../tensor/index.js';
import { checkWidth, checkWord } from './checks.js';
import { Dropout, LayerNorm, type LayerOptions, Linear } from './layers.js';
import { Module } from './module.js';
import { type AttentionMasks, MultiHeadAttention } from './multi-head-attention.js';

export interface TransformerEncoderLayerOptions extends LayerOptions {
  /** The width between the two linear layers; 2048 unless given. */
  dimFeedforward?: number;
  /** The probability of all dropout in the layer; 0.1 unless given. */
  dropout?: number;
  /** Between the two linear layers; 'relu' unless given. */
  activation?: 'relu' | 'gelu';
  /** Of both normalisations; 1e-5 unless given. */
  layerNormEps?: number;
  /** Whether normalisation comes before attention and feed-forward, or after their residual; false unless given. */
  normFirst?: boolean;
}

const ACTIVATIONS = { relu, gelu } as const;

/**
 * Self-attention and a feed-forward network, each with dropout, residual and normalisation: [batch, length, dModel] to the
 * same. Vaswani et al., arXiv:1706.03762; normalisation first: Xiong et al., arXiv:2002.04745.
 */
export class TransformerEncoderLayer extends Module {
  readonly selfAttn: MultiHeadAttention;
  readonly linear1: Linear;
  readonly dropout: Dropout;
  readonly linear2: Linear;
  readonly norm1: LayerNorm;
  readonly norm2: LayerNorm;
  readonly dropout1: Dropout;
  readonly dropout2: Dropout;
  readonly activation: 'relu' | 'gelu';
  readonly normFirst: boolean;

  constructor(dModel: number, nhead: number, options: TransformerEncoderLayerOptions = {}) {
    super();
    checkWidth('dModel', dModel);
    checkOptions('TransformerEncoderLayer', options, [
      'dimFeedforward',
      'dropout',
      'activation',
      'layerNormEps',
      'normFirst',
      'generator',
    ]);
    const {
      dimFeedforward = 2048,
      dropout = 0.1,
      activation = 'relu',
      layerNormEps: eps = 1e-5,
      normFirst = false,
      ...source
    } = options;
    checkWidth('dimFeedforward', dimFeedforward);
    checkWord('TransformerEncoderLayer', 'activation', activation, Object.keys(ACTIVATIONS));
    this.selfAttn = new MultiHeadAttention(dModel, nhead, { dropout, ...source });
    this.linear1 = new Linear(dModel, dimFeedforward, source);
    this.dropout = new Dropout(dropout, source);
    this.linear2 = new Linear(dimFeedforward, dModel, source);
    this.norm1 = new LayerNorm(dModel, { eps });
    this.norm2 = new LayerNorm(dModel, { eps });
    this.dropout1 = new Dropout(dropout, source);
    this.dropout2 = new Dropout(dropout, source);
    this.activation = activation;
    this.normFirst = normFirst;
  }

  forward(x: Tensor, masks: AttentionMasks = {}): Tensor {
    return transient(() => {
      if (this.normFirst) {
        const attended = add(x, this.attend(this.norm1.forward(x), masks));
        return add(attended, this.feedForward(this.norm2.forward(attended)));
      }
      const attended = this.norm1.forward(add(x, this.attend(x, masks)));
      return this.norm2.forward(add(attended, this.feedForward(attended)));
    });
  }

  private attend(x: Tensor, masks: AttentionMasks): Tensor {
    return this.dropout1.forward(this.selfAttn.forward(x, x, x, masks));
  }

  private feedForward(x: Tensor): Tensor {
    const hidden = ACTIVATIONS[this.activation](this.linear1.forward(x));
    return this.dropout2.forward(this.linear2.forward(this.dropout.forward(hidden)));
  }
}

/** Encoder layers one after the other, and a normalisation where it is given one. */
export class TransformerEncoder extends Module {
  readonly layers: readonly TransformerEncoderLayer[];
  readonly norm?: Module;

  /** `makeLayer` is called for each layer, so that each begins with values of its own. */
  constructor(makeLayer: () => TransformerEncoderLayer, numLayers: number, norm?: Module) {
    super();
    if (typeof makeLayer !== 'function') {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a function that makes a layer for TransformerEncoder, as in () => new TransformerEncoderLayer(64, 4), but received ${makeLayer === null ? 'null' : typeof makeLayer}.`,
      );
    }
    checkWidth('numLayers', numLayers);
    this.layers = Array.from({ length: numLayers }, makeLayer);
    if (norm !== undefined) this.norm = norm;
  }

  forward(x: Tensor, masks: AttentionMasks = {}): Tensor {
    return transient(() => {
      const encoded = this.layers.reduce((value, layer) => layer.forward(value, masks), x);
      return this.norm === undefined ? encoded : this.norm.forward(encoded);
    });
  }
}
