import {
  Adam,
  accuracy,
  add,
  cast,
  crossEntropy,
  Embedding,
  fit,
  init,
  Module,
  mul,
  reshape,
  sum,
  type Tensor,
  WarmupCosineLR,
  zeros,
} from 'drivetrain';
import { MARKS } from './marks.js';
import { batchesOf, type Encoded } from './train.js';

/** The strengths of its L2 penalty, of which the one that does best on the validation texts is taken. */
const PENALTIES = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2];
const EPOCHS = 12;
const BATCH = 256;

/** Multinomial logistic regression on how often each token occurs: token numbers [texts, length] to logits [texts, labels]. */
class BagOfTokens extends Module {
  /** [tokens, labels] */
  readonly weights: Embedding;
  readonly bias: Tensor;

  constructor(tokens: number) {
    super();
    this.weights = new Embedding(tokens, MARKS.length);
    init.zeros(this.weights.weight);
    this.bias = zeros([MARKS.length]);
  }

  forward(ids: Tensor, { attentionMask }: { attentionMask: Tensor }): Tensor {
    const counts = reshape(cast(attentionMask, 'f32'), [...ids.shape, 1]);
    return add(sum(mul(this.weights.forward(ids), counts), { axis: 1 }), this.bias);
  }
}

export interface Baseline {
  readonly model: Module;
  readonly penalty: number;
  /** On the validation texts. */
  readonly accuracy: number;
}

/** Trains the baseline with each penalty, with early stopping, and gives the one that does best on `validation`. */
export async function trainBaseline(
  tokens: number,
  samples: readonly Encoded[],
  validation: readonly Encoded[],
  seed: number,
): Promise<Baseline> {
  const all: Baseline[] = [];
  for (const penalty of PENALTIES) {
    const model = new BagOfTokens(tokens);
    const data = batchesOf(samples, BATCH, seed);
    const optimizer = new Adam(model.namedParameters(), { lr: 3e-3, weightDecay: penalty });
    const { epochs } = await fit(model, data, {
      epochs: EPOCHS,
      optimizer,
      loss: crossEntropy,
      schedule: new WarmupCosineLR(optimizer, { warmupSteps: 50, totalSteps: EPOCHS * data.length }),
      metrics: { accuracy },
      evaluate: batchesOf(validation, BATCH),
      earlyStopping: { metric: 'accuracy', mode: 'max', patience: 3 },
    });
    const best = Math.max(...epochs.map(({ evaluation }) => evaluation!.accuracy!));
    all.push({ model, penalty, accuracy: best });
  }
  return all.reduce((best, one) => (one.accuracy > best.accuracy ? one : best));
}

/** The tokens after the place that is asked about as tokens of their own, so that two bags are told apart. */
export function inTwoBags(samples: readonly Encoded[], tokens: number, gap: number): Encoded[] {
  return samples.map(({ ids, label }) => {
    const place = ids.indexOf(gap);
    return { ids: ids.map((id, i) => (i > place ? id + tokens : id)), label };
  });
}
