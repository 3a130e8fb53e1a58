import { setImmediate as turn } from 'node:timers/promises';
import {
  AdamW,
  accuracy,
  add,
  type Batches,
  CheckpointManager,
  CosineAnnealingLR,
  clone,
  compile,
  crossEntropy,
  DataLoader,
  Dropout,
  type EpochReport,
  type FitOptions,
  type FitProgress,
  fit,
  Generator,
  GradientAccumulator,
  grad,
  Linear,
  Module,
  mseLoss,
  mul,
  ones,
  ReduceLROnPlateau,
  ReLU,
  randn,
  reshape,
  Sequential,
  SGD,
  slice,
  type Tensor,
  TensorDataset,
  tensor,
  wrap,
} from 'drivetrain';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { rejectionOf, temporaryFolder } from '../io/support.js';
import { bitsOf } from '../ops/support.js';
import { watchPool } from '../program/support.js';

const SAMPLES = 96;

/** Three classes of points round three corners. */
const x = randn([SAMPLES, 2], { generator: new Generator(1) });
const y = tensor(Int32Array.from({ length: SAMPLES }, (_, i) => i % 3));
{
  const points = x.borrow() as Float32Array;
  for (let i = 0; i < SAMPLES; i++) points[2 * i + (i % 3 === 2 ? 1 : 0)]! += [2, -2, 2][i % 3]!;
}

const dataOf = (options: object = {}) =>
  new DataLoader(new TensorDataset(x, y), { batchSize: 16, shuffle: true, seed: 3, ...options });

function run(options: Partial<FitOptions> = {}) {
  const generator = new Generator(5);
  const model = new Sequential(
    new Linear(2, 16, { generator }),
    new ReLU(),
    new Dropout(0.2, { generator }),
    new Linear(16, 3, { generator }),
  );
  const optimizer = new AdamW(model.namedParameters(), { lr: 0.01 });
  const schedule = new CosineAnnealingLR(optimizer, { tMax: 40 });
  const data = dataOf();
  const all = { epochs: 4, optimizer, schedule, loss: crossEntropy, parts: { generator }, ...options };
  return { model, optimizer, schedule, generator, data, fit: () => fit(model, data, all) };
}

const bits = (state: Record<string, Tensor>) =>
  Object.entries(state).map(([name, one]) => [name, bitsOf(one.toArray())]);

/** Everything of a run that later steps depend on. */
const stateOf = ({ model, optimizer, schedule, generator, data }: ReturnType<typeof run>) => [
  bits(model.stateDict()),
  bits(optimizer.stateDict()),
  bits(generator.stateDict()),
  schedule.stateDict(),
  data.stateDict(),
];

