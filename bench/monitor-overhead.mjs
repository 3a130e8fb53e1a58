// What TrainingMonitor costs, as it is unless told otherwise, as a share of training without it: the time in it and in the
// steps, summed over a round; the median of the rounds, so that what else the machine does counts little.
//   node bench/monitor-overhead.mjs [steps]
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

const STEPS = Number(process.argv[2] ?? 1000);
const ROUNDS = 7;

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
  const train = async () => {
    const results = await step(x, labels);
    results.loss.item(); // as any loop looks at its loss
    return results;
  };
  const record = (monitor, { loss, gradNorm }) => monitor.record({ loss, gradNorm, samples: batch });
  const end = ({ loss, gradNorm }) => {
    loss.dispose();
    gradNorm.dispose();
  };
  return { name: `digits, batch ${batch}, awaited`, optimizer, train, record, end };
}

/** Nothing but the optimizer, on typed arrays: the least that a step can cost beside what the monitor looks at. */
function arrays(count) {
  const parameters = [new Float32Array(count).fill(1)];
  const gradients = [new Float32Array(count).fill(1e-3)];
  const optimizer = new AdamW(parameters);
  return {
    name: `AdamW alone on ${count} numbers`,
    optimizer,
    train: () => optimizer.step(gradients),
    record: (monitor) => monitor.recordSync({ loss: 1, samples: 1, gradients }),
    end: () => {},
  };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const microseconds = (seconds) => `${(seconds * 1e6).toFixed(1)} µs`;

for (const { name, optimizer, train, record, end } of [digits(32), digits(128), arrays(2 ** 20)]) {
  const monitor = new TrainingMonitor(optimizer, { registry: new Registry() });
  const [shares, durations, records] = [[], [], []];
  for (let round = 0; round <= ROUNDS; round++) {
    const [steps, all] = [[], []];
    for (let i = 0; i < STEPS; i++) {
      const begin = performance.now();
      const results = await train();
      const middle = performance.now();
      await record(monitor, results);
      const done = performance.now();
      end(results);
      steps.push((middle - begin) / 1e3);
      all.push((done - middle) / 1e3);
    }
    if (round === 0) continue; // a warm-up
    shares.push(sum(all) / sum(steps));
    durations.push(median(steps));
    records.push(median(all));
  }
  monitor.dispose();
  const [share, step, each] = [shares, durations, records].map(median);
  console.log(
    `${name}: a step ${microseconds(step)}, record ${microseconds(each)}, looks at parameters counted ${(100 * share).toFixed(2)} % in all`,
  );
}
