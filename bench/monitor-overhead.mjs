// What TrainingMonitor costs: the time of training with it over the time without it, in blocks of steps that take turns.
//   node bench/monitor-overhead.mjs [rounds]
import {
  AdamW,
  compile,
  crossEntropy,
  globalNorm,
  grad,
  Linear,
  Registry,
  ReLU,
  randn,
  Sequential,
  TrainingMonitor,
  tensor,
} from '../dist/index.js';

const ROUNDS = Number(process.argv[2] ?? 30);
/** The monitor's default `every`: each block has one sampled step. */
const BLOCK = 100;

/** A recorded training step of digits' shapes. */
function digits(batch) {
  const model = new Sequential(
    new Linear(784, 256),
    new ReLU(),
    new Linear(256, 128),
    new ReLU(),
    new Linear(128, 10),
  );
  const optimizer = new AdamW(model.parameters());
  const step = compile((x, labels) => {
    const loss = crossEntropy(model.forward(x), labels);
    const gradients = grad(loss, model.parameters());
    optimizer.step(gradients);
    return { loss, gradNorm: globalNorm(gradients) };
  });
  const x = randn([batch, 784]);
  const labels = tensor(
    Array.from({ length: batch }, (_, i) => i % 10),
    { dtype: 'i32' },
  );
  const plain = async () => {
    const { loss, gradNorm } = await step(x, labels);
    loss.item();
    loss.dispose();
    gradNorm.dispose();
  };
  const monitored = async (monitor) => {
    const { loss, gradNorm } = await step(x, labels);
    await monitor.record({ loss, gradNorm, samples: batch });
    loss.dispose();
    gradNorm.dispose();
  };
  return { name: `digits, batch ${batch}, awaited`, optimizer, plain, monitored };
}

/** Nothing but the optimizer, on typed arrays: the least that a step can cost beside what the monitor looks at. */
function arrays(count) {
  const parameters = [new Float32Array(count).fill(1)];
  const gradients = [new Float32Array(count).fill(1e-3)];
  const optimizer = new AdamW(parameters);
  return {
    name: `AdamW alone on ${count} numbers`,
    optimizer,
    plain: () => optimizer.step(gradients),
    monitored: (monitor) => {
      optimizer.step(gradients);
      monitor.recordSync({ loss: 1, samples: 1, gradients });
    },
  };
}

async function secondsOf(run) {
  const begin = performance.now();
  for (let i = 0; i < BLOCK; i++) await run();
  return (performance.now() - begin) / 1e3;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

for (const { name, optimizer, plain, monitored } of [
  digits(32),
  digits(128),
  arrays(2 ** 20),
  arrays(2 ** 24),
]) {
  const monitor = new TrainingMonitor(optimizer, { registry: new Registry() });
  const runs = [plain, () => monitored(monitor)];
  const times = [[], []];
  for (const run of runs) await secondsOf(run);
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of round % 2 ? [1, 0] : [0, 1]) times[i].push(await secondsOf(runs[i]));
  }
  const [without, withMonitor] = times.map((own) => Math.min(...own));
  const ratio = median(times[1].map((time, i) => time / times[0][i]));
  console.log(
    `${name}: ${((without / BLOCK) * 1e6).toFixed(1)} µs a step, with monitor ${(withMonitor / without).toFixed(4)} times the least, ${ratio.toFixed(4)} in the median`,
  );
  monitor.dispose();
}
