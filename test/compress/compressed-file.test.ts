import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AdamW,
  Conv1d,
  cast,
  Dropout,
  defaultPool,
  distillationLoss,
  FakeQuantizedLinear,
  LayerNorm,
  Linear,
  type Module,
  PrunedOptimizer,
  Pruner,
  prepareQat,
  pruneUnits,
  QuantizedLinear,
  quantize,
  ReLU,
  readCompressed,
  readSafetensors,
  Sequential,
  StaticQuantizedLinear,
  tensor,
  valueAndGrad,
  writeCompressed,
  writeSafetensors,
} from 'drivetrain';
import { afterAll, describe, expect, test } from 'vitest';
import { bothWays1, contentOf, expectSameBits, rejectionOf } from '../ops/support.js';
import { Net, numbers, random } from './support.js';

const folder = mkdtempSync(join(tmpdir(), 'compressed-'));
afterAll(() => rm(folder, { recursive: true }));
let files = 0;
const fresh = () => join(folder, `${files++}.safetensors`);

const mixed = () =>
  new Sequential(
    new Linear(12, 20),
    new ReLU(),
    new LayerNorm(20),
    new Dropout(0.1),
    new Linear(20, 8, { bias: false }),
  ).eval() as Sequential;

describe('what is written comes back with the same outputs:', () => {
  const x = random(6, 12);
  test.each<[string, () => Module, (model: Module) => Module]>([
    ['dynamic INT8', mixed, (model) => quantize(model)],
    ['static INT8', mixed, (model) => quantize(model, { calibration: [random(30, 12)] })],
    ['some layers in f32', mixed, (model) => quantize(model, { exclude: ['layers.0'] })],
    [
      'a model of one’s own, with fewer units',
      () => new Net(),
      (net) => pruneUnits(net, { amount: 0.4, layers: { first: 'blocks.0' } }),
    ],
    [
      'fewer units, in INT8',
      () => new Net(),
      (net) => quantize(pruneUnits(net, { amount: 0.4, layers: { first: 'blocks.0' } })),
    ],
    [
      'training with fake quantization',
      mixed,
      (model) => {
        const qat = prepareQat(model, { averagingConstant: 0.25 });
        qat.forward(x);
        return qat.eval();
      },
    ],
    ['nothing compressed', mixed, (model) => model],
  ])('%s', async (_, make, compress) => {
    const small = compress(make());
    const path = fresh();
    await writeCompressed(path, small, { author: 'me' });
    const loaded = (await readCompressed(path, make())).eval();
    expectSameBits(await bothWays1((t) => loaded.forward(t!), [x]), contentOf(small.forward(x)));
    expect(Object.keys(loaded.stateDict())).toEqual(Object.keys(small.stateDict()));
    expect((await readSafetensors(path)).metadata.author).toBe('me');
  });
});

test('units pruned, weights pruned under a teacher with fake quantization, integers, saved, loaded', async () => {
  const [x, labels] = [random(64, 12), tensor(Int32Array.from({ length: 64 }, (_, i) => i % 4))];
  const teacher = new Net();
  const student = pruneUnits(new Net(), { amount: 0.5, layers: { first: 'blocks.0' } });
  const qat = prepareQat(student);
  const pruner = new Pruner(qat);
  pruner.prune(0.6);
  const parameters = qat.parameters();
  const optimizer = new PrunedOptimizer(new AdamW(parameters, { lr: 0.01 }), pruner);
  const run = valueAndGrad(() => distillationLoss(qat.forward(x), teacher.forward(x), labels), parameters);
  const first = run().value.item();
  for (let i = 0; i < 80; i++) defaultPool.scope(() => optimizer.step(run().grads));
  expect(run().value.item()).toBeLessThan(0.8 * first);
  qat.eval();
  const small = quantize(qat) as Net;
  expect(small.first).toBeInstanceOf(StaticQuantizedLinear);
  // Pruned weights are zeros among the integers too.
  const integers = small.stateDict()['first.weight']!;
  expect(integers.shape).toEqual([16, 12]);
  const mask = numbers(pruner.stateDict()['first.weight']!);
  numbers(integers).forEach((q, i) => {
    if (mask[i] === 0) expect(q).toBe(0);
  });
  const path = fresh();
  await writeCompressed(path, small);
  const loaded = await readCompressed(path, new Net());
  expectSameBits(contentOf(loaded.forward(x)), contentOf(small.forward(x)));
});

