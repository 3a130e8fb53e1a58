import {
  AdamW,
  accuracy,
  compile,
  crossEntropy,
  DataLoader,
  fit,
  Generator,
  Linear,
  type Module,
  ReLU,
  Sequential,
  type Tensor,
  WarmupCosineLR,
  wrap,
} from 'drivetrain';
import { asDataset, type Digits, PIXELS, shuffled, toInputs } from './data.js';

const BATCH = 128;
const EPOCHS = 6;
const WARMUP_SHARE = 0.06;
const EVALUATION_BATCH = 500;

/** 784–256–128–10. */
export function createModel(seed: number): Sequential {
  const generator = new Generator(seed);
  return new Sequential(
    new Linear(PIXELS, 256, { generator }),
    new ReLU(),
    new Linear(256, 128, { generator }),
    new ReLU(),
    new Linear(128, 10, { generator }),
  );
}

export interface TrainingReport {
  readonly seconds: number;
  readonly samplesPerSecond: number;
  readonly steps: number;
  /** Bytes of temporaries in one step: as planned, and without a plan. */
  readonly memory: { readonly planned: number; readonly naive: number };
}

/** Trains in place; the whole step (forward, backward, optimizer) is one native program. */
export async function train(model: Sequential, digits: Digits, test: Digits): Promise<TrainingReport> {
  const data = new DataLoader(asDataset(digits), {
    batchSize: BATCH,
    sampler: (epoch) => shuffled(digits.count, epoch + 1),
    dropLast: true,
  });
  const optimizer = new AdamW(model.parameters(), { lr: 2e-3, weightDecay: 0.01 });
  const totalSteps = EPOCHS * data.length;
  const warmupSteps = Math.ceil(WARMUP_SHARE * totalSteps);
  const { epochs, steps, memory } = await fit(model, data, {
    epochs: EPOCHS,
    optimizer,
    loss: crossEntropy,
    schedule: new WarmupCosineLR(optimizer, { warmupSteps, totalSteps, floor: 0.01 }),
    metrics: { accuracy },
    evaluate: new DataLoader(asDataset(test), { batchSize: EVALUATION_BATCH }),
    progress: true,
  });
  const seconds = epochs.reduce((sum, epoch) => sum + epoch.seconds, 0);
  return { seconds, samplesPerSecond: (steps * BATCH) / seconds, steps, memory: memory! };
}

/** The logits of all digits: [digits, 10]. */
export async function logitsOf(model: Module, digits: Digits): Promise<Float32Array> {
  const forward = compile((x: Tensor) => model.forward(x));
  const logits = new Float32Array(digits.count * 10);
  for (let first = 0; first < digits.count; first += EVALUATION_BATCH) {
    const indices = Uint32Array.from({ length: EVALUATION_BATCH }, (_, i) => first + i);
    const result = await forward(wrap(toInputs(digits, indices), [EVALUATION_BATCH, PIXELS]));
    logits.set(result.borrow() as Float32Array, first * 10);
    result.dispose();
  }
  return logits;
}

/** The most likely digit in each row of logits. */
export function mostLikely(logits: Float32Array): Uint8Array {
  return Uint8Array.from({ length: logits.length / 10 }, (_, row) => {
    const values = logits.subarray(row * 10, row * 10 + 10);
    return values.indexOf(Math.max(...values));
  });
}

export async function predict(model: Module, digits: Digits): Promise<Uint8Array> {
  return mostLikely(await logitsOf(model, digits));
}

export function accuracyOf(predictions: Uint8Array, { labels, count }: Digits): number {
  let correct = 0;
  for (let i = 0; i < count; i++) if (predictions[i] === labels[i]) correct++;
  return correct / count;
}
