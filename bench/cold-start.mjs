// What a function that starts anew for each burst of requests pays: the size of what is deployed, and the time from the start
// of the process to the first answer of the digits network, read from a file. The packed library beside onnxruntime-node, in
// turn.
//   node bench/cold-start.mjs [rounds]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { numbers } from './data.mjs';
import { forward, parameters, pixels, WIDTHS } from './groups/digits.mjs';
import { drivetrain } from './ours.mjs';
import { FLOAT, onnxModel } from './peers/onnx-model.mjs';
import { median } from './statistics.mjs';

const ROUNDS = Number(process.argv[2] ?? 15);
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'drivetrain-cold-'));
const x = numbers(pixels(1));
const weights = Object.fromEntries(Object.entries(parameters).map(([name, array]) => [name, numbers(array)]));

/** Says when the answer was there, in milliseconds since 1970, and what it was. */
const TELL =
  'const tell = (y) => console.log(JSON.stringify({ at: performance.timeOrigin + performance.now(), y: [...y] }));';
const INPUT = `const x = Float32Array.from(${JSON.stringify([...x])});`;

const SCRIPTS = {
  'node alone': `${TELL}\ntell([]);`,
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

/** The library as it is installed from the registry. */
function installOurs() {
  const npm = (args) => execFileSync('npm', args, { cwd: root, encoding: 'utf8' });
  const [{ filename }] = JSON.parse(
    npm(['pack', '--json', '--foreground-scripts=false', '--pack-destination', folder]),
  );
  const target = join(folder, 'node_modules/drivetrain');
  mkdirSync(target, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, filename), '-C', target, '--strip-components=1']);
}

function sizeOf(path) {
  const names = readdirSync(path, { recursive: true, withFileTypes: true });
  return names.reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath, entry.name)).size : 0),
    0,
  );
}

function milliseconds(name) {
  const start = Date.now();
  const { at, y } = JSON.parse(
    execFileSync(process.execPath, [`${name}.mjs`], { cwd: folder, encoding: 'utf8' }),
  );
  const wanted = forward(x, weights).at(-1);
  if (y.some((value, i) => !(Math.abs(value - wanted[i]) < 1e-3)))
    throw new Error(`${name} answers ${y}, not ${wanted}`);
  return at - start;
}

try {
  await writeModels();
  installOurs();
  symlinkSync(
    join(root, 'bench/node_modules/onnxruntime-node'),
    join(folder, 'node_modules/onnxruntime-node'),
  );
  for (const [name, script] of Object.entries(SCRIPTS)) writeFileSync(join(folder, `${name}.mjs`), script);
  const names = Object.keys(SCRIPTS);
  const times = new Map(names.map((name) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    // The first round reads the files from the disk for all that follow.
    for (const name of names)
      if (round > 0) times.get(name).push(milliseconds(name));
      else milliseconds(name);
  }
  const [node, ours, theirs] = names.map((name) => median(times.get(name)));
  const [size, peer] = ['drivetrain', 'onnxruntime-node'].map((name) =>
    sizeOf(join(folder, 'node_modules', name)),
  );
  const row = (name, ...cells) => console.log(name.padEnd(28), ...cells.map((cell) => cell.padStart(18)));
  row('', 'drivetrain', 'onnxruntime-node', 'ratio');
  row(
    'installed',
    `${(size / 1e6).toFixed(1)} MB`,
    `${(peer / 1e6).toFixed(1)} MB`,
    `${(peer / size).toFixed(1)} ×`,
  );
  row(
    'start to first answer',
    `${ours.toFixed(0)} ms`,
    `${theirs.toFixed(0)} ms`,
    `${(theirs / ours).toFixed(2)} ×`,
  );
  row(
    '  but for Node itself',
    `${(ours - node).toFixed(0)} ms`,
    `${(theirs - node).toFixed(0)} ms`,
    `${((theirs - node) / (ours - node)).toFixed(2)} ×`,
  );
  console.log(`Node alone: ${node.toFixed(0)} ms; medians of ${ROUNDS} starts each, in turn`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
