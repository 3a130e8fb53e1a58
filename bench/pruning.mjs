// What structured pruning saves: parameters, and the time of a forward pass, of an encoder of the shape of MiniLM-L6 without
// half of its heads and half of its hidden units, and of a convolutional net without half of its channels. Original and
// smaller copy in turn, one thread.
//   node bench/pruning.mjs
import { drivetrain } from './ours.mjs';
import { median } from './statistics.mjs';

const {
  BatchNorm2d,
  BertModel,
  Conv2d,
  compile,
  device,
  Flatten,
  Linear,
  MaxPool2d,
  pruneChannels,
  pruneHeads,
  pruneUnits,
} = drivetrain;
const { randn, ReLU, Sequential, tensor } = drivetrain;
const ROUNDS = 31;
const LAYERS = 6;

const encoder = () =>
  new BertModel({
    vocabSize: 1000,
    hiddenSize: 384,
    numHiddenLayers: LAYERS,
    numAttentionHeads: 12,
    intermediateSize: 1536,
  });
const hidden = Object.fromEntries(
  Array.from({ length: LAYERS }, (_, i) => [`layers.${i}.intermediate`, `layers.${i}.output`]),
);
const convolutional = () =>
  new Sequential(
    new Conv2d(3, 64, 3, { padding: 1 }),
    new BatchNorm2d(64),
    new ReLU(),
    new Conv2d(64, 128, 3, { padding: 1 }),
    new BatchNorm2d(128),
    new ReLU(),
    new MaxPool2d(4),
    new Flatten(),
    new Linear(128 * 64, 10),
  );

const CASES = {
  'encoder, 1 x 128': {
    model: encoder(),
    shrink: (model) => pruneUnits(pruneHeads(model, { amount: 0.5 }), { amount: 0.5, layers: hidden }),
    input: tensor(
      Int32Array.from({ length: 128 }, (_, i) => i % 1000),
      { shape: [1, 128] },
    ),
  },
  'convolutions, 8 x 3 x 32 x 32': {
    model: convolutional(),
    shrink: (model) => pruneChannels(model, { amount: 0.5 }),
    input: randn([8, 3, 32, 32]),
  },
};

const parametersOf = (model) => model.parameters().reduce((sum, { size }) => sum + size, 0);
const first = (output) =>
  Symbol.iterator in Object(output) ? output[0] : (output.lastHiddenState ?? output);

device.setThreads(1);
for (const [name, { model, shrink, input }] of Object.entries(CASES)) {
  model.eval();
  const models = [model, shrink(model).eval()];
  const sizes = models.map(parametersOf);
  const run = models.map((one) => {
    one.freeze();
    const forward = compile((x) => first(one.forward(x)));
    return () => forward.runSync(input).dispose();
  });
  const times = run.map(() => []);
  for (let round = -3; round < ROUNDS; round++) {
    run.forEach((once, i) => {
      const start = performance.now();
      once();
      if (round >= 0) times[i].push(performance.now() - start);
    });
  }
  const [before, after] = times.map(median);
  console.log(
    `${name.padEnd(32)}${(sizes[0] / 1e6).toFixed(2)} M parameters, ${(sizes[1] / 1e6).toFixed(2)} M pruned (${(sizes[0] / sizes[1]).toFixed(2)} ×); ` +
      `${before.toFixed(2)} ms, ${after.toFixed(2)} ms pruned (${(before / after).toFixed(2)} × as fast)`,
  );
}
