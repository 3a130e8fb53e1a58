import {
  AdamW,
  add,
  type BatchSizeAdvice,
  type Compiled,
  clipGradNorm,
  compile,
  crossEntropy,
  defaultPool,
  grad,
  LayerNorm,
  Linear,
  MemoryPool,
  mean,
  mseLoss,
  type Optimizer,
  ReLU,
  recommendBatchSize,
  reshape,
  Sequential,
  SGD,
  scaledDotProductAttention,
  type Tensor,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failure } from '../program/support.js';

interface Training {
  readonly step: Compiled<[Tensor, Tensor], Tensor>;
  readonly optimizer: Optimizer<{ lr: number }>;
  readonly batch: (size: number) => [Tensor, Tensor];
}

/** Digits' shapes, in small. */
function perceptron(): Training {
  const model = new Sequential(new Linear(64, 48), new ReLU(), new Linear(48, 10));
  const optimizer = new AdamW(model.namedParameters());
  return {
    optimizer,
    step: compile((x: Tensor, labels: Tensor) => {
      const loss = crossEntropy(model.forward(x), labels);
      optimizer.step(clipGradNorm(grad(loss, model.parameters()), 1).gradients);
      return loss;
    }),
    batch: (size) => [zeros([size, 64]), zeros([size], { dtype: 'i32' })],
  };
}

/** One head of attention over 16 words, in f32, with a loss that reads a table beside the batch. */
function encoder(): Training {
  const [width, length] = [32, 16];
  const [query, key, value, out] = Array.from({ length: 4 }, () => new Linear(width, width));
  const normalise = new LayerNorm(width);
  const parameters = [query!, key!, value!, out!, normalise].flatMap((layer) => layer.parameters());
  const optimizer = new SGD(parameters, { lr: 0.1, momentum: 0.9 });
  const table = zeros([1, length, width]);
  return {
    optimizer,
    step: compile((x: Tensor, target: Tensor) => {
      const heads = [query!, key!, value!].map((layer) => {
        const y = layer.forward(x);
        return reshape(y, [y.shape[0]!, 1, length, width]);
      });
      const attended = scaledDotProductAttention(heads[0]!, heads[1]!, heads[2]!);
      const y = normalise.forward(add(out!.forward(reshape(attended, x.shape)), x));
      const loss = mseLoss(mean(add(y, table), { axis: 1 }), target);
      optimizer.step(grad(loss, parameters));
      return loss;
    }),
    batch: (size) => [zeros([size, length, width]), zeros([size, width])],
  };
}

/** What a step needs at this batch, by running it in a pool of its own: whether it fits in `memory`. */
function fits(make: () => Training, memory: number, batchSize: number, reserved = 0): boolean {
  const pool = new MemoryPool({ limit: memory });
  try {
    return pool.scope(() => {
      const { step, optimizer, batch } = make();
      if (reserved > 0) pool.allocate(reserved);
      try {
        step.runSync(...batch(batchSize));
      } catch (error) {
        expect(error).toMatchObject({ code: 'DT_POOL_LIMIT' });
        return false;
      }
      expect(optimizer.steps).toBe(1);
      return true;
    });
  } finally {
    pool.dispose();
  }
}

function advise(make: () => Training, memory: number, totalBatch?: number): BatchSizeAdvice {
  const { step, optimizer, batch } = make();
  return recommendBatchSize({
    step,
    inputs: batch(4),
    optimizer,
    memory,
    ...(totalBatch !== undefined && { totalBatch }),
  });
}

const MODELS = { perceptron, encoder };

