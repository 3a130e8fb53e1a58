/** From handwritten digits to a served INT8 model: the whole way through drivetrain in one program. */

import { createHash } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { device, type Module, quantize, readSafetensors, writeSafetensors } from 'drivetrain';
import type { InferenceServer } from 'drivetrain/serve';
import { heading, keyValues, paint, styleOf, table } from '#text';
import { type Digits, loadMnist, PIXELS, toInputs } from './data.js';
import { drawDigits } from './draw-digits.js';
import { measure, type ServedReport, scrape, startServer } from './serving.js';
import { accuracyOf, createModel, logitsOf, mostLikely, train } from './train.js';

const SEED = 1;
const SHOWN_MISTAKES = 6;

const USAGE = `Usage: npm start -- [--once] [--threads N] [--json FILE]
  --once       ends when the requests are answered, instead of leaving the server running
  --threads N  native threads (the results do not depend on it)
  --json FILE  writes the figures of the summary to FILE`;

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
const kilobytes = (bytes: number) => `${(bytes / 1024).toFixed(1)} kB`;

interface Saved {
  readonly model: Module;
  readonly bytes: number;
  readonly identical: boolean;
}

/** Saves a model, loads it into a fresh one and compares the logits of all test digits, bit by bit. */
async function saveAndLoad(
  model: Module,
  fresh: Module,
  file: string,
  logits: Float32Array,
  test: Digits,
): Promise<Saved> {
  await writeSafetensors(file, model.stateDict());
  const { tensors } = await readSafetensors(file);
  fresh.loadStateDict(tensors);
  for (const tensor of Object.values(tensors)) tensor.dispose();
  const again = await logitsOf(fresh, test);
  const identical = Buffer.compare(Buffer.from(logits.buffer), Buffer.from(again.buffer)) === 0;
  return { model: fresh, bytes: (await stat(file)).size, identical };
}

function fingerprint(model: Module): string {
  const hash = createHash('sha256');
  for (const tensor of Object.values(model.stateDict())) hash.update(tensor.toArray());
  return hash.digest('hex').slice(0, 16);
}

function showMistakes(test: Digits, predictions: Uint8Array): void {
  const style = styleOf();
  const mistakes = Array.from(predictions.keys()).filter((i) => predictions[i] !== test.labels[i]);
  const shown = mistakes.slice(0, SHOWN_MISTAKES);
  const images = shown.map((i) => test.pixels.subarray(i * PIXELS, (i + 1) * PIXELS));
  console.log(`\n  ${mistakes.length} of ${test.count} are misread; some of them:\n`);
  console.log(
    drawDigits(
      images,
      shown.map((i) => `true ${test.labels[i]}, said ${paint(String(predictions[i]), 'red', style)}`),
    ),
  );
}

function servedRow(
  name: string,
  { accuracy, errors, requests, requestsPerSecond, p50, p99, meanBatch }: ServedReport,
) {
  return [
    name,
    requests,
    errors,
    percent(accuracy),
    Math.round(requestsPerSecond),
    p50.toFixed(1),
    p99.toFixed(1),
    meanBatch.toFixed(1),
  ];
}

/** Leaves the server to the user until Ctrl-C, then drains it. */
async function waitForInterrupt(server: InferenceServer, folder: string, test: Digits): Promise<void> {
  const file = join(folder, 'digit.json');
  const data = Array.from(toInputs(test, [0]), (value) => Number(value.toFixed(4)));
  const inputs = [{ name: 'pixels', shape: [1, PIXELS], datatype: 'FP32', data }];
  await writeFile(file, JSON.stringify({ inputs }));
  console.log(heading('The server is yours'));
  console.log(
    `  A digit (a ${test.labels[0]}) to be read:\n\n  curl -s ${server.url}/v2/models/digits-int8/infer --data @${file}\n`,
  );
  console.log(`  Metrics:\n\n  curl -s ${server.url}/metrics\n\n  Ctrl-C ends it.`);
  await new Promise<void>((resolve) => process.once('SIGINT', resolve));
  console.log('\n  Draining …');
  await server.close();
  console.log('  Done.');
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      once: { type: 'boolean' },
      threads: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  return { ...values, threads: values.threads === undefined ? undefined : Number(values.threads) };
}