describe('training', () => {
  test('gives the bits of a loop that is written out, and the means of its figures', async () => {
    const fitted = run({ metrics: { accuracy } });
    const report = await fitted.fit();
    const { model, optimizer, schedule, data } = run();
    const step = compile((input: Tensor, labels: Tensor) => {
      const output = model.forward(input);
      const loss = crossEntropy(output, labels);
      optimizer.step(grad(loss, model.parameters()));
      return [loss, accuracy(output, labels)];
    });
    for (const epoch of [1, 2, 3, 4]) {
      let [loss, right] = [0, 0];
      for await (const [input, labels] of data) {
        const [value, share] = (await step(input, labels)).map((one) => one.item());
        loss += value!;
        right += share!;
        schedule.step();
      }
      const { figures } = report.epochs[epoch - 1]!;
      // Means of six batches of one size, in another order of rounding.
      expect(figures.loss).toBeCloseTo(loss / 6, 12);
      expect(figures.accuracy).toBeCloseTo(right / 6, 12);
    }
    expect(bits(fitted.model.stateDict())).toEqual(bits(model.stateDict()));
    expect(bits(fitted.optimizer.stateDict())).toEqual(bits(optimizer.stateDict()));
    expect(report).toMatchObject({ steps: 24, stoppedEarly: false });
    expect(report.epochs.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4]);
    expect(report.memory!.planned).toBeGreaterThan(0);
  });

  test('learns, and evaluates in evaluation mode on all that there is', async () => {
    const test = dataOf({ batchSize: 36, shuffle: false });
    const { model, fit } = run({ epochs: 15, metrics: { accuracy }, evaluate: test });
    const { epochs } = await fit();
    expect(epochs[14]!.evaluation!.accuracy).toBeGreaterThan(0.9);
    expect(epochs[14]!.evaluation!.loss).toBeLessThan(epochs[0]!.evaluation!.loss! / 2);
    // Weighted by samples, in batches of 36, 36 and 24: what all samples together come to. The model is left in evaluation mode.
    const output = model.forward(x);
    expect(epochs[14]!.evaluation!.accuracy).toBeCloseTo(accuracy(output, y).item(), 6);
    expect(epochs[14]!.evaluation!.loss).toBeCloseTo(crossEntropy(output, y).item(), 6);
  });

  test('takes figures from a function, calls back in order, and lets callbacks change the rate', async () => {
    const events: string[] = [];
    const reports: EpochReport[] = [];
    const progress: FitProgress[] = [];
    const model = new Sequential(new Linear(2, 3));
    const optimizer = new SGD(model.parameters(), { lr: 1 });
    const plateau = new ReduceLROnPlateau(optimizer, { patience: 0, mode: 'max' });
    await fit(model, dataOf(), {
      epochs: 3,
      optimizer,
      loss: crossEntropy,
      evaluate: async () => {
        await turn();
        events.push('evaluate');
        return { score: 0.5 };
      },
      callbacks: [
        async (report) => {
          await turn();
          events.push('first');
          reports.push(report);
        },
        ({ evaluation }) => {
          events.push('second');
          plateau.step(evaluation!.score!);
        },
      ],
      onProgress: (now) => progress.push(now),
    });
    expect(events).toEqual(Array(3).fill(['evaluate', 'first', 'second']).flat());
    expect(reports.map(({ evaluation }) => evaluation)).toEqual(Array(3).fill({ score: 0.5 }));
    // The first call has nothing to improve on; the second and the third do not.
    expect(optimizer.paramGroups[0]!.lr).toBeCloseTo(0.01, 12);
    expect(progress.map(({ epoch, samples }) => [epoch, samples]).slice(5, 8)).toEqual([
      [1, 96],
      [2, 16],
      [2, 32],
    ]);
    expect(progress.at(-1)!.figures).toEqual(reports.at(-1)!.figures);
  });

  test('works through an accumulator, over groups, and with any target', async () => {
    const model = new Linear(2, 2, { generator: new Generator(2) });
    const [weight, bias] = model.parameters();
    const sgd = new SGD([{ params: [weight!] }, { params: [bias!], lr: 0.2 }], { lr: 0.1 });
    const optimizer = new GradientAccumulator(sgd, 2);
    const data = new DataLoader(new TensorDataset(x, x), { batchSize: 16 });
    const { epochs } = await fit(model, data, { epochs: 30, optimizer, loss: mseLoss });
    expect(sgd.steps).toBe(90);
    expect(epochs[29]!.figures.loss).toBeLessThan(0.02);
  });
});