for (const [name, make] of Object.entries(MODELS)) {
  describe(name, () => {
    test('a training step runs at the answer, and neither at one more nor at twice it', () => {
      fc.assert(
        fc.property(fc.integer({ min: 200_000, max: 12_000_000 }), (memory) => {
          const { batchSize, largest, accumulationSteps, bytes } = advise(make, memory);
          expect(batchSize).toBe(largest);
          expect(accumulationSteps).toBe(1);
          expect(bytes.total).toBeLessThanOrEqual(memory);
          expect(fits(make, memory, batchSize)).toBe(true);
          expect(fits(make, memory, batchSize + 1)).toBe(false);
          expect(fits(make, memory, 2 * batchSize)).toBe(false);
        }),
        // Where not much is to spare, what the optimizer keeps beside its state decides.
        { numRuns: 8, examples: [[597_760]] },
      );
    });

    test('accumulation: as few steps as memory allows, room for the sums, and twice the batch does not fit', () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 400_000, max: 8_000_000 }),
          fc.integer({ min: 1, max: 20_000 }),
          (memory, totalBatch) => {
            const { batchSize, accumulationSteps, bytes } = advise(make, memory, totalBatch);
            expect(batchSize * accumulationSteps).toBeGreaterThanOrEqual(totalBatch);
            expect((batchSize - 1) * accumulationSteps).toBeLessThan(totalBatch);
            expect(bytes.total).toBeLessThanOrEqual(memory);
            expect(bytes.accumulated).toBe(accumulationSteps === 1 ? 0 : bytes.parameters);
            expect(fits(make, memory, batchSize, bytes.accumulated)).toBe(true);
            if (accumulationSteps > 1) {
              expect(fits(make, memory, 2 * batchSize, bytes.accumulated)).toBe(false);
              const fewer = Math.ceil(totalBatch / (accumulationSteps - 1));
              expect(fits(make, memory, fewer, accumulationSteps > 2 ? bytes.accumulated : 0)).toBe(false);
            }
          },
        ),
        { numRuns: 8 },
      );
    });

    test('where not one sample fits that is an error with what it takes', async () => {
      const { message } = await failure('DT_INVALID_ARGUMENT', () => advise(make, 20_000));
      const least = Number(/(\d+) bytes/.exec(message)![1]);
      expect(advise(make, least).batchSize).toBe(1);
      await failure('DT_INVALID_ARGUMENT', () => advise(make, least - 1));
    });
  });
}

test('the bytes are those of parameters, gradients, state and inputs, and activations grow with the batch', () => {
  const small = advise(perceptron, 2_000_000).bytes;
  const large = advise(perceptron, 4_000_000).bytes;
  const count = 64 * 48 + 48 + 48 * 10 + 10;
  expect(small.parameters).toBe(4 * count);
  expect(small.gradients).toBe(4 * count);
  // Two moments with room between the parameters, and the count of steps.
  expect(small.optimizerState).toBeGreaterThanOrEqual(8 * count);
  expect(small.optimizerState).toBeLessThan(8 * count + 1000);
  expect(small.other).toBeLessThan(1000);
  expect(large.activations).toBeGreaterThan(1.5 * small.activations);
  const { total, ...parts } = small;
  expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(total);
});

test('nothing runs and nothing is left behind', () => {
  const { step, optimizer, batch } = perceptron();
  const inputs = batch(4);
  const { current, blocks } = defaultPool.statistics;
  const { steps } = optimizer;
  recommendBatchSize({ step, inputs, optimizer, memory: 4_000_000 });
  expect(optimizer.steps).toBe(steps);
  // Programs keep their constants, a number each.
  expect(defaultPool.statistics.current - current).toBeLessThanOrEqual(
    64 * (defaultPool.statistics.blocks - blocks),
  );
});

test('unless memory is given, what the default pool can still give counts', () => {
  const { step, optimizer, batch } = perceptron();
  const inputs = batch(4);
  const { limit } = defaultPool;
  try {
    defaultPool.limit = defaultPool.statistics.current + 3_000_000;
    const { batchSize } = recommendBatchSize({ step, inputs, optimizer });
    defaultPool.scope(() => step.runSync(...batch(batchSize)));
    expect(() => defaultPool.scope(() => step.runSync(...batch(2 * batchSize)))).toThrow(/in the pool/);
  } finally {
    defaultPool.limit = limit;
  }
});

test('what is wrong is refused', async () => {
  const { step, optimizer, batch } = perceptron();
  const inputs = batch(4);
  const good = { step, inputs, optimizer, memory: 1e6 };
  for (const wrong of [
    { ...good, step: () => zeros([]) },
    { ...good, optimizer: undefined },
    { ...good, inputs: undefined },
    { ...good, inputs: [new Float32Array(4)] },
    { ...good, inputs: [] },
    { ...good, inputs: [zeros([])] },
    { ...good, memory: -1 },
    { ...good, totalBatch: 0 },
    { ...good, total: 10 },
  ]) {
    await failure('DT_INVALID_ARGUMENT', () => recommendBatchSize(wrong as never));
  }
});
