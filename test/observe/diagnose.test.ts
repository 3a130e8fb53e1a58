import { execFileSync } from 'node:child_process';
import { inspect } from 'node:util';
import {
  AdamW,
  type DiagnoseOptions,
  DPOptimizer,
  defaultPool,
  device,
  diagnose,
  FallbackOptimizer,
  type Finding,
  full,
  MemoryPool,
  Registry,
  SGD,
  slice,
  TrainingMonitor,
  tensor,
  transpose,
  wrap,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { failure, turn } from '../program/support.js';

const { threads, processors } = device.info();
afterEach(() => device.setThreads(threads));

const about = async (subject: string, options: DiagnoseOptions = {}): Promise<Finding[]> =>
  (await diagnose(options)).findings.filter((finding) => finding.subject === subject);

describe('the device', () => {
  const child = (code: string, env: Record<string, string> = {}) =>
    execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      cwd: import.meta.dirname,
    });
  const library = new URL('../../dist/index.js', import.meta.url).href;
  const print = `const { diagnose } = await import('${library}'); console.log(await diagnose());`;

  test('an instruction set below the best is a problem, and scalar code is no SIMD', () => {
    const { isas } = device.info();
    const text = child(print, { DRIVETRAIN_ISA: 'scalar' });
    if (isas.length > 1)
      expect(text).toContain(`✗ instruction set  scalar: no SIMD, where ${isas[0]} would run`);
    expect(text).toContain('Unset DRIVETRAIN_ISA');
    expect(text).toMatch(/^drivetrain: 1 problem\n/);
  });

  test('the best one is well', () => {
    const best = device.info().isas[0]!;
    expect(child(print, { DRIVETRAIN_ISA: best })).toContain(`✓ instruction set  ${best}, the best`);
  });

  test('threads are as many as the process has processors, or what to set them to is said', async () => {
    device.setThreads(processors);
    expect(await about('threads')).toMatchObject([{ status: 'ok' }]);
    for (const other of [processors + 1, ...(processors > 1 ? [processors - 1] : [])]) {
      device.setThreads(other);
      expect(await about('threads')).toMatchObject([
        {
          status: 'note',
          found: expect.stringMatching(`^${other} for ${processors} processor`),
          advice: expect.stringContaining(`device.setThreads(${processors})`),
        },
      ]);
    }
  });
});

describe('memory pools', () => {
  test('free memory in pieces is noted, and why', async () => {
    const pool = new MemoryPool();
    const blocks = Array.from({ length: 32 }, (_, i) => pool.allocate(i % 2 === 0 ? 15 * 2 ** 20 : 2 ** 20));
    expect(await about('memory, own', { pools: { own: pool } })).toMatchObject([{ status: 'ok' }]);
    blocks.forEach((block, i) => {
      if (i % 2 === 0) block.dispose();
    });
    const [finding] = await about('memory, own', { pools: { own: pool } });
    expect(finding).toMatchObject({
      status: 'note',
      advice: expect.stringContaining('the largest piece has 15 MiB'),
    });
    expect(finding!.found).toContain('16 MiB in use (256 MiB at most so far), 256 MiB held');
    for (const block of blocks) block.dispose();
    pool.dispose();
  });

  test('a full one, and one that has refused memory, are problems', async () => {
    const pool = new MemoryPool({ limit: 6400 });
    const block = pool.allocate(6000);
    expect(await about('memory, own', { pools: { own: pool } })).toMatchObject([{ status: 'problem' }]);
    block.dispose();
    expect(await about('memory, own', { pools: { own: pool } })).toMatchObject([{ status: 'ok' }]);
    expect(() => pool.allocate(7000)).toThrow();
    const [finding] = await about('memory, own', { pools: { own: pool } });
    expect(finding).toMatchObject({
      status: 'problem',
      advice: expect.stringContaining('1 allocation was refused'),
    });
  });
});

