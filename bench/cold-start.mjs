// What a function that starts anew for each burst of requests pays: the size of what is deployed, and the time from the start
// of the process to the first answer of the digits network, read from a file. The packed library, as it is and bundled with
// the function, beside onnxruntime-node (whose path to its addon no bundler can follow), in turn; once more with nothing of
// either in the page cache, as on a new machine. Beside the time on the clock stands the processor's: where a function has a
// part of a processor it takes that much longer, and other work on the machine changes it little.
//   node bench/cold-start.mjs [rounds]
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { numbers } from './data.mjs';
import { forward, parameters, SAMPLES, WIDTHS } from './groups/digits.mjs';
import { drivetrain } from './ours.mjs';
import { FLOAT, onnxModel } from './peers/onnx-model.mjs';
import { median } from './statistics.mjs';

const ROUNDS = Number(process.argv[2] ?? 15);
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'drivetrain-cold-'));
const { platform, arch } = process;
const OURS = join(folder, 'node_modules/drivetrain');
const ADDON = join(OURS, `prebuilds/${platform}-${arch}`);
const PEERS = ['onnxruntime-node', 'onnxruntime-common'].map((name) =>
  join(root, 'bench/node_modules', name),
);
const THEIR_ADDON = join(PEERS[0], 'bin/napi-v6', platform, arch);
const x = numbers(SAMPLES[''].pixels(1));
const weights = Object.fromEntries(Object.entries(parameters).map(([name, array]) => [name, numbers(array)]));

/** Says when the answer was there, in milliseconds since 1970, the processor's microseconds until then, and what it was. */
const TELL = `const tell = (y) => {
  const at = performance.timeOrigin + performance.now();
  console.log(JSON.stringify({ at, cpu: process.cpuUsage(), y: [...y] }));
};`;
const INPUT = `const x = Float32Array.from(${JSON.stringify([...x])});`;

const SCRIPTS = {
  node: `${TELL}\ntell([]);`,
  drivetrain: `import { compile, Linear, readSafetensors, ReLU, Sequential, tensor } from 'drivetrain';
${TELL}
${INPUT}
const { tensors } = await readSafetensors('digits.safetensors');
const model = new Sequential(${WIDTHS.slice(1)
    .map((out, i) => `new Linear(${WIDTHS[i]}, ${out})`)
    .join(', new ReLU(), ')});
model.loadStateDict(tensors);
const predict = compile((input) => model.forward(input));
tell(predict.runSync(tensor(x, { shape: [1, ${WIDTHS[0]}] })).toArray());`,
  'onnxruntime-node': `import ort from 'onnxruntime-node';
${TELL}
${INPUT}
const session = await ort.InferenceSession.create('digits.onnx');
const { y } = await session.run({ x: new ort.Tensor('float32', x, [1, ${WIDTHS[0]}]) });
tell(y.data);`,
};

/** The function with what it uses of the library in one file. */
const BUNDLED = join(folder, 'bundled.mjs');

/** What each of them reads, files and folders. */
const READS = {
  node: [],
  drivetrain: [join(OURS, 'package.json'), join(OURS, 'dist'), ADDON, join(folder, 'digits.safetensors')],
  bundled: [ADDON, join(folder, 'digits.safetensors')],
  'onnxruntime-node': [
    join(PEERS[0], 'package.json'),
    join(PEERS[0], 'dist'),
    THEIR_ADDON,
    PEERS[1],
    join(folder, 'digits.onnx'),
  ],
};

const layers = WIDTHS.length - 1;

async function writeModels() {
  const state = {};
  for (let i = 0; i < layers; i++) {
    const shape = [WIDTHS[i + 1], WIDTHS[i]];
    state[`layers.${2 * i}.weight`] = drivetrain.tensor(weights[`w${i}`], { shape });
    state[`layers.${2 * i}.bias`] = drivetrain.tensor(weights[`b${i}`]);
  }
  await drivetrain.writeSafetensors(join(folder, 'digits.safetensors'), state);
  const nodes = [];
  const initializers = {};
  for (let i = 0; i < layers; i++) {
    const last = i === layers - 1;
    initializers[`w${i}`] = { shape: [WIDTHS[i + 1], WIDTHS[i]], data: weights[`w${i}`] };
    initializers[`b${i}`] = { shape: [WIDTHS[i + 1]], data: weights[`b${i}`] };
    const from = i === 0 ? 'x' : `relu${i - 1}`;
    const outputs = [last ? 'y' : `sum${i}`];
    nodes.push({ op: 'Gemm', inputs: [from, `w${i}`, `b${i}`], outputs, attributes: { transB: 1 } });
    if (!last) nodes.push({ op: 'Relu', inputs: [`sum${i}`], outputs: [`relu${i}`] });
  }
  const named = {
    inputs: { x: { type: FLOAT, shape: [1, WIDTHS[0]] } },
    outputs: { y: { type: FLOAT, shape: [1, WIDTHS.at(-1)] } },
  };
  writeFileSync(join(folder, 'digits.onnx'), onnxModel({ nodes, initializers, ...named }));
}