async function main(): Promise<void> {
  const options = readArguments();
  if (options.help) {
    console.log(USAGE);
    return;
  }
  if (options.threads !== undefined) device.setThreads(options.threads);
  const { isa, threads } = device.info();

  console.log(heading('Digits'));
  const { train: digits, test } = await loadMnist();
  console.log(
    keyValues([
      ['data', `MNIST, ${digits.count} digits to learn from and ${test.count} to be tested with`],
      ['model', '784–256–128–10, ReLU, cross-entropy, AdamW with warm-up and cosine'],
      ['processor', `${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`],
    ]),
  );

  console.log(heading('Training'));
  const model = createModel(SEED);
  const training = await train(model, digits, test);
  const logits = await logitsOf(model, test);
  const accuracy = accuracyOf(mostLikely(logits), test);
  console.log(
    keyValues([
      ['time', `${training.seconds.toFixed(1)} s for ${training.steps} steps, each one native call`],
      [
        'memory',
        `${kilobytes(training.memory.planned)} of temporaries a step, ${kilobytes(training.memory.naive)} without a plan`,
      ],
      ['weights', `${fingerprint(model)} (the same with any number of threads)`],
    ]),
  );
  showMistakes(test, mostLikely(logits));

  console.log(heading('Compressing and saving'));
  const small = quantize(model);
  const smallLogits = await logitsOf(small, test);
  const smallAccuracy = accuracyOf(mostLikely(smallLogits), test);
  const folder = await mkdtemp(join(tmpdir(), 'drivetrain-digits-'));
  const full = await saveAndLoad(model, createModel(0), join(folder, 'digits.safetensors'), logits, test);
  const int8 = await saveAndLoad(
    small,
    quantize(createModel(0)),
    join(folder, 'digits-int8.safetensors'),
    smallLogits,
    test,
  );
  const same = (saved: Saved) => (saved.identical ? 'identical outputs' : 'DIFFERENT OUTPUTS');
  console.log(
    table(
      ['model', 'accuracy', 'file', 'loaded back'],
      [
        ['f32', percent(accuracy), kilobytes(full.bytes), same(full)],
        ['int8', percent(smallAccuracy), kilobytes(int8.bytes), same(int8)],
      ],
    ),
  );

  console.log(heading('Serving'));
  const server = await startServer({ 'digits-f32': full.model, 'digits-int8': int8.model });
  const served = {
    f32: await measure(server, 'digits-f32', test),
    int8: await measure(server, 'digits-int8', test),
  };
  console.log(
    table(
      ['model', 'requests', 'errors', 'accuracy', 'requests/s', 'p50 ms', 'p99 ms', 'mean batch'],
      [servedRow('f32', served.f32), servedRow('int8', served.int8)],
    ),
  );
  console.log(`\n  /metrics gives ${(await scrape(server)).size} samples.`);

  console.log(heading('Summary'));
  console.log(
    table(
      ['', 'f32', 'int8', ''],
      [
        [
          'accuracy',
          percent(accuracy),
          percent(smallAccuracy),
          `${((smallAccuracy - accuracy) * 100).toFixed(2)} points`,
        ],
        [
          'file',
          kilobytes(full.bytes),
          kilobytes(int8.bytes),
          `${(full.bytes / int8.bytes).toFixed(2)} times smaller`,
        ],
        [
          'accuracy over HTTP',
          percent(served.f32.accuracy),
          percent(served.int8.accuracy),
          `first ${served.f32.requests} test digits`,
        ],
        [
          'requests/s',
          Math.round(served.f32.requestsPerSecond),
          Math.round(served.int8.requestsPerSecond),
          'client on the same processors',
        ],
        [
          'training',
          `${training.seconds.toFixed(1)} s`,
          '',
          `${Math.round(training.samplesPerSecond)} samples/s`,
        ],
      ],
    ),
  );
  if (options.json !== undefined) {
    const { int8: load } = served;
    const figures = {
      accuracy: { f32: accuracy, int8: smallAccuracy },
      train: { seconds: training.seconds, samplesPerSecond: training.samplesPerSecond },
      files: { f32: full.bytes, int8: int8.bytes },
      serve: {
        requests: served.f32.requests + load.requests,
        errors: served.f32.errors + load.errors,
        rps: load.requestsPerSecond,
        p50: load.p50,
        p99: load.p99,
        meanBatch: load.meanBatch,
      },
      isa,
      threads,
    };
    await writeFile(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  }
  if (!full.identical || !int8.identical) process.exitCode = 1;
  if (options.once) await server.close();
  else await waitForInterrupt(server, folder, test);
  await rm(folder, { recursive: true });
}

try {
  await main();
} catch (error) {
  const known = error instanceof Error && 'code' in error;
  console.error(known ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 1;
}