describe('readCompressed', () => {
  test('takes an architecture that is compressed otherwise', async () => {
    const small = quantize(mixed());
    const path = fresh();
    await writeCompressed(path, small);
    const loaded = (await readCompressed(path, prepareQat(mixed()))) as Sequential;
    expect(loaded.layers[0]).toBeInstanceOf(QuantizedLinear);
    expect(loaded.layers[0]).not.toBeInstanceOf(FakeQuantizedLinear);
  });

  test('refuses arguments that are missing, exchanged or a class', async () => {
    const path = fresh();
    for (const run of [
      () => writeCompressed(mixed() as never, path as never),
      () => readCompressed(path, undefined as never),
      () => readCompressed(path, Sequential as never),
    ]) {
      const { code, message } = await rejectionOf(run());
      expect(code).toBe('DT_INVALID_ARGUMENT');
      expect(message).toContain('Expected a path and a model (new Model(), not its class)');
    }
  });

  test('reading leaves nothing but the model, in the dtype that was written', async () => {
    const make = () => {
      const layer = new Conv1d(2, 2, 1);
      const { weight, bias } = layer;
      return Object.assign(layer, { weight: cast(weight, 'f64'), bias: cast(bias!, 'f64') });
    };
    const path = fresh();
    await writeCompressed(path, make());
    const architecture = make();
    const before = defaultPool.statistics.blocks;
    const loaded = await readCompressed(path, architecture);
    expect(loaded.parameters().map(({ dtype }) => dtype)).toEqual(['f64', 'f64']);
    expect(defaultPool.statistics.blocks - before).toBe(2);
  });

  test('refuses files and architectures that do not fit, and leaves the architecture as it was', async () => {
    const path = fresh();
    await writeCompressed(path, quantize(mixed()));
    const other = new Sequential(new LayerNorm(20), new Linear(20, 8));
    const before = Object.values(other.stateDict()).map(contentOf);
    expect((await rejectionOf(readCompressed(path, other))).message).toContain('layers.0');
    const longer = new Sequential(...mixed().layers, new Linear(8, 2));
    expect((await rejectionOf(readCompressed(path, longer))).code).toBe('DT_INVALID_ARGUMENT');
    Object.values(other.stateDict()).forEach((t, i) => {
      expectSameBits(contentOf(t), before[i]!);
    });
    const plain = fresh();
    await writeSafetensors(plain, mixed().stateDict());
    expect((await rejectionOf(readCompressed(plain, mixed()))).message).toContain('readSafetensors');
  });

  test('refuses sizes of layers that are not those of its tensors, and takes no memory for them', async () => {
    const path = fresh();
    await writeCompressed(path, quantize(mixed()));
    const { tensors, metadata } = await readSafetensors(path);
    const said = JSON.parse(metadata['drivetrain.compression']!);
    said.layers['layers.0'].shape = [16_000, 16_000];
    const wrong = fresh();
    await writeSafetensors(wrong, tensors, { 'drivetrain.compression': JSON.stringify(said) });
    const architecture = mixed();
    const { current, peak } = defaultPool.statistics;
    const refusal = await rejectionOf(readCompressed(wrong, architecture));
    expect([refusal.code, refusal.message]).toEqual(['DT_CORRUPT_FILE', expect.stringContaining('layers.0')]);
    expect(defaultPool.statistics.current).toBe(current);
    expect(defaultPool.statistics.peak - peak).toBeLessThan(1e6);
  });

  test.each([
    'nonsense',
    'null',
    '{"version":2,"layers":{}}',
    '{"version":1}',
    '{"version":1,"layers":{"layers.0":{"kind":"int4","shape":[20,12],"bias":true}}}',
    '{"version":1,"layers":{"layers.0":{"kind":"f32","shape":[20,-12],"bias":true}}}',
    '{"version":1,"layers":{"layers.0":null}}',
  ])('refuses metadata that says %s', async (text) => {
    const path = fresh();
    await writeSafetensors(path, mixed().stateDict(), { 'drivetrain.compression': text });
    expect((await rejectionOf(readCompressed(path, mixed()))).code).toBe('DT_CORRUPT_FILE');
  });
});
