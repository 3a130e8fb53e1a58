import {
  AdamW,
  add,
  assign,
  compile,
  type DrivetrainError,
  defaultPool,
  device,
  grad,
  Linear,
  matmul,
  mean,
  mul,
  ones,
  ReLU,
  Sequential,
  softmax,
  sub,
  type Tensor,
  tensor,
  zeros,
} from 'drivetrain';
import { expect, test } from 'vitest';
import { big, bits, failure, slowly } from './support.js';

/** Shapes in these tests are large enough for awaited runs to leave the calling thread. */
const matrix = (rows: number, columns: number, at: number) =>
  tensor(
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 0.37 + at)),
    {
      shape: [rows, columns],
    },
  );

test('hundreds of runs of one program in flight give the results of runs one after the other', async () => {
  const w = matrix(64, 64, 1);
  const f = compile((x: Tensor) => softmax(matmul(x, w)));
  const inputs = Array.from({ length: 200 }, (_, i) => matrix(64, 64, i));
  const expected = inputs.map((x) => bits(f.runSync(x)));
  const results = await Promise.all(inputs.map((x) => f(x)));
  expect(results.map(bits)).toEqual(expected);
});

test('writers of one tensor run in the order of their calls', async () => {
  const w = zeros([8192]);
  const append = compile((digit: Tensor) => {
    assign(w, add(mul(w, 3), digit));
    return w;
  });
  const reset = compile(() => {
    assign(w, zeros([8192]));
    return w;
  });
  let expected = 0;
  const seen: number[] = [];
  const runs: Promise<Tensor>[] = [];
  for (let i = 0; i < 200; i++) {
    const digit = i % 3;
    expected = Math.fround(Math.fround(expected * 3) + digit);
    seen.push(expected);
    if (expected > 2 ** 20) expected = 0;
    runs.push(append(tensor([digit])));
    if (expected === 0) {
      runs.push(reset());
      seen.push(0);
    }
  }
  expect((await Promise.all(runs)).map((t) => t.toArray()[8191])).toEqual(seen);
});

test('readers called between two writers see what the first one wrote', async () => {
  const w = zeros([10_000]);
  const write = compile((value: Tensor) => assign(w, add(mul(w, 0), value)));
  const read = compile(() => [add(w, 0), mul(w, 1)] as const);
  const reads: Promise<readonly Tensor[]>[] = [];
  const writes: Promise<unknown>[] = [];
  for (let i = 0; i < 100; i++) {
    writes.push(write(tensor([i])));
    reads.push(read(), read());
  }
  await Promise.all(writes);
  (await Promise.all(reads)).forEach((pair, i) => {
    for (const t of pair) {
      const values = t.toArray();
      expect(values[0]).toBe(Math.floor(i / 2));
      expect(values.every((value) => value === values[0])).toBe(true);
    }
  });
});

/** A model that is trained and served. */
function service() {
  const model = new Sequential(new Linear(64, 128), new ReLU(), new Linear(128, 4));
  const adam = new AdamW(model.parameters(), { lr: 0.01 });
  const step = compile((x: Tensor, y: Tensor) => {
    const error = sub(model.forward(x), y);
    const loss = mean(mul(error, error));
    adam.step(grad(loss, model.parameters()));
    return loss;
  });
  const predict = compile((x: Tensor) => model.forward(x));
  return { model, step, predict };
}

test('training and serving the same weights at once gives what they give one after the other', async () => {
  const [serial, concurrent] = [service(), service()];
  concurrent.model.loadStateDict(serial.model.stateDict());
  const [x, y, query] = [matrix(32, 64, 0), matrix(32, 4, 1), matrix(3, 64, 2)];
  const expected: string[] = [];
  for (let i = 0; i < 60; i++) {
    expected.push(
      bits(await serial.step(x, y)),
      bits(await serial.predict(query)),
      bits(await serial.predict(x)),
    );
  }
  const runs: Promise<Tensor>[] = [];
  for (let i = 0; i < 60; i++) {
    runs.push(concurrent.step(x, y), concurrent.predict(query), concurrent.predict(x));
  }
  expect((await Promise.all(runs)).map(bits)).toEqual(expected);
});