describe('numbers', () => {
  const LEAST = { f32: 2 ** -126, f64: 2 ** -1022, f16: 2 ** -14, bf16: 2 ** -126 };
  type Float = keyof typeof LEAST;

  /** The value of a 16-bit float, by its fields. */
  function half(bits: number, dtype: 'f16' | 'bf16'): number {
    if (dtype === 'bf16') return new Float32Array(new Uint32Array([bits << 16]).buffer)[0]!;
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  for (const dtype of Object.keys(LEAST) as Float[]) {
    test(`${dtype}: denormals, NaN and infinities are counted as their values say, whatever the bits`, async () => {
      const width = { f32: 4, f64: 8, f16: 2, bf16: 2 }[dtype];
      const special = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x3f, 0x7c, 0x03);
      const bytes = fc.array(fc.oneof(special, fc.nat(255)), { minLength: 0, maxLength: 64 * width });
      await fc.assert(
        fc.asyncProperty(bytes, async (given) => {
          const buffer = Uint8Array.from(given.slice(0, given.length - (given.length % width))).buffer;
          const array = {
            f32: () => new Float32Array(buffer),
            f64: () => new Float64Array(buffer),
            f16: () => new Uint16Array(buffer),
            bf16: () => new Uint16Array(buffer),
          }[dtype]();
          const values =
            dtype === 'f16' || dtype === 'bf16'
              ? Array.from(array, (bits) => half(bits, dtype))
              : Array.from(array);
          const { data } = await diagnose({ tensors: { x: wrap(array, [array.length], { dtype }) } });
          expect(data.numbers['x']).toEqual({
            elements: values.length,
            denormal: values.filter((x) => x !== 0 && Math.abs(x) < LEAST[dtype]).length,
            notFinite: values.filter((x) => !Number.isFinite(x)).length,
          });
        }),
      );
    });
  }

  test('in views, in strided ones, in large ones, in integers', async () => {
    const large = zeros([300_000]);
    const view = large.borrow() as Float32Array;
    view[0] = 1e-40;
    view[131_072] = Number.NaN;
    view[299_999] = 1e-40;
    const square = tensor([
      [1, 1e-40, 0],
      [0, 2, Infinity],
      [0, 0, 3],
    ]);
    const { data } = await diagnose({
      tensors: {
        large,
        tail: slice(large, 0, 299_999, 300_000),
        strided: slice(transpose(square), 0, 1, 3),
        integers: new Int32Array([1, 2]),
        array: new Float64Array([5e-324]),
      },
    });
    expect(data.numbers).toEqual({
      large: { elements: 300_000, denormal: 2, notFinite: 1 },
      tail: { elements: 1, denormal: 1, notFinite: 0 },
      strided: { elements: 6, denormal: 1, notFinite: 1 },
      integers: { elements: 2, denormal: 0, notFinite: 0 },
      array: { elements: 1, denormal: 1, notFinite: 0 },
    });
  });

  test("of an optimizer's parameters and state, by name, the worst first", async () => {
    const weight = new Float32Array([1, Number.NaN, 2]);
    const optimizer = new AdamW(new Map([['weight', weight]]));
    optimizer
      .stateDict()
      ['weight.m']!.borrow()
      .fill(1e-42 as never);
    const findings = await about('numbers', { optimizer });
    expect(findings).toMatchObject([
      { status: 'problem', found: 'NaN or infinite: weight (1 of 3)' },
      { status: 'note', found: 'denormal: weight.m (3 of 3)' },
    ]);
    weight[1] = 0;
    optimizer
      .stateDict()
      ['weight.m']!.borrow()
      .fill(0 as never);
    expect(await about('numbers', { optimizer })).toMatchObject([
      { status: 'ok', found: 'none of 10 in 4 tensors is denormal, NaN or infinite' },
    ]);
    expect(await about('numbers')).toEqual([]);
  });

  test('looking at much lets the event loop turn, and leaves nothing behind', async () => {
    const x = full([2 ** 21], 1);
    const { current } = defaultPool.statistics;
    let turns = 0;
    let done = false;
    const looked = diagnose({ tensors: { x } }).then(() => {
      done = true;
    });
    while (!done) {
      await turn();
      turns++;
    }
    await looked;
    expect(turns).toBeGreaterThan(10);
    expect(defaultPool.statistics.current).toBeLessThanOrEqual(current);
    x.dispose();
  });
});

