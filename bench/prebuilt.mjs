// Is the prebuilt binary of linux-x64, which the cross compiler made, as fast as this system's build? A handful of rows,
// each binary in a process of its own, in turns:
//   npm run prebuild -- --target linux-x64 && node bench/prebuilt.mjs [ROUNDS]
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compareBuilds } from './regress.mjs';
import { align } from './table.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ROWS = ['gemm-f32 512x512x512', 'gemm-int8 512x512x512', 'optim adamw/1M', 'rows softmax/1536x128'];
const BINARIES = {
  before: join(root, 'build/Release/drivetrain.node'),
  after: join(root, 'prebuilds/linux-x64/drivetrain.node'),
};

function measure(binary) {
  const env = { ...process.env, DRIVETRAIN_BENCH_BUILD: root, DRIVETRAIN_BINARY: binary };
  const found = ROWS.map((row) => {
    const args = [join(root, 'bench/regress-worker.mjs'), row];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  });
  if (found.some((times) => Object.keys(times).length === 0)) {
    throw new Error('A row could not be measured; `npm run bench` installs what that needs.');
  }
  return Object.assign({}, ...found);
}

const rounds = Number(process.argv[2] ?? 12);
const pairs = Array.from({ length: rounds }, (_, i) => {
  const order = i % 2 ? ['after', 'before'] : ['before', 'after'];
  return Object.fromEntries(order.map((key) => [key, measure(BINARIES[key])]));
});
const ratio = (change) => (1 / (1 + change)).toFixed(2);
const lines = compareBuilds(pairs).map(({ row, change, interval: [low, high] }) => [
  row,
  ratio(change),
  `${ratio(high)} … ${ratio(low)}`,
]);
console.log(align([["speed, this system's build = 1", 'median', '99 %'], ...lines]));