test('under load from many clients, each prediction is that of the weights between two steps, and never of earlier ones', async () => {
  const STEPS = 60;
  const [serial, served] = [service(), service()];
  served.model.loadStateDict(serial.model.stateDict());
  const [x, y, query] = [matrix(32, 64, 0), matrix(32, 4, 1), matrix(48, 64, 2)];
  const versions = new Map([[bits(await serial.predict(query)), 0]]);
  for (let i = 1; i <= STEPS; i++) {
    await serial.step(x, y);
    versions.set(bits(await serial.predict(query)), i);
  }
  expect(versions.size).toBe(STEPS + 1);
  let trained = false;
  const train = async () => {
    for (let i = 0; i < STEPS; i++) (await served.step(x, y)).dispose();
    trained = true;
  };
  const client = async () => {
    const seen: (number | undefined)[] = [];
    do seen.push(versions.get(bits(await served.predict(query))));
    while (!trained);
    return seen;
  };
  const [, ...clients] = await Promise.all([train(), ...Array.from({ length: 12 }, client)]);
  for (const seen of clients) {
    expect(seen).not.toContain(undefined);
    expect(seen).toEqual([...seen].sort((a, b) => a! - b!));
  }
  expect(versions.get(bits(await served.predict(query)))).toBe(STEPS);
});

test('programs that take several locks in different orders never wait for each other for ever', async () => {
  const tensors = Array.from({ length: 6 }, () => zeros([8192]));
  const programs = Array.from({ length: 30 }, (_, i) => {
    const [from, to, other] = [i % 6, (i * 5 + 1) % 6, (i * 3 + 2) % 6];
    return compile(() => {
      assign(tensors[to]!, add(tensors[from]!, 1));
      if (other !== to) assign(tensors[other]!, add(tensors[to]!, 1));
    });
  });
  const runs: Promise<void>[] = [];
  for (let round = 0; round < 20; round++) for (const program of programs) runs.push(program());
  await Promise.all(runs);
  expect(runs).toHaveLength(600);
});

test('a run that fails at submission does not disturb those in flight', async () => {
  const f = compile((x: Tensor) => slowly(x, 100));
  const x = big();
  const run = f(x);
  await failure('DT_INVALID_ARGUMENT', () => f(1 as never));
  const gone = ones([2]);
  gone.dispose();
  await failure('DT_DISPOSED', () => f(gone));
  expect((await run).toArray()[5]).toBe(100);
});

test('runSync while runs are in flight', async () => {
  const w = matrix(96, 96, 1);
  const f = compile((x: Tensor) => matmul(x, w));
  const x = matrix(96, 96, 4);
  const expected = bits(matmul(x, w));
  const runs = Array.from({ length: 100 }, () => f(x));
  for (let i = 0; i < 100; i++) expect(bits(f.runSync(x))).toBe(expected);
  for (const run of runs) expect(bits(await run)).toBe(expected);
});

test('however many runs of a program are in flight, they take no more blocks for temporaries than there are threads', async () => {
  const f = compile((x: Tensor) => mean(slowly(x, 8)));
  const x = ones([2 ** 18]);
  const { temporaries, outputs } = f.program(x).footprint;
  expect(temporaries).toBeGreaterThan(2 ** 20);
  const { current } = defaultPool.statistics;
  const runs = Array.from({ length: 40 }, () => f(x));
  const { threads, sanitized } = device.info();
  const arenas = Math.min(40, threads);
  // Sanitized builds put a gap behind each block.
  const gap = sanitized ? 64 : 0;
  const expected = arenas * (temporaries + gap) + 40 * (outputs + gap);
  expect(defaultPool.statistics.current - current).toBe(expected);
  const results = await Promise.all(runs);
  expect(results.map((t) => t.item())).toEqual(Array(40).fill(9));
  expect(defaultPool.statistics.current - current).toBeLessThanOrEqual(40 * (outputs + gap));
});

test('a run that waits for memory is cancelled, and those behind it go on', async () => {
  const f = compile((x: Tensor) => slowly(x, 40));
  const x = big();
  const controllers = Array.from({ length: 12 }, () => new AbortController());
  const runs = controllers.map(({ signal }) => f.run([x], { signal }));
  const outcomes = Promise.allSettled(runs);
  for (let i = 3; i < 12; i += 2) controllers[i]!.abort();
  const settled = await outcomes;
  settled.forEach((outcome, i) => {
    if (outcome.status === 'fulfilled') expect(outcome.value.toArray()[3]).toBe(40);
    else expect([i % 2, (outcome.reason as DrivetrainError).code]).toEqual([1, 'DT_ABORTED']);
  });
  expect(settled.at(-1)!.status).toBe('rejected');
  expect((await f(x)).toArray()[0]).toBe(40);
});
