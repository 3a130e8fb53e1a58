// What the first use of the kernels costs a process, for each instruction set that runs here: all of them lie in one binary,
// of which a process maps the whole and touches its own part. In fresh processes, in turn: the binary's loading, which
// looks at the processor and chooses, and the first product of two matrices beside the second.
//   node bench/first-touch.mjs [rounds]
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { device } from '../dist/index.js';
import { median } from './statistics.mjs';

const ROUNDS = Number(process.argv[2] ?? 15);
const library = new URL('../dist/index.js', import.meta.url).href;
const addon = fileURLToPath(new URL('../build/Release/drivetrain.node', import.meta.url));

const SCRIPT = `
const timed = (fn) => { const from = performance.now(); fn(); return performance.now() - from; };
const loading = timed(() => process.dlopen({ exports: {} }, ${JSON.stringify(addon)}));
const { matmul, tensor } = await import(${JSON.stringify(library)});
const [a, b] = [1, 2].map((value) => tensor(new Float32Array(64 * 64).fill(value), { shape: [64, 64] }));
const [first, second] = [1, 2].map(() => timed(() => matmul(a, b)));
console.log(JSON.stringify({ loading, first, second }));`;

const { isas } = device.info();
const found = new Map(isas.map((isa) => [isa, []]));
for (let round = 0; round <= ROUNDS; round++) {
  for (const isa of isas) {
    const env = { ...process.env, DRIVETRAIN_ISA: isa, DRIVETRAIN_BINARY: addon };
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', SCRIPT], {
      env,
      encoding: 'utf8',
    });
    // In the first round the files come into memory.
    if (round > 0) found.get(isa).push(JSON.parse(output));
  }
}

const row = (name, ...cells) => console.log(name.padEnd(16), ...cells.map((cell) => cell.padStart(16)));
row('', 'loading', 'first product', 'second product');
for (const [isa, times] of found) {
  const cell = (kind) => `${median(times.map((one) => one[kind])).toFixed(2)} ms`;
  row(isa, cell('loading'), cell('first'), cell('second'));
}
console.log(`medians of ${ROUNDS} processes each, in turn`);
