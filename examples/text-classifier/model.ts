import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Dropout,
  Embedding,
  equal,
  Generator,
  init,
  LayerNorm,
  LearnedPositionalEncoding,
  Linear,
  Module,
  readSafetensors,
  reshape,
  slice,
  type Tensor,
  TransformerEncoder,
  TransformerEncoderLayer,
  writeSafetensors,
} from 'drivetrain';

/** The content of `config.json`, in the words of Hugging Face's. */
export interface Config {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly intermediate_size: number;
  readonly hidden_dropout_prob: number;
  /** The most tokens in a text. */
  readonly max_position_embeddings: number;
  readonly id2label: Readonly<Record<string, string>>;
}

/** The number of [PAD]. */
const PADDING = 0;

/** A transformer that reads texts: token numbers [texts, length] to vectors [texts, length, hidden_size]. */
export class TextEncoder extends Module {
  readonly words: Embedding;
  readonly positions: LearnedPositionalEncoding;
  readonly norm: LayerNorm;
  readonly dropout: Dropout;
  readonly encoder: TransformerEncoder;

  constructor(config: Config, generator: Generator) {
    super();
    const { hidden_size: width, hidden_dropout_prob: dropout } = config;
    this.words = new Embedding(config.vocab_size, width, { generator });
    this.positions = new LearnedPositionalEncoding(width, config.max_position_embeddings, { generator });
    for (const { weight } of [this.words, this.positions]) init.normal(weight, 0, 0.04, { generator });
    this.norm = new LayerNorm(width);
    this.dropout = new Dropout(dropout, { generator });
    const layer = () =>
      new TransformerEncoderLayer(width, config.num_attention_heads, {
        dimFeedforward: config.intermediate_size,
        dropout,
        activation: 'gelu',
        generator,
      });
    this.encoder = new TransformerEncoder(layer, config.num_hidden_layers);
  }

  forward(ids: Tensor): Tensor {
    const embedded = this.norm.forward(this.positions.forward(this.words.forward(ids)));
    return this.encoder.forward(this.dropout.forward(embedded), { keyPaddingMask: equal(ids, PADDING) });
  }
}

/** Tells which label a text has: token numbers [texts, length] to logits [texts, labels], from what stands at [CLS]. */
export class TextClassifier extends Module {
  readonly encoder: TextEncoder;
  readonly classifier: Linear;

  constructor(config: Config, generator = new Generator(0)) {
    super();
    this.encoder = new TextEncoder(config, generator);
    this.classifier = new Linear(config.hidden_size, Object.keys(config.id2label).length, { generator });
  }

  forward(ids: Tensor): Tensor {
    const first = slice(this.encoder.forward(ids), 1, 0, 1);
    return this.classifier.forward(reshape(first, [ids.shape[0]!, first.shape[2]!]));
  }
}

/** Writes config.json, model.safetensors and tokenizer.json. */
export async function saveModel(
  folder: string,
  model: Module,
  config: Config,
  tokenizer: object,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeSafetensors(join(folder, 'model.safetensors'), model.stateDict());
}

/** Reads what `saveModel` wrote. */
export async function openModel(folder: string): Promise<{ model: TextClassifier; config: Config }> {
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Config;
  const model = new TextClassifier(config);
  const { tensors } = await readSafetensors(join(folder, 'model.safetensors'));
  model.loadStateDict(tensors);
  for (const tensor of Object.values(tensors)) tensor.dispose();
  model.eval();
  return { model, config };
}
