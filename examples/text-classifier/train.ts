import {
  AdamW,
  accuracy,
  argmax,
  type BertForSequenceClassification,
  bucketSampler,
  compile,
  crossEntropy,
  DataLoader,
  type FitReport,
  fit,
  type Module,
  padSequences,
  type Tensor,
  type Tokenizer,
  tensor,
  WarmupCosineLR,
} from 'drivetrain';
import type { Sample } from './marks.js';

const BATCH = 64;
const WARMUP_SHARE = 0.06;
const EVALUATION_BATCH = 200;

/** A sample as token numbers. */
export interface Encoded {
  readonly ids: readonly number[];
  readonly label: number;
}

export function encode(samples: readonly Sample[], tokenizer: Tokenizer): Encoded[] {
  return samples.map(({ text, label }) => ({ ids: tokenizer.encode(text), label }));
}

/** What `forward` takes, token numbers [texts, longest] and where there is one, and labels [texts]. */
type Batch = [inputs: [ids: Tensor, { attentionMask: Tensor }], labels: Tensor];

/** Texts of about one length share a batch. */
export function batchesOf(
  samples: readonly Encoded[],
  batchSize: number,
  seed = 0,
): DataLoader<Encoded, Batch> {
  const lengths = samples.map(({ ids }) => ids.length);
  return new DataLoader(samples, {
    batchSize,
    sampler: bucketSampler(lengths, { batchSize, seed }),
    collate: toBatch,
  });
}

function toBatch(samples: readonly Encoded[]): Batch {
  const { inputIds, attentionMask } = padSequences(samples.map(({ ids }) => ids));
  return [[inputIds, { attentionMask }], tensor(Int32Array.from(samples, ({ label }) => label))];
}

/** Trains in place, and leaves the weights of the epoch that did best on `validation`. */
export function train(
  model: BertForSequenceClassification,
  samples: readonly Encoded[],
  validation: readonly Encoded[],
  { epochs, seed }: { readonly epochs: number; readonly seed: number },
): Promise<FitReport> {
  const data = batchesOf(samples, BATCH, seed);
  const optimizer = new AdamW(model.namedParameters(), { lr: 1e-3, weightDecay: 0.01 });
  const totalSteps = epochs * data.length;
  const warmupSteps = Math.ceil(WARMUP_SHARE * totalSteps);
  return fit(model, data, {
    epochs,
    optimizer,
    loss: crossEntropy,
    schedule: new WarmupCosineLR(optimizer, { warmupSteps, totalSteps, floor: 0.01 }),
    metrics: { accuracy },
    evaluate: batchesOf(validation, EVALUATION_BATCH),
    earlyStopping: { metric: 'accuracy', mode: 'max', patience: 2 },
    progress: true,
  });
}

/** For each sample, whether a model tells its label. */
export async function hitsOf(model: Module, samples: readonly Encoded[]): Promise<boolean[]> {
  const likeliest = compile((ids: Tensor, attentionMask: Tensor) =>
    argmax(model.forward(ids, { attentionMask })),
  );
  const hits: boolean[] = [];
  for (let first = 0; first < samples.length; first += EVALUATION_BATCH) {
    const batch = samples.slice(first, first + EVALUATION_BATCH);
    const [[ids, { attentionMask }], labels] = toBatch(batch);
    const said = await likeliest(ids, attentionMask);
    const found = said.toArray() as BigInt64Array;
    hits.push(...batch.map(({ label }, i) => Number(found[i]) === label));
    for (const t of [ids, attentionMask, labels, said]) t.dispose();
  }
  return hits;
}
