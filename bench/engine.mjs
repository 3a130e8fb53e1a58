// What a call costs, and how the engine compares with the same work in plain JavaScript. Medians.
import { Bench } from 'tinybench';
import { AdamW, add, compile, device, matmul, tensor } from '../dist/index.js';
import { jsAdamW, jsAdd, jsMatmul } from './plain.mjs';

const CALLS = 1000;
const COLUMNS = [30, 13, 13, 9, 0];

const random = (n) => Float32Array.from({ length: n }, () => Math.random() - 0.5);

/** The median time of one execution of `task`, in seconds. */
async function median(task) {
  const bench = new Bench({ time: 500, iterations: 5, warmupTime: 100, warmupIterations: 1 });
  bench.add('task', task);
  const [{ result }] = await bench.run();
  if (result.state !== 'completed') throw result.error ?? new Error(`the benchmark is ${result.state}`);
  return result.latency.p50 / 1e3;
}

function format(seconds) {
  const [unit, scale] = [
    ['s', 1],
    ['ms', 1e3],
    ['µs', 1e6],
  ].find(([, s]) => seconds * s >= 1) ?? ['ns', 1e9];
  return `${(seconds * scale).toPrecision(3)} ${unit}`;
}

const line = (cells) =>
  console.log(
    cells.map((cell, i) => (i === 0 ? cell.padEnd(COLUMNS[i]) : cell.padStart(COLUMNS[i]))).join('  '),
  );

/** Measures both and prints a line; `work` is what one execution does, `unit` what it counts. */
async function compare(name, native, plain, work, unit, calls = 1) {
  const [ours, theirs] = [(await median(native)) / calls, (await median(plain)) / calls];
  const rate = work === 0 ? '' : `${(work / ours / 1e9).toPrecision(3)} ${unit}`;
  line([name, format(ours), format(theirs), `${(theirs / ours).toPrecision(3)} ×`, rate]);
}

const repeated = (call) => () => {
  for (let i = 0; i < CALLS; i++) call();
};

const { isa, threads } = device.info();
console.log(`Node ${process.versions.node}, ${isa}, ${threads} threads\n`);
line(['', 'drivetrain', 'JavaScript', 'ratio', '']);

const [a, b, out] = [random(8), random(8), new Float32Array(8)];
const [ta, tb] = [tensor([...a]), tensor([...b])];
const recorded = compile((x, y) => add(x, y));
const plainAdd = repeated(() => jsAdd(a, b, out));
await compare(
  'add 8, eager',
  repeated(() => add(ta, tb).dispose()),
  plainAdd,
  0,
  '',
  CALLS,
);
await compare(
  'add 8, recorded',
  repeated(() => recorded.runSync(ta, tb).dispose()),
  plainAdd,
  0,
  '',
  CALLS,
);
await compare(
  'add 8, recorded, awaited',
  async () => (await recorded(ta, tb)).dispose(),
  () => jsAdd(a, b, out),
  0,
  '',
);

for (const n of [16, 64, 256, 1024]) {
  const [x, y, z] = [random(n * n), random(n * n), new Float32Array(n * n)];
  const [tx, ty] = [tensor(x, { shape: [n, n] }), tensor(y, { shape: [n, n] })];
  const product = () => matmul(tx, ty).dispose();
  await compare(`matmul ${n} × ${n} × ${n}`, product, () => jsMatmul(x, y, z, n), 2 * n ** 3, 'GFLOP/s');
}

// Reads parameter, gradient and both moments, writes three of them: 28 bytes a parameter.
for (const n of [1_000, 100_000, 4_000_000]) {
  const [weights, gradients] = [random(n), random(n)];
  const ours = new AdamW([weights], { lr: 1e-3 });
  const state = { weights: random(n), m: new Float32Array(n), v: new Float32Array(n), step: 0 };
  const step = () => ours.step([gradients]);
  await compare(
    `AdamW, ${n.toLocaleString('en')} parameters`,
    step,
    () => jsAdamW(state, gradients),
    28 * n,
    'GB/s',
  );
}