describe('a model of several inputs', () => {
  /** a · weight, where `mask` is 1, and the bias else. */
  abstract class Masked extends Module {
    readonly layer = new Linear(2, 3, { generator: new Generator(2) });

    protected mask(a: Tensor, mask: Tensor): Tensor {
      return this.layer.forward(mul(a, mask));
    }
  }
  class ByArguments extends Masked {
    forward(a: Tensor, { mask, shift }: { mask: Tensor; shift?: readonly Tensor[] }): Tensor {
      return (shift ?? []).reduce((sum, one) => add(sum, one), this.mask(a, mask));
    }
  }
  class ByName extends Masked {
    forward({ a, mask }: { a: Tensor; mask: Tensor }): Tensor {
      return this.mask(a, mask);
    }
  }
  class ByMultiplication extends Masked {
    forward(a: Tensor): Tensor {
      return this.layer.forward(a);
    }
  }
  const masks = tensor(
    Float32Array.from({ length: 2 * SAMPLES }, (_, i) => Number(i % 3 > 0)),
    {
      shape: [SAMPLES, 2],
    },
  );
  const samples = Array.from({ length: SAMPLES }, (_, i) => {
    const rowOf = (t: Tensor) => reshape(slice(t, 0, i, i + 1), [t.shape[1]!]);
    return { a: rowOf(x), mask: rowOf(masks), label: BigInt(i % 3) };
  });
  const trained = async (
    model: Module,
    load: (options: { batchSize: number; shuffle?: boolean; seed?: number }) => Batches,
  ) => {
    const data = load({ batchSize: 36, shuffle: true, seed: 3 });
    const evaluate = load({ batchSize: 40 });
    const optimizer = new AdamW(model.namedParameters(), { lr: 0.05 });
    const options = { epochs: 3, optimizer, loss: crossEntropy, metrics: { accuracy }, evaluate };
    const { epochs } = await fit(model, data, options);
    expect(epochs[2]!.figures.loss).toBeLessThan(epochs[0]!.figures.loss!);
    return [bits(model.stateDict()), epochs.map(({ figures, evaluation }) => [figures, evaluation])];
  };

  test('is called with its arguments, or with one object, and learns the same as by one tensor', async () => {
    const masked = samples.map(({ a, mask, label }) => [mul(a, mask), label] as const);
    const want = await trained(new ByMultiplication(), (options) => new DataLoader(masked, options));
    const byArguments = samples.map(({ a, mask, label }) => [[a, { mask }], label] as const);
    expect(await trained(new ByArguments(), (options) => new DataLoader(byArguments, options))).toEqual(want);
    const byName = samples.map(({ a, mask, label }) => [{ a, mask }, label] as const);
    expect(await trained(new ByName(), (options) => new DataLoader(byName, options))).toEqual(want);
  });

  test('takes batches of one structure and of another, and what lies deeper', async () => {
    const model = new ByArguments();
    const shapes = new Set<string>();
    const forward = model.forward.bind(model);
    model.forward = (a, options) => {
      shapes.add(Object.keys(options).join());
      return forward(a, options);
    };
    const dataset = {
      length: 6,
      batch: ([first]: Uint32Array) => {
        const [a, mask] = [ones([2, 2]), ones([2, 2])];
        const shift = first! % 2 === 0 ? { shift: [ones([2, 3]), ones([3])] } : {};
        return [[a, { mask, ...shift }], tensor(Int32Array.of(0, 1))] as const;
      },
    };
    const optimizer = new SGD(model.namedParameters(), { lr: 0.1 });
    const data = new DataLoader(dataset, { batchSize: 1 });
    const { steps } = await fit(model, data, { epochs: 2, optimizer, loss: crossEntropy });
    expect(steps).toBe(12);
    expect([...shapes].sort()).toEqual(['mask', 'mask,shift']);
  });

  test('counts samples by the targets: inputs may have others, and those first', async () => {
    const model = new ByName();
    const mask = tensor([1, 0]);
    const rows = (t: Tensor, indices: Uint32Array) => clone(slice(t, 0, indices[0]!, indices.at(-1)! + 1));
    const batch = (indices: Uint32Array) =>
      [{ mask: clone(mask), a: rows(x, indices) }, rows(y, indices)] as const;
    const data = new DataLoader({ length: SAMPLES, batch }, { batchSize: 36 });
    const optimizer = new SGD(model.namedParameters(), { lr: 0 });
    const { epochs } = await fit(model, data, { epochs: 1, optimizer, loss: crossEntropy });
    expect(epochs[0]!.figures.loss).toBeCloseTo(crossEntropy(model.forward({ a: x, mask }), y).item(), 6);
  });

  test('has its batches disposed', async () => {
    const model = new ByArguments();
    const given: Tensor[] = [];
    const batch = () => {
      const made = [[ones([2, 2]), { mask: ones([2, 2]) }], tensor(Int32Array.of(0, 1))] as const;
      given.push(made[0][0], made[0][1].mask, made[1]);
      return made;
    };
    const optimizer = new SGD(model.namedParameters(), { lr: 0.1 });
    await fit(model, new DataLoader({ length: 3, batch }, { batchSize: 1 }), {
      epochs: 1,
      optimizer,
      loss: crossEntropy,
    });
    expect(given).toHaveLength(9);
    for (const { storage } of given) expect(storage.disposed).toBe(true);
  });

  test.each<[string, () => unknown, string]>([
    ['no array', () => ({ x: ones([2, 2]) }), '[inputs, …targets]'],
    ['an array of nothing', () => [], '[inputs, …targets]'],
    ['an array of numbers', () => [[1, 2], ones([2])], 'received number'],
    ['a typed array', () => [{ a: new Float32Array(2) }, ones([2])], 'wrap(array)'],
    [
      'a map of tensors',
      () => [new Map([['a', ones([2, 2])]]), ones([2])],
      'received an object of the class Map',
    ],
    ['text', () => [ones([2, 2]), ['a', 'b']], 'received string'],
  ])('refuses a batch that is %s, and changes nothing', async (_, batch, said) => {
    const model = new Linear(2, 3);
    const before = bits(model.stateDict());
    const data = new DataLoader({ length: 1, batch }, { batchSize: 1 }) as Batches;
    const optimizer = new SGD(model.parameters(), { lr: 0.1 });
    const refusal = await rejectionOf(fit(model, data, { epochs: 1, optimizer, loss: crossEntropy }));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(said);
    expect(bits(model.stateDict())).toEqual(before);
  });
});

