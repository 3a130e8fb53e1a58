// How late the event loop is while a model is trained and served at once, by as many awaited runs as keep every thread
// busy: the delay of a timer of 1 ms (perf_hooks.monitorEventLoopDelay), beside that of an idle process.
//   node bench/event-loop-delay.mjs [seconds]
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AdamW,
  compile,
  crossEntropy,
  device,
  grad,
  Linear,
  ReLU,
  randn,
  Sequential,
  softmax,
  tensor,
} from '../dist/index.js';

const SECONDS = Number(process.argv[2] ?? 5);
const RESOLUTION_MS = 1;
const BATCH = 128;
/** Requests in flight at any time. */
const CLIENTS = 4 * device.info().threads;

async function measured(load) {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  const done = await load(performance.now() + 1000 * SECONDS);
  delays.disable();
  // The histogram has the whole time from one tick of the timer to the next.
  const late = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS).toFixed(2);
  return { done, p50: late(delays.percentile(50)), p99: late(delays.percentile(99)), max: late(delays.max) };
}

const model = new Sequential(
  new Linear(784, 1024),
  new ReLU(),
  new Linear(1024, 1024),
  new ReLU(),
  new Linear(1024, 10),
);
const adam = new AdamW(model.parameters());
const train = compile((x, labels) => {
  const loss = crossEntropy(model.forward(x), labels);
  adam.step(grad(loss, model.parameters()));
  return loss;
});
const predict = compile((x) => softmax(model.forward(x)));

const x = randn([BATCH, 784]);
const query = randn([8, 784]);
const labels = tensor(
  Array.from({ length: BATCH }, (_, i) => i % 10),
  { dtype: 'i32' },
);

async function repeat(end, call) {
  let calls = 0;
  for (; performance.now() < end; calls++) (await call()).dispose();
  return calls;
}

async function both(end) {
  const serving = Array.from({ length: CLIENTS }, () => repeat(end, () => predict(query)));
  const [steps, ...served] = await Promise.all([repeat(end, () => train(x, labels)), ...serving]);
  return `${steps} steps, ${served.reduce((sum, n) => sum + n, 0)} predictions`;
}

for (const [name, load] of [
  ['idle', (end) => sleep(end - performance.now()).then(() => 'nothing')],
  ['training', async (end) => `${await repeat(end, () => train(x, labels))} steps`],
  ['training and serving', both],
]) {
  await both(0); // recorded before
  const { done, p50, p99, max } = await measured(load);
  console.log(`${name}: late by ${p50} ms (p50), ${p99} ms (p99), ${max} ms (most); ${done} in ${SECONDS} s`);
}
