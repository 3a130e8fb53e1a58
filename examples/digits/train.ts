import {
  AdamW,
  argmax,
  cast,
  compile,
  crossEntropy,
  equal,
  Generator,
  grad,
  Linear,
  type Module,
  ReLU,
  Sequential,
  sum,
  type Tensor,
  WarmupCosineLR,
  wrap,
} from 'drivetrain';
import { type Digits, PIXELS, shuffled, toInputs, toLabels } from './data.js';
import { Progress } from './terminal.js';

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
  const parameters = model.parameters();
  const optimizer = new AdamW(parameters, { lr: 2e-3, weightDecay: 0.01 });
  const step = compile((x: Tensor, labels: Tensor) => {
    const logits = model.forward(x);
    const loss = crossEntropy(logits, labels);
    optimizer.step(grad(loss, parameters));
    return { loss, correct: sum(cast(equal(argmax(logits), labels), 'f32')) };
  });

  const perEpoch = Math.floor(digits.count / BATCH);
  const totalSteps = EPOCHS * perEpoch;
  const warmupSteps = Math.ceil(WARMUP_SHARE * totalSteps);
  const schedule = new WarmupCosineLR(optimizer, { warmupSteps, totalSteps, floor: 0.01 });
  const progress = new Progress({ epochs: EPOCHS, samplesPerEpoch: perEpoch * BATCH });
  const batch = (order: Uint32Array, i: number) => {
    const indices = order.subarray(i * BATCH, (i + 1) * BATCH);
    return [wrap(toInputs(digits, indices), [BATCH, PIXELS]), wrap(toLabels(digits, indices))] as const;
  };

  let seconds = 0;
  for (let epoch = 1; epoch <= EPOCHS; epoch++) {
    const begin = performance.now();
    const order = shuffled(digits.count, epoch);
    let [loss, correct] = [0, 0];
    let next = batch(order, 0);
    for (let i = 0; i < perEpoch; i++) {
      const running = step(...next);
      if (i + 1 < perEpoch) next = batch(order, i + 1);
      const result = await running;
      loss += result.loss.item();
      correct += result.correct.item();
      result.loss.dispose();
      result.correct.dispose();
      schedule.step();
      const samples = (i + 1) * BATCH;
      progress.update({ samples, loss: loss / (i + 1), accuracy: correct / samples });
    }
    seconds += (performance.now() - begin) / 1000;
    progress.endEpoch({ loss: loss / perEpoch, accuracy: accuracyOf(await predict(model, test), test) });
  }
  const { memory } = step.program(...batch(shuffled(digits.count, 1), 0));
  return { seconds, samplesPerSecond: (totalSteps * BATCH) / seconds, steps: totalSteps, memory };
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