describe('early stopping', () => {
  test('ends after epochs without improvement, with the weights of the best', async () => {
    const scores = [1, 0.5, 0.7, 0.49, 0.495, NaN, 0.1];
    const weights: unknown[] = [];
    const training = run({
      epochs: 7,
      evaluate: () => {
        weights.push(bits(training.model.stateDict()));
        return { score: scores[weights.length - 1]! };
      },
      earlyStopping: { patience: 2, metric: 'score' },
    });
    const report = await training.fit();
    expect([report.epochs.length, report.stoppedEarly]).toEqual([6, true]);
    expect(bits(training.model.stateDict())).toEqual(weights[3]);
  });

  test('counts what is larger as better where it is told so, and changes below minDelta as none', async () => {
    const epochsWith = async (scores: number[], stopping: object) => {
      let next = 0;
      const { epochs } = await run({
        epochs: scores.length,
        evaluate: () => ({ score: scores[next++]! }),
        earlyStopping: { patience: 1, metric: 'score', ...stopping },
      }).fit();
      return epochs.length;
    };
    expect(await epochsWith([1, 2, 3, 2.9, 9], { mode: 'max' })).toBe(4);
    expect(await epochsWith([1, 2, 3], { mode: 'min' })).toBe(2);
    expect(await epochsWith([1, 0.8, 0.75, 0], { minDelta: 0.1 })).toBe(3);
    expect(await epochsWith([NaN, 1], {})).toBe(1);
  });
});

describe('checkpoints', () => {
  test('training that was interrupted gives the bits of training that never was', async () => {
    const stop = (epochs: number) => ({ epochs, earlyStopping: { patience: 9 } });
    const whole = run(stop(5));
    const report = await whole.fit();
    const folder = temporaryFolder();
    const first = run({ ...stop(5), epochs: 2, checkpoints: new CheckpointManager(folder) });
    await first.fit();
    // Whatever its own seeds and weights are, the second goes on where the first was.
    const second = run({ ...stop(5), checkpoints: new CheckpointManager(folder) });
    second.generator.loadStateDict(new Generator(99).stateDict());
    const rest = await second.fit();
    expect(rest.epochs.map(({ epoch, figures }) => [epoch, figures])).toEqual(
      report.epochs.slice(2).map(({ epoch, figures }) => [epoch, figures]),
    );
    expect(rest.steps).toBe(report.steps);
    expect(stateOf(second)).toEqual(stateOf(whole));
    const found = await new CheckpointManager(folder).list();
    expect(found.map(({ step }) => step)).toEqual([30, 24, 18]);
    expect(found[0]!.metrics).toEqual(rest.epochs.at(-1)!.figures);
  });

  test('a run that had stopped early stays stopped, with its best weights', async () => {
    const folder = temporaryFolder();
    const training = (scores: number[]) => {
      let next = 0;
      return run({
        epochs: 9,
        evaluate: () => ({ loss: scores[next++]! }),
        earlyStopping: { patience: 2 },
        checkpoints: new CheckpointManager(folder),
      });
    };
    const first = training([3, 1, 2, 2]);
    expect((await first.fit()).epochs).toHaveLength(4);
    const second = training([]);
    expect(await second.fit()).toMatchObject({ epochs: [], stoppedEarly: true, steps: 24 });
    expect(bits(second.model.stateDict())).toEqual(bits(first.model.stateDict()));
  });
});

