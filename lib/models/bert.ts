import { DrivetrainError, inspect } from '../native/index.js';
import {
  attend,
  Dropout,
  Embedding,
  hasInitialValues,
  init,
  LayerNorm,
  type LayerOptions,
  Linear,
  Module,
} from '../nn/index.js';
import {
  add,
  checkOneOf,
  checkShapeIs,
  gelu,
  permute,
  relu,
  reshape,
  slice,
  tanh,
  transient,
  transpose,
} from '../ops/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { type BertConfig, completeBertConfig } from './bert-config.js';

/** What a BERT reads beside the tokens. */
export interface BertInputs {
  /** bool [batch, length], true where a token stands and false where the batch was filled up; all true unless given. */
  readonly attentionMask?: Tensor;
  /** i32 or i64 [batch, length]: the kind of each token; 0 unless given. */
  readonly tokenTypeIds?: Tensor;
}

type Complete = Required<BertConfig>;

const ACTIVATIONS = { gelu, relu } as const;

function dense(
  inputs: number,
  outputs: number,
  { initializerRange }: Complete,
  source: LayerOptions,
): Linear {
  const layer = new Linear(inputs, outputs, source);
  if (!hasInitialValues()) return layer;
  init.normal(layer.weight, 0, initializerRange, source);
  init.zeros(layer.bias!);
  return layer;
}

class BertEmbeddings extends Module {
  readonly wordEmbeddings: Embedding;
  readonly positionEmbeddings: Embedding;
  readonly tokenTypeEmbeddings: Embedding;
  readonly norm: LayerNorm;
  readonly dropout: Dropout;

  constructor(config: Complete, source: LayerOptions) {
    super();
    const table = (rows: number) => {
      const embedding = new Embedding(rows, config.hiddenSize, source);
      if (hasInitialValues()) init.normal(embedding.weight, 0, config.initializerRange, source);
      return embedding;
    };
    this.wordEmbeddings = table(config.vocabSize);
    this.positionEmbeddings = table(config.maxPositionEmbeddings);
    this.tokenTypeEmbeddings = table(config.typeVocabSize);
    this.norm = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps });
    this.dropout = new Dropout(config.hiddenDropoutProb, source);
  }

  forward(inputIds: Tensor, tokenTypeIds?: Tensor): Tensor {
    const words = this.wordEmbeddings.forward(inputIds);
    const positions = slice(this.positionEmbeddings.weight, 0, 0, inputIds.shape[1]!);
    const types =
      tokenTypeIds === undefined
        ? slice(this.tokenTypeEmbeddings.weight, 0, 0, 1)
        : this.tokenTypeEmbeddings.forward(tokenTypeIds);
    return this.dropout.forward(this.norm.forward(add(add(words, types), positions)));
  }
}

/** @internal */
export class BertLayer extends Module {
  /** The width of one head; how many there are is what `queryKeyValue` is wide. */
  readonly headDim: number;
  /** Queries, keys and values by one product: [3 · heads · headDim, hiddenSize]. */
  readonly queryKeyValue: Linear;
  readonly attentionOutput: Linear;
  readonly attentionNorm: LayerNorm;
  readonly intermediate: Linear;
  readonly output: Linear;
  readonly outputNorm: LayerNorm;
  readonly dropout: Dropout;
  readonly attentionDropout: Dropout;
  readonly activation: 'gelu' | 'relu';

  constructor(config: Complete, source: LayerOptions) {
    super();
    const { hiddenSize, intermediateSize, layerNormEps: eps } = config;
    this.headDim = hiddenSize / config.numAttentionHeads;
    this.queryKeyValue = dense(hiddenSize, 3 * hiddenSize, config, source);
    this.attentionOutput = dense(hiddenSize, hiddenSize, config, source);
    this.attentionNorm = new LayerNorm(hiddenSize, { eps });
    this.intermediate = dense(hiddenSize, intermediateSize, config, source);
    this.output = dense(intermediateSize, hiddenSize, config, source);
    this.outputNorm = new LayerNorm(hiddenSize, { eps });
    this.dropout = new Dropout(config.hiddenDropoutProb, source);
    this.attentionDropout = new Dropout(config.attentionProbsDropoutProb, source);
    this.activation = config.hiddenAct;
  }

  forward(x: Tensor, mask?: Tensor): Tensor {
    const attention = this.dropout.forward(this.attentionOutput.forward(this.attend(x, mask)));
    const attended = this.attentionNorm.forward(add(x, attention));
    const hidden = ACTIVATIONS[this.activation](this.intermediate.forward(attended));
    return this.outputNorm.forward(add(attended, this.dropout.forward(this.output.forward(hidden))));
  }