describe('a monitor', () => {
  const train = async (phases: boolean) => {
    const optimizer = new SGD([new Float32Array([1])], { lr: 0.1 });
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry(), every: 2 });
    const wait = () => new Promise((resolve) => setTimeout(resolve, 4));
    for (let i = 0; i < 6; i++) {
      if (phases) await monitor.time('data', wait);
      else await wait();
      const step = () => optimizer.step([new Float32Array([1])]);
      if (phases) monitor.time('optimizer', step);
      else step();
      await monitor.record({ samples: 2, loss: i < 5 ? 1 : Number.NaN });
    }
    return monitor;
  };

  test('says where time goes, adding up to all of it, and that the process waits', async () => {
    const monitor = await train(true);
    const [time] = await about('time', { monitor });
    expect(time!.status).toBe('ok');
    const shares = [...time!.found.matchAll(/(data|optimizer|the rest) ([\d.]+) %/g)];
    expect(shares.map(([, name]) => name)).toEqual(['data', 'optimizer', 'the rest']);
    const sum = shares.reduce((total, [, , share]) => total + Number(share), 0);
    expect(Math.abs(sum - 100)).toBeLessThan(1.5);
    expect(await about('processors', { monitor })).toHaveLength(1);
  });

  test('without phases says how to name them; health is among the findings', async () => {
    const monitor = await train(false);
    expect(await about('time', { monitor })).toMatchObject([
      { status: 'note', advice: expect.stringContaining('monitor.time') },
    ]);
    expect(await about('health', { monitor })).toMatchObject([
      { status: 'problem', found: 'loss-not-finite' },
    ]);
  });

  test('without steps says so', async () => {
    const monitor = new TrainingMonitor(new SGD([new Float32Array(1)], { lr: 0.1 }), {
      registry: new Registry(),
    });
    expect(await about('time', { monitor })).toMatchObject([
      { status: 'note', found: 'no step was measured yet' },
    ]);
  });

  test('brings its optimizer and its pools', async () => {
    const monitor = await train(false);
    const { data } = await diagnose({ monitor });
    expect(Object.keys(data.numbers)).toContain('0');
    expect(Object.keys(data.pools)).toEqual(['default']);
  });
});

test('looks at optimizers whose state is not of tensors alone', async () => {
  const parameter = () => [new Float32Array(4)];
  const dp = { noiseMultiplier: 1, maxGradNorm: 1, datasetSize: 1000, batchSize: 10 };
  const weights = parameter();
  for (const optimizer of [
    new FallbackOptimizer(new AdamW(weights), new SGD(weights, { lr: 0.1 })),
    new DPOptimizer(new SGD(parameter(), { lr: 0.1 }), dp),
  ]) {
    const monitor = new TrainingMonitor(optimizer, { registry: new Registry() });
    expect((await diagnose({ monitor })).findings.length).toBeGreaterThan(0);
    expect((await diagnose({ optimizer })).findings.length).toBeGreaterThan(0);
  }
});

test('prints as a table of at most 100 columns, one mark for each finding, advice under an arrow', async () => {
  const found = await diagnose({ tensors: { x: new Float32Array([Number.NaN, 1e-42]) } });
  const text = inspect(found);
  expect(`${found}`).toBe(text);
  const lines = text.split('\n');
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  expect(lines.filter((line) => /^ {2}[✓•✗] /.test(line))).toHaveLength(found.findings.length);
  expect(lines.filter((line) => /^ +→ /.test(line))).toHaveLength(
    found.findings.filter(({ advice }) => advice !== undefined).length,
  );
  expect(lines[0]).toMatch(/^drivetrain: 1 problem, \d notes?$/);
});

test('options that are not there are refused', async () => {
  await failure('DT_INVALID_ARGUMENT', () => diagnose({ optimiser: 1 } as object));
});
