import {
  AdamW,
  type BertModel,
  crossEntropy,
  DataLoader,
  type FitReport,
  fit,
  Module,
  matmul,
  mul,
  padSequences,
  slice,
  type Tensor,
  TextEmbedder,
  type Tokenizer,
  tensor,
  transpose,
  WarmupCosineLR,
} from 'drivetrain';
import type { Pair } from './sentences.js';

const BATCH = 128;
/** What cosines are multiplied by before the softmax. */
const SCALE = 20;

/** An embedder as a model that `fit` takes. */
class Embedder extends Module {
  readonly model: BertModel;
  readonly #embedder: TextEmbedder;

  constructor(model: BertModel, tokenizer: Tokenizer) {
    super();
    this.model = model;
    this.#embedder = new TextEmbedder(model, tokenizer);
  }

  forward(ids: Tensor, attentionMask: Tensor): Tensor {
    return this.#embedder.forward(ids, attentionMask);
  }
}

/**
 * Vectors [2 · pairs, width], first those of the sentences before and then of those after: which of the latter follows each of
 * the former? All others in the batch are wrong answers. Oord and others, arXiv:1807.03748.
 */
function contrastiveLoss(vectors: Tensor, answers: Tensor): Tensor {
  const pairs = answers.shape[0]!;
  const [before, after] = [slice(vectors, 0, 0, pairs), slice(vectors, 0, pairs, 2 * pairs)];
  return crossEntropy(mul(matmul(before, transpose(after)), SCALE), answers);
}

/** Trains in place, so that sentences that follow each other have vectors of like direction. */
export function train(
  model: BertModel,
  tokenizer: Tokenizer,
  pairs: readonly Pair[],
  { epochs, seed }: { readonly epochs: number; readonly seed: number },
): Promise<FitReport> {
  const encoded = pairs.map(([before, after]) => [
    tokenizer.encode(before.text),
    tokenizer.encode(after.text),
  ]);
  const data = new DataLoader(encoded, {
    batchSize: BATCH,
    shuffle: true,
    seed,
    dropLast: true,
    collate: (batch): [[Tensor, Tensor], Tensor] => {
      const sequences = [0, 1].flatMap((side) => batch.map((pair) => pair[side]!));
      const { inputIds, attentionMask } = padSequences(sequences, { padToMultipleOf: 16 });
      return [[inputIds, attentionMask], tensor(Int32Array.from(batch.keys()))];
    },
  });
  const optimizer = new AdamW(model.namedParameters(), { lr: 3e-3, weightDecay: 0.01 });
  const totalSteps = epochs * data.length;
  return fit(new Embedder(model, tokenizer), data, {
    epochs,
    optimizer,
    loss: contrastiveLoss,
    schedule: new WarmupCosineLR(optimizer, { warmupSteps: Math.ceil(0.06 * totalSteps), totalSteps }),
    progress: true,
  });
}