/** The library as it is installed from the registry, on its own and in the function's file. */
async function installOurs() {
  const npm = (args) => execFileSync('npm', args, { cwd: root, encoding: 'utf8' });
  const [{ filename }] = JSON.parse(
    npm(['pack', '--json', '--foreground-scripts=false', '--pack-destination', folder]),
  );
  mkdirSync(OURS, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, filename), '-C', OURS, '--strip-components=1']);
  const bundle = await rolldown({
    cwd: folder,
    input: join(folder, 'drivetrain.mjs'),
    platform: 'node',
    external: /\.node$/,
  });
  await bundle.write({ file: BUNDLED, format: 'esm', minify: true });
}

/** The files in folders, and files themselves. */
function filesOf(paths) {
  return paths.flatMap((path) => {
    if (statSync(path).isFile()) return [path];
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  });
}

const sizeOf = (...paths) => filesOf(paths).reduce((sum, file) => sum + statSync(file).size, 0);

/** Drops the files from the page cache, which Linux does of those that are written and that nobody has open. */
function forget(files) {
  const drop = 'for file; do dd if="$file" iflag=nocache count=0 status=none; done';
  execFileSync('sh', ['-c', drop, 'sh', ...files]);
  const resident = execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', ...files], {
    encoding: 'utf8',
  });
  if (/[1-9]/.test(resident)) throw new Error(`Still in memory of ${files}: ${resident}`);
}

/** Milliseconds from the start of the process to the answer, on the clock and of the processor. */
function start(name) {
  const began = Date.now();
  const { at, cpu, y } = JSON.parse(
    execFileSync(process.execPath, [`${name}.mjs`], { cwd: folder, encoding: 'utf8' }),
  );
  const wanted = forward(x, weights).at(-1);
  if (y.some((value, i) => !(Math.abs(value - wanted[i]) < 1e-3)))
    throw new Error(`${name} answers ${y}, not ${wanted}`);
  return { clock: at - began, processor: (cpu.user + cpu.system) / 1e3 };
}

const names = Object.keys(READS);

/** The starts of each, in turn; `prepare` is called before each. */
function starts(prepare) {
  const all = new Map(names.map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const name of names) {
      prepare(name);
      const one = start(name);
      // In the first round the machine wakes up.
      if (round > 0) all.get(name).push(one);
    }
  }
  return [...all.values()];
}

const row = (name, ...cells) => console.log(name.padEnd(28), ...cells.map((cell) => cell.padStart(18)));

function timeRows(title, kind, runs) {
  const [node, ...others] = runs.map((one) => median(one.map((times) => times[kind])));
  const ms = (values) => values.map((value) => `${value.toFixed(0)} ms`);
  const ratio = (values) =>
    `${(values.at(-1) / values[0]).toFixed(2)} / ${(values.at(-1) / values[1]).toFixed(2)} ×`;
  const beyond = others.map((time) => time - node);
  row(title, ...ms(others), ratio(others));
  row(`  beyond Node's ${node.toFixed(0)} ms`, ...ms(beyond), ratio(beyond));
}

try {
  for (const [name, script] of Object.entries(SCRIPTS)) writeFileSync(join(folder, `${name}.mjs`), script);
  await writeModels();
  await installOurs();
  symlinkSync(PEERS[0], join(folder, 'node_modules/onnxruntime-node'));
  const sizes = [sizeOf(OURS), sizeOf(BUNDLED, ADDON), sizeOf(...PEERS)];
  row('', 'drivetrain', 'bundled', 'onnxruntime-node', 'ratios');
  row(
    'installed',
    ...sizes.map((size) => `${(size / 1e6).toFixed(1)} MB`),
    `${(sizes[2] / sizes[0]).toFixed(0)} / ${(sizes[2] / sizes[1]).toFixed(0)} ×`,
  );
  const warm = starts(() => {});
  timeRows('start to first answer', 'clock', warm);
  timeRows('  of the processor', 'processor', warm);
  if (existsSync('/usr/bin/fincore')) {
    execFileSync('sync');
    const cold = starts((name) => forget(filesOf([join(folder, `${name}.mjs`), ...READS[name]])));
    timeRows('files not in memory', 'clock', cold);
    timeRows('  of the processor', 'processor', cold);
  }
  console.log(`medians of ${ROUNDS} starts each, in turn`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
