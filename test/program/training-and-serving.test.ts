import {
  AdamW,
  compile,
  crossEntropy,
  GELU,
  grad,
  Linear,
  Sequential,
  type Tensor,
  tensor,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { randomNumbers } from '../ops/support.js';
import { askedUntil, bits } from './support.js';

const [FEATURES, HIDDEN, CLASSES, BATCH, STEPS] = [64, 256, 10, 64, 60];

const filled = (seed: number, ...shape: number[]) =>
  tensor(
    Float32Array.from(
      randomNumbers(
        shape.reduce((a, b) => a * b),
        seed,
        'f32',
      ),
    ),
    { shape },
  );

/** A model, a compiled step that trains it and a compiled function that serves it, the same each time. */
function service() {
  const model = new Sequential(new Linear(FEATURES, HIDDEN), new GELU(), new Linear(HIDDEN, CLASSES));
  model.parameters().forEach((parameter, i) => {
    (parameter.borrow() as Float32Array).set(
      randomNumbers(parameter.size, i, 'f32').map((value) => value / 16),
    );
  });
  const optimizer = new AdamW(model.namedParameters(), { lr: 0.01 });
  const train = compile((x: Tensor, labels: Tensor) => {
    const loss = crossEntropy(model.forward(x), labels);
    optimizer.step(grad(loss, model.parameters()));
    return loss;
  });
  const serve = compile((x: Tensor) => model.forward(x));
  return { train, serve };
}

const batches = Array.from({ length: STEPS }, (_, i) => ({
  x: filled(100 + i, BATCH, FEATURES),
  labels: tensor(
    Array.from({ length: BATCH }, (_, row) => (row * (i + 3)) % CLASSES),
    { dtype: 'i32' },
  ),
}));
const request = filled(7, 3, FEATURES);

test('every answer while a model is trained is that of some whole step, and none is older than one before', async () => {
  const alone = service();
  const answers = [bits(await alone.serve(request))];
  const losses: string[] = [];
  for (const { x, labels } of batches) {
    losses.push(bits(await alone.train(x, labels)));
    answers.push(bits(await alone.serve(request)));
  }
  expect(new Set(answers).size).toBe(STEPS + 1);

  const { train, serve } = service();
  let training = true;
  const asked = askedUntil(
    () => !training,
    () => serve(request),
    answers,
  );
  const trained: string[] = [];
  for (const { x, labels } of batches) trained.push(bits(await train(x, labels)));
  training = false;
  const seen = await asked;
  expect(trained).toEqual(losses);
  expect(bits(await serve(request))).toBe(answers.at(-1));
  // They were served all along, and not only before and after.
  expect(seen.size).toBeGreaterThan(STEPS / 10);
});
