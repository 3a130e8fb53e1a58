import { mkdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AdamW,
  accuracy,
  crossEntropy,
  DataLoader,
  DrivetrainError,
  defaultPool,
  device,
  fit,
  Generator,
  Linear,
  type Module,
  quantizationReport,
  quantize,
  ReLU,
  Sequential,
  TensorDataset,
  WarmupCosineLR,
  writeCompressed,
  writeSafetensors,
} from '../index.js';
import { bytes, heading, keyValues, table } from '../text/index.js';
import type { Values } from './commands.js';
import { type Digits, FULL, loadDigits, PIXELS } from './demo-data.js';
import { serveDigits } from './demo-serving.js';

const HIDDEN = 128;
const BATCH = 32;
const LEARNING_RATE = 5e-3;
/** The share of its accuracy that the quantized model has to keep. */
const KEPT = 0.99;
const SEED = 1;
/** Rounds: how often each digit of the test is sent to the server. */
const SIZES = { whole: { epochs: 15, rounds: 5 }, quick: { epochs: 3, rounds: 1 } };

/** What a shell gives a process that SIGINT ended. */
const INTERRUPTED = 130;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** Trains, quantizes, saves and serves a model of handwritten digits. */
export async function run({ out, quick }: Values): Promise<number> {
  const folder = (out as string | undefined) ?? 'drivetrain-demo';
  const isMade = await makeFolder(folder);
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  process.once('SIGINT', interrupt);
  try {
    await demo(folder, SIZES[quick ? 'quick' : 'whole'], controller.signal);
    return 0;
  } catch (error) {
    // Where nothing was written to it yet.
    if (isMade) await rmdir(folder).catch(() => {});
    if (!controller.signal.aborted) throw error;
    console.log('\n  Stopped.');
    return INTERRUPTED;
  } finally {
    process.off('SIGINT', interrupt);
  }
}

/** Makes it before the work begins; says whether it was not there. */
async function makeFolder(folder: string): Promise<boolean> {
  try {
    return (await mkdir(folder, { recursive: true })) !== undefined;
  } catch (cause) {
    throw new DrivetrainError(
      'DT_IO',
      `Expected a folder to write to as --out but ${(cause as Error).message}.`,
      { cause },
    );
  }
}

async function demo(
  folder: string,
  { epochs, rounds }: { epochs: number; rounds: number },
  signal: AbortSignal,
): Promise<void> {
  const begin = performance.now();
  const { train, validation, test } = await loadDigits();
  const requests = rounds * test.count;
  const { isa, threads } = device.info();
  console.log(heading('Handwritten digits'));
  console.log(
    keyValues([
      [
        'data',
        `${train.count} digits to learn from, ${validation.count} to decide with, ${test.count} to be tested with; 8 × 8 pixels`,
      ],
      ['model', `${PIXELS}–${HIDDEN}–10, ReLU, cross-entropy, AdamW`],
      ['processor', `${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
    ]),
  );

  console.log(heading('Training'));
  const model = await trained(train, validation, epochs, signal);

  console.log(heading('Quantizing to INT8'));
  const scoreOn = (digits: Digits) => (own: Module) =>
    defaultPool.scope(() => accuracy(own.forward(digits.x), digits.labels).item());
  const small = quantize(model, {
    calibration: [validation.x],
    preserveAccuracy: KEPT,
    evaluate: scoreOn(validation),
  });
  console.log(indented(`${quantizationReport(model, small, [validation.x])}`));

  const [file, smallFile] = [join(folder, 'digits.safetensors'), join(folder, 'digits-int8.safetensors')];
  await writeSafetensors(file, model.stateDict());
  await writeCompressed(smallFile, small);
  const program = join(folder, 'predict.mjs');
  const source = programFor(test);
  await writeFile(program, source);
  const row = async (name: string, own: Module, path: string) => [
    name,
    percent(scoreOn(test)(own)),
    bytes((await stat(path)).size),
    path,
  ];
  console.log('');
  console.log(
    table(
      ['model', 'accuracy', 'size', 'file'],
      [await row('f32', model, file), await row('int8', small, smallFile)],
    ),
  );

  console.log(heading('Serving over HTTP'));
  signal.throwIfAborted();
  const served = await serveDigits(small, test, requests, signal);
  const quantile = (share: number) =>
    `${served.latencies[Math.min(requests - 1, Math.floor(share * requests))]!.toFixed(2)} ms`;
  console.log(
    keyValues([
      ['server', `${served.url}, in this process, as is the client`],
      [
        'requests',
        `${served.requests}, eight at a time: ${Math.round(served.requests / served.seconds)} a second`,
      ],
      ['accuracy', percent(served.accuracy)],
      ['latency', `median ${quantile(0.5)}, 99th percentile ${quantile(0.99)}`],
    ]),
  );

  console.log(heading('To go on'));
  console.log(`  ${program}:\n\n${indented(source, '    ')}`);
  console.log(`  npm install drivetrain && node ${program}`);
  console.log(`\n  All of this took ${((performance.now() - begin) / 1000).toFixed(1)} s.`);
}

async function trained(
  digits: Digits,
  validation: Digits,
  epochs: number,
  signal: AbortSignal,
): Promise<Sequential> {
  const generator = new Generator(SEED);
  const model = new Sequential(
    new Linear(PIXELS, HIDDEN, { generator }),
    new ReLU(),
    new Linear(HIDDEN, 10, { generator }),
  );
  const batches = (of: Digits, shuffle: boolean) =>
    new DataLoader(new TensorDataset(of.x, of.labels), { batchSize: BATCH, shuffle, seed: SEED });
  const data = batches(digits, true);
  const optimizer = new AdamW(model.parameters(), { lr: LEARNING_RATE, weightDecay: 0.01 });
  const totalSteps = epochs * data.length;
  await fit(model, data, {
    epochs,
    optimizer,
    loss: crossEntropy,
    metrics: { accuracy },
    schedule: new WarmupCosineLR(optimizer, { warmupSteps: Math.ceil(totalSteps / 20), totalSteps }),
    evaluate: batches(validation, false),
    progress: true,
    signal,
  });
  return model;
}

/** A program that reads the INT8 model and a digit. */
function programFor({ x, labels }: Digits): string {
  const pixels = Array.from(x.toArray().slice(0, PIXELS) as Float32Array, (value) =>
    (value * FULL).toString(FULL + 1),
  ).join('');
  return `import { argmax, Linear, ReLU, readCompressed, Sequential, softmax, tensor } from 'drivetrain';

const architecture = new Sequential(new Linear(${PIXELS}, ${HIDDEN}), new ReLU(), new Linear(${HIDDEN}, 10));
const model = await readCompressed(\`\${import.meta.dirname}/digits-int8.safetensors\`, architecture);

// A ${(labels.toArray() as Int32Array)[0]} of the test digits: 8 × 8 pixels from 0 to ${FULL}, a character each.
const digit = '${pixels}';
const probabilities = softmax(model.forward(tensor([[...digit].map((pixel) => parseInt(pixel, ${FULL + 1}) / ${FULL})])));
console.log(\`This is a \${argmax(probabilities).item()}:\`, probabilities);
`;
}

const indented = (text: string, indent = '  ') => text.replace(/^(?=.)/gm, indent);
