import { compile, crossEntropy, grad, type Tensor, WarmupCosineLR, wrap } from 'drivetrain';
import { type Digits, PIXELS, shuffled, toInputs, toLabels } from '../digits/data.js';
import { accuracyOf, createModel, predict } from '../digits/train.js';
import type { Method } from './methods.js';

const SEED = 1;
const BATCH = 128;
export const EPOCHS = 6;
/** Points of the curve in an epoch. */
const POINTS = 12;

/** One training run: the mean loss of each stretch of an epoch, and the share of test digits that it reads. */
export interface Run {
  readonly name: string;
  readonly options: Method['options'];
  readonly losses: readonly number[];
  /** After each epoch. */
  readonly accuracies: readonly number[];
  readonly seconds: number;
}

/** Trains the network of the digits example, 784–256–128–10, from the same weights and batches for every method. */
export async function train({ name, options, create }: Method, digits: Digits, test: Digits): Promise<Run> {
  const model = createModel(SEED);
  const parameters = model.parameters();
  const optimizer = create(model.namedParameters());
  const step = compile((x: Tensor, labels: Tensor) => {
    const loss = crossEntropy(model.forward(x), labels);
    optimizer.step(grad(loss, parameters));
    return loss;
  });
  const perEpoch = Math.floor(digits.count / BATCH);
  const schedule = new WarmupCosineLR(optimizer, { totalSteps: EPOCHS * perEpoch });
  const stretch = Math.floor(perEpoch / POINTS);

  const [losses, accuracies]: [number[], number[]] = [[], []];
  let [seconds, sum] = [0, 0];
  for (let epoch = 1; epoch <= EPOCHS; epoch++) {
    const order = shuffled(digits.count, epoch);
    const begin = performance.now();
    for (let i = 0; i < perEpoch; i++) {
      const indices = order.subarray(i * BATCH, (i + 1) * BATCH);
      const loss = await step(wrap(toInputs(digits, indices), [BATCH, PIXELS]), wrap(toLabels(digits, indices)));
      sum += loss.item();
      loss.dispose();
      schedule.step();
      if ((i + 1) % stretch !== 0) continue;
      losses.push(sum / stretch);
      sum = 0;
    }
    seconds += (performance.now() - begin) / 1000;
    accuracies.push(accuracyOf(await predict(model, test), test));
  }
  for (const parameter of parameters) parameter.dispose();
  for (const state of Object.values(optimizer.stateDict())) state.dispose();
  return { name, options, losses, accuracies, seconds };
}