describe('an end before the end', () => {
  test('an abort lets the step end, leaves all whole, and training goes on with the next batch', async () => {
    const whole = run({ epochs: 2 });
    await whole.fit();
    const controller = new AbortController();
    let steps = 0;
    const onProgress = () => {
      if (++steps === 4) controller.abort('stop');
    };
    const cut = run({ epochs: 2, onProgress, signal: controller.signal });
    expect(await rejectionOf(cut.fit())).toMatchObject({ code: 'DT_ABORTED', cause: 'stop' });
    expect([steps, cut.optimizer.steps, cut.schedule.steps, cut.data.stateDict().position]).toEqual([
      4, 4, 4, 4,
    ]);
    const { model, optimizer, schedule, data } = cut;
    await fit(model, data, { epochs: 2, optimizer, schedule, loss: crossEntropy });
    expect(stateOf(cut)).toEqual(stateOf(whole));
  });

  test('an abort in an evaluation ends it, and the next evaluation is over all', async () => {
    const controller = new AbortController();
    let batches = 0;
    const dataset = {
      length: 4,
      batch: (indices: Uint32Array) => {
        if (++batches === 2) controller.abort();
        return [tensor([[1, 2]]), tensor(Int32Array.of(indices[0]! % 3))] as [Tensor, Tensor];
      },
    };
    const evaluate = new DataLoader(dataset, { batchSize: 1, prefetch: 0 });
    const training = run({ evaluate, signal: controller.signal });
    expect((await rejectionOf(training.fit())).code).toBe('DT_ABORTED');
    expect(training.optimizer.steps).toBe(6);
    batches = 2;
    const { model, optimizer, data } = training;
    await fit(model, data, { epochs: 1, optimizer, loss: crossEntropy, evaluate });
    expect(batches).toBe(6);
  });

  test('a step that refuses its gradients, a callback and a dataset end training with their error', async () => {
    const model = new Sequential(new Linear(2, 3));
    const optimizer = new SGD(model.parameters(), { lr: 0.1, nonFinite: 'throw' });
    const before = bits(model.stateDict());
    const spoilt = new DataLoader(
      { length: 2, batch: () => [wrap(new Float32Array([NaN, 1]), [1, 2]), wrap(Int32Array.of(0))] as const },
      { batchSize: 1 },
    );
    const failing = fit(model, spoilt, { epochs: 1, optimizer, loss: crossEntropy });
    expect((await rejectionOf(failing)).code).toBe('DT_NON_FINITE');
    expect(bits(model.stateDict())).toEqual(before);
    const mislabelled = new DataLoader(new TensorDataset(x, tensor(new Int32Array(SAMPLES).fill(3))), {
      batchSize: 16,
    });
    const refusing = fit(model, mislabelled, { epochs: 1, optimizer, loss: crossEntropy });
    expect((await rejectionOf(refusing)).message).toContain('received 3 at [0]');
    expect(bits(model.stateDict())).toEqual(before);
    const failure = new Error('mine');
    const callbacks = [
      () => {
        throw failure;
      },
    ];
    await expect(run({ callbacks }).fit()).rejects.toBe(failure);
    await expect(run({ onProgress: callbacks[0]! }).fit()).rejects.toBe(failure);
    const broken = new DataLoader({ length: 2, batch: callbacks[0]! }, { batchSize: 1 });
    await expect(fit(model, broken, { epochs: 1, optimizer, loss: crossEntropy })).rejects.toBe(failure);
  });

  test('what makes no sense is refused before anything changes', async () => {
    const { model, optimizer, data } = run();
    const before = bits(model.stateDict());
    const good: FitOptions = { epochs: 1, optimizer, loss: crossEntropy };
    for (const [options, word] of [
      [{ epochs: 0 }, 'epochs'],
      [{ epoch: 2 }, 'epoch'],
      [{ optimizer: model }, 'optimizer'],
      [{ loss: 'mse' }, 'loss'],
      [{ metrics: { accuracy: 1 } }, 'accuracy'],
      [{ metrics: { loss: accuracy } }, 'other names than loss'],
      [{ metrics: [accuracy] }, 'an object of functions by name as metrics, such as { accuracy }'],
      [{ metrics: accuracy }, 'an object of functions by name as metrics'],
      [{ metrics: new Map([['accuracy', accuracy]]) }, 'an object of functions by name as metrics'],
      [{ metrics: null }, 'an object of functions by name as metrics'],
      [{ schedule: {} }, 'schedule'],
      [{ evaluate: [] }, 'evaluate'],
      [{ evaluate: data }, 'another DataLoader'],
      [{ callbacks: () => {} }, 'callbacks'],
      [{ onProgress: 1 }, 'onProgress'],
      [{ earlyStopping: {} }, 'patience'],
      [{ earlyStopping: { patience: 1, mode: 'less' } }, 'mode'],
      [{ earlyStopping: { patience: 1, minDelta: -1 } }, 'minDelta'],
      [{ earlyStopping: { patience: 1, metrik: 'x' } }, 'metrik'],
      [{ parts: { model } }, 'other names of parts'],
      [{ signal: {} }, 'an AbortSignal'],
      [{ progress: 'yes' }, 'as progress'],
      [{ checkpoints: '/tmp/x' }, 'a CheckpointManager'],
    ] as const) {
      const failure = await rejectionOf(fit(model, data, { ...good, ...options } as never));
      expect(failure.code).toBe('DT_INVALID_ARGUMENT');
      expect(failure.message).toContain(word);
    }
    const none = new DataLoader(new TensorDataset(x, y), { batchSize: 97, dropLast: true });
    expect((await rejectionOf(fit(model, none, good))).message).toContain('at least one batch');
    expect((await rejectionOf(fit({} as never, data, good))).message).toContain('Module');
    expect((await rejectionOf(fit(model, [] as never, good))).message).toContain('DataLoader');
    expect(bits(model.stateDict())).toEqual(before);
    const unknown = { ...good, earlyStopping: { patience: 1, metric: 'f1' } };
    expect((await rejectionOf(fit(model, data, unknown))).message).toContain("'f1'");
  });
});

