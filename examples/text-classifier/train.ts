import {
  AdamW,
  accuracy,
  bucketSampler,
  compile,
  crossEntropy,
  DataLoader,
  type FitReport,
  fit,
  type Module,
  padSequences,
  softmax,
  type Tensor,
  type Tokenizer,
  tensor,
  WarmupCosineLR,
} from 'drivetrain';
import { MARKS, type Sample } from './marks.js';

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

/** Batches of token numbers [texts, longest] and labels [texts]. */
export function batchesOf(
  samples: readonly Encoded[],
  batchSize: number,
  seed = 0,
): DataLoader<Encoded, [ids: Tensor, labels: Tensor]> {
  const sampler = bucketSampler(
    samples.map(({ ids }) => ids.length),
    { batchSize, seed },
  );
  return new DataLoader(samples, { batchSize, sampler, collate: toBatch });
}

function toBatch(samples: readonly Encoded[]): [ids: Tensor, labels: Tensor] {
  const { inputIds, attentionMask } = padSequences(samples.map(({ ids }) => ids));
  attentionMask.dispose(); // The model tells padding by its number.
  return [inputIds, tensor(Int32Array.from(samples, ({ label }) => label))];
}

export interface TrainOptions {
  readonly epochs: number;
  readonly seed: number;
}

/** Trains in place, and leaves the weights of the epoch that did best on `validation`. */
export function train(
  model: Module,
  samples: readonly Encoded[],
  validation: readonly Encoded[],
  { epochs, seed }: TrainOptions,
): Promise<FitReport> {
  const data = batchesOf(samples, BATCH, seed);
  const optimizer = new AdamW(model.namedParameters(), { lr: 2e-3, weightDecay: 0.01 });
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

export interface Predictions {
  /** The most likely label of each text. */
  readonly labels: Uint8Array;
  /** Of each label, text after text. */
  readonly probabilities: Float32Array;
  /** Of the model alone, without the tokenizer. */
  readonly textsPerSecond: number;
}

/** What the model says of each text, in their order. */
export async function predict(model: Module, samples: readonly Encoded[]): Promise<Predictions> {
  const forward = compile((ids: Tensor) => softmax(model.forward(ids)));
  // Texts of one length together, so that nothing is padded.
  const order = [...samples.keys()].sort((a, b) => samples[a]!.ids.length - samples[b]!.ids.length);
  const probabilities = new Float32Array(samples.length * MARKS.length);
  let seconds = 0;
  for (let first = 0; first < order.length; first += EVALUATION_BATCH) {
    const places = order.slice(first, first + EVALUATION_BATCH);
    const [ids, labels] = toBatch(places.map((i) => samples[i]!));
    await forward.program(ids); // Recorded outside of the time.
    const begin = performance.now();
    const result = await forward(ids);
    seconds += (performance.now() - begin) / 1000;
    const rows = result.toArray() as Float32Array;
    places.forEach((i, row) => {
      probabilities.set(rows.subarray(row * MARKS.length, (row + 1) * MARKS.length), i * MARKS.length);
    });
    for (const t of [ids, labels, result]) t.dispose();
  }
  const labels = Uint8Array.from(samples, (_, i) => {
    const row = probabilities.subarray(i * MARKS.length, (i + 1) * MARKS.length);
    return row.indexOf(Math.max(...row));
  });
  return { labels, probabilities, textsPerSecond: samples.length / seconds };
}