  private attend(x: Tensor, mask: Tensor | undefined): Tensor {
    const [batch, length] = x.shape as [number, number];
    const all = this.queryKeyValue.forward(x);
    const width = all.shape[2]! / 3;
    const heads = [batch, length, 3, width / this.headDim, this.headDim];
    const parts = permute(reshape(all, heads), [2, 0, 3, 1, 4]);
    const [q, k, v] = [0, 1, 2].map((i) => slice(parts, 0, i, i + 1)) as [Tensor, Tensor, Tensor];
    const attended = attend(q, k, v, this.attentionDropout, mask === undefined ? {} : { mask });
    return reshape(transpose(attended, -3, -2), [batch, length, width]);
  }
}

/**
 * A transformer encoder over tokens: i32 or i64 [batch, length] to hidden states [batch, length, hiddenSize]. Devlin and
 * others, arXiv:1810.04805. `readBertModel` reads one that was trained; a new one has the initial values of the paper.
 */
export class BertModel extends Module {
  readonly config: Complete;
  readonly embeddings: BertEmbeddings;
  readonly layers: readonly BertLayer[];
  /** What `pool` takes the first token through; some models have none. */
  readonly pooler?: Linear;

  constructor(config: BertConfig = {}, options: BertOptions = {}) {
    super();
    const { pooler = true, ...source } = options;
    const complete = completeBertConfig(config);
    this.config = complete;
    this.embeddings = new BertEmbeddings(complete, source);
    this.layers = Array.from({ length: complete.numHiddenLayers }, () => new BertLayer(complete, source));
    const { hiddenSize } = complete;
    if (pooler) this.pooler = dense(hiddenSize, hiddenSize, complete, source);
  }

  forward(inputIds: Tensor, inputs: BertInputs = {}): Tensor {
    const { attentionMask, tokenTypeIds } = inputs;
    this.check(inputIds, inputs);
    return transient(() => {
      const [batch, length] = inputIds.shape as [number, number];
      const mask = attentionMask && reshape(attentionMask, [batch, 1, 1, length]);
      const embedded = this.embeddings.forward(inputIds, tokenTypeIds);
      return this.layers.reduce((x, layer) => layer.forward(x, mask), embedded);
    });
  }

  /** Of hidden states [batch, length, hiddenSize] what classifiers read, tanh(pooler(first token)): [batch, hiddenSize]. */
  pool(hidden: Tensor): Tensor {
    const { pooler } = this;
    if (pooler === undefined) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        'Expected a model with a pooler for pool() but this one was made or saved without; take the mean of the hidden states, or those of the first token.',
      );
    }
    return transient(() => {
      const [batch, , size] = hidden.shape as [number, number, number];
      return tanh(pooler.forward(reshape(slice(hidden, 1, 0, 1), [batch, size])));
    });
  }

  private check(inputIds: Tensor, { attentionMask, tokenTypeIds }: BertInputs): void {
    const name = this.constructor.name;
    checkOneOf(name, 'inputIds', inputIds, ['i32', 'i64']);
    const { maxPositionEmbeddings: most } = this.config;
    if (inputIds.rank !== 2 || inputIds.shape[1]! > most) {
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected inputIds [batch, length] of at most ${most} tokens for ${name} but received ${formatShape(inputIds.shape)}.`,
      );
    }
    if (attentionMask !== undefined) {
      checkOneOf(name, 'attentionMask', attentionMask, ['bool']);
      checkShapeIs(name, 'attentionMask', attentionMask, inputIds.shape);
    }
    if (tokenTypeIds !== undefined) {
      checkOneOf(name, 'tokenTypeIds', tokenTypeIds, ['i32', 'i64']);
      checkShapeIs(name, 'tokenTypeIds', tokenTypeIds, inputIds.shape);
    }
  }
}

export interface BertOptions extends LayerOptions {
  /** Whether the model has one; true unless given. */
  pooler?: boolean;
}

/** A `BertModel` and a layer on what it pools: tokens [batch, length] to logits [batch, classes]. */
export class BertForSequenceClassification extends Module {
  readonly bert: BertModel;
  readonly dropout: Dropout;
  readonly classifier: Linear;

  /** See `BertModel`. */
  constructor(config: BertConfig = {}, source: LayerOptions = {}) {
    super();
    this.bert = new BertModel(config, source);
    const complete = this.bert.config;
    this.dropout = new Dropout(complete.hiddenDropoutProb, source);
    this.classifier = dense(complete.hiddenSize, complete.labels.length, complete, source);
  }

  /** The names of the classes. */
  get labels(): readonly string[] {
    return this.bert.config.labels;
  }

  forward(inputIds: Tensor, inputs: BertInputs = {}): Tensor {
    return transient(() => {
      const pooled = this.bert.pool(this.bert.forward(inputIds, inputs));
      return this.classifier.forward(this.dropout.forward(pooled));
    });
  }
}

/** Refuses what is no model of ours. */
export function checkBert(
  name: string,
  model: unknown,
): asserts model is BertModel | BertForSequenceClassification {
  if (model instanceof BertModel || model instanceof BertForSequenceClassification) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a BertModel or a BertForSequenceClassification for ${name} but received ${inspect(model, { depth: 0 })}.`,
  );
}