describe('while it runs', () => {
  test('memory does not grow from epoch to epoch', async () => {
    const evaluate = dataOf();
    let expectNoMore: (() => void) | undefined;
    const callbacks = [
      async () => {
        for (let i = 0; i < 3; i++) await turn();
        expectNoMore?.();
        expectNoMore ??= watchPool();
      },
    ];
    const earlyStopping = { patience: 100 };
    await run({ epochs: 40, evaluate, metrics: { accuracy }, callbacks, earlyStopping }).fit();
  });

  test('the event loop turns between steps', async () => {
    let turns = 0;
    let running = true;
    const count = () => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const { steps } = await run({ epochs: 10 }).fit();
    running = false;
    expect(turns).toBeGreaterThanOrEqual(steps);
  });
});

describe('progress', () => {
  const output = (isTTY: boolean, columns = 100) => {
    const written: string[] = [];
    return { isTTY, columns, written, write: (text: string) => written.push(text) };
  };

  test('elsewhere than on a terminal is one line for each epoch', async () => {
    const file = output(false);
    await run({ epochs: 10, progress: file, metrics: { accuracy }, evaluate: dataOf() }).fit();
    expect(file.written).toHaveLength(10);
    for (const [i, line] of file.written.entries()) {
      expect(line).toMatch(
        /^ {2}epoch [ \d]\d\/10 {2}loss \d\.\d{4} {2}accuracy \d\.\d{4} {2}[ \d,]+ samples\/s {2}\d+\.\d s {2}evaluation: loss \d\.\d{4} accuracy \d\.\d{4}\n$/,
      );
      expect(line).toContain(`epoch ${String(i + 1).padStart(2)}/10`);
      expect(line).not.toContain('\x1b');
    }
  });

  test('on a terminal is a line that is drawn again, never wider than the terminal, and gone at an error', async () => {
    vi.stubEnv('TERM', 'xterm');
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    for (const columns of [20, 40, 60, 80, 200]) {
      const terminal = output(true, columns);
      const controller = new AbortController();
      let steps = 0;
      const onProgress = () => {
        if (++steps === 7) controller.abort();
      };
      const options = { progress: terminal, onProgress, signal: controller.signal, metrics: { accuracy } };
      await rejectionOf(run(options).fit());
      const [first] = terminal.written;
      expect(first!.startsWith('\r  epoch 1/4')).toBe(true);
      expect(first!.endsWith('\x1b[K')).toBe(true);
      const shown = first!.slice(1, -3);
      expect(shown.length).toBeLessThan(columns);
      if (columns >= 80) expect(shown).toMatch(/epoch 1\/4 {2}[━╸─]{10,30} {3}16 % {2}loss \d\.\d{4}/);
      if (columns === 200) expect(shown).toMatch(/samples\/s {2}\d+:\d\d left$/);
      const lines = terminal.written.join('').split('\n');
      expect(lines).toHaveLength(2);
    }
  });

  test('on a terminal that cannot draw is a line an epoch', async () => {
    vi.stubEnv('TERM', 'dumb');
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const terminal = output(true, 80);
    await run({ progress: terminal, epochs: 2 }).fit();
    expect(terminal.written.join('')).not.toContain('\x1b');
    expect(terminal.written).toHaveLength(2);
  });
});

test('an optimizer of another model is refused, and nothing has changed', async () => {
  const [model, other] = [new Linear(2, 2), new Linear(2, 2)];
  const data = new DataLoader([[tensor([1, 2]), tensor(0, { dtype: 'i32' })]], { batchSize: 1 });
  const optimizer = new AdamW(other.namedParameters());
  const refusal = await rejectionOf(fit(model, data as never, { epochs: 1, optimizer, loss: crossEntropy }));
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain('weight');
  expect(optimizer.steps).toBe(0);
});
