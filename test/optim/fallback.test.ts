import { join } from 'node:path';
import { setImmediate as tick } from 'node:timers/promises';
import {
  Adafactor,
  Adam,
  AdamW,
  CheckpointManager,
  CircuitBreaker,
  CosineAnnealingLR,
  cast,
  compile,
  DrivetrainError,
  defaultPool,
  type FallbackEvent,
  FallbackOptimizer,
  type FallbackOptions,
  LARS,
  Lion,
  Lookahead,
  NAdam,
  ones,
  RAdam,
  RMSprop,
  SGD,
  type Stepping,
  Tensor,
  tensor,
  transpose,
  zeros,
} from 'drivetrain';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../io/support.js';
import { bitsOf, refusalOf } from '../ops/support.js';

type Params = readonly (Tensor | Float32Array | Float64Array)[];
const weights = () => Float64Array.of(1, -2, 3, 0.5);
/** The gradients of step k, which mean nothing. */
const gradientsOf = (k: number) => [Float64Array.from([1, 2, 3, 4], (x) => Math.sin(x * (k + 1)))];

/** A real optimizer that can be told to fail before it does anything, as a broken device would. */
function failing<T extends Stepping>(optimizer: T): T & { failure: Error | undefined } {
  const step = optimizer.step.bind(optimizer);
  return Object.assign(optimizer, {
    failure: undefined as Error | undefined,
    step(this: { failure: Error | undefined }, gradients: Parameters<Stepping['step']>[0]) {
      if (this.failure !== undefined) throw this.failure;
      step(gradients);
    },
  });
}
const broken = new Error('the device is gone');

const stateBits = (optimizer: { stateDict(): object }) =>
  Object.entries(optimizer.stateDict()).map(([name, value]) => [
    name,
    value instanceof Tensor ? bitsOf(value.toArray()) : value,
  ]);

let warnings: { code: string; message: string }[];
const collect = (warning: Error) => {
  const { code } = warning as { code?: string };
  if (warning.name === 'DrivetrainWarning') warnings.push({ code: code!, message: warning.message });
};
/** What prints warnings otherwise. */
const printers = process.listeners('warning');
beforeEach(() => {
  warnings = [];
  process.removeAllListeners('warning').on('warning', collect);
});
afterEach(async () => {
  await tick(); // a warning comes one tick later
  process.off('warning', collect);
  for (const printer of printers) process.on('warning', printer);
});

/** AdamW that can fail, with Adam (of other decay) to fall back on, and a clock that moves by hand. */
function setUp(options: FallbackOptions = {}) {
  const array = weights();
  const clock = { now: 0 };
  const primary = failing(new AdamW([array], { lr: 0.1 }));
  const fallback = failing(new Adam([array], { lr: 0.02 }));
  const breaker = new CircuitBreaker({ now: () => clock.now });
  const optimizer = new FallbackOptimizer(primary, fallback, breaker, options);
  return { array, clock, primary, fallback, breaker, optimizer };
}

test('is its primary while that works', () => {
  const { array, optimizer } = setUp();
  const plain = weights();
  const alone = new AdamW([plain], { lr: 0.1 });
  for (let k = 0; k < 5; k++) {
    optimizer.step(gradientsOf(k));
    alone.step(gradientsOf(k));
  }
  expect(bitsOf(array)).toBe(bitsOf(plain));
  expect(optimizer.steps).toBe(5);
  expect(optimizer.status).toEqual({
    active: 'primary',
    swapped: false,
    breaker: 'closed',
    primarySteps: 5,
    fallbackSteps: 0,
    failures: 0,
    lastError: undefined,
  });
});

test('the fallback takes the step that the primary refuses, on its state, and hands it back', async () => {
  const events: FallbackEvent[] = [];
  const { array, primary, optimizer } = setUp({ onFallback: (event) => events.push(event) });
  // What should come out: Adam's and AdamW's steps in turn on one state.
  const plain = weights();
  const [adamw, adam] = [new AdamW([plain], { lr: 0.1 }), new Adam([plain], { lr: 0.02 })];
  for (let k = 0; k < 9; k++) {
    const fails = k === 3 || k === 4;
    primary.failure = fails ? broken : undefined;
    optimizer.step(gradientsOf(k));
    const [steps, other] = fails ? [adam, adamw] : [adamw, adam];
    steps.step(gradientsOf(k));
    other.loadStateDict(steps.stateDict());
    expect(bitsOf(array)).toBe(bitsOf(plain));
  }
  expect(primary.steps).toBe(9);
  expect(optimizer.status).toMatchObject({
    active: 'primary',
    primarySteps: 7,
    fallbackSteps: 2,
    failures: 2,
  });
  expect(optimizer.status.lastError).toBe(broken);
  expect(events).toEqual([
    { error: broken, failures: 1, swapped: false },
    { error: broken, failures: 2, swapped: false },
  ]);
  await tick();
  expect(warnings).toEqual([
    { code: 'DT_FALLBACK', message: expect.stringContaining('the device is gone') as string },
  ]);
});

test('after five failures the primary rests for 30 s, and is tried again', () => {
  const { clock, primary, optimizer } = setUp();
  primary.failure = broken;
  for (let k = 0; k < 8; k++) optimizer.step(gradientsOf(k));
  expect(optimizer.status).toMatchObject({
    active: 'fallback',
    breaker: 'open',
    fallbackSteps: 8,
    failures: 5,
  });
  primary.failure = undefined;
  optimizer.step(gradientsOf(8));
  expect(optimizer.status.active).toBe('fallback');
  clock.now = 30_000;
  optimizer.step(gradientsOf(9));
  expect(optimizer.status).toMatchObject({
    active: 'primary',
    breaker: 'closed',
    primarySteps: 1,
    swapped: false,
  });
  expect(primary.steps).toBe(10);
});

test('swaps for good when the breaker has opened three times in a row', async () => {
  const events: FallbackEvent[] = [];
  const { clock, primary, optimizer } = setUp({ onFallback: (event) => events.push(event) });
  primary.failure = broken;
  for (let k = 0; k < 5; k++) optimizer.step(gradientsOf(k));
  for (const [openings, swapped] of [
    [2, false],
    [3, true],
  ] as const) {
    clock.now += 30_000;
    optimizer.step(gradientsOf(openings));
    expect(optimizer.status.swapped).toBe(swapped);
  }
  primary.failure = undefined;
  clock.now += 1e9;
  optimizer.step(gradientsOf(9));
  expect(optimizer.status).toMatchObject({
    active: 'fallback',
    swapped: true,
    failures: 7,
    fallbackSteps: 8,
  });
  expect(events.map(({ swapped }) => swapped)).toEqual([...new Array<boolean>(6).fill(false), true]);
  await tick();
  expect(warnings.map(({ code }) => code)).toEqual(['DT_FALLBACK', 'DT_SWAPPED']);
});

describe('what is wrong with the call is not hidden', () => {
  const calls: [string, string, Parameters<Stepping['step']>[0]][] = [
    ['too few gradients', 'DT_SHAPE_MISMATCH', []],
    ['another length', 'DT_SHAPE_MISMATCH', [new Float64Array(3)]],
    ['another dtype', 'DT_DTYPE_MISMATCH', [new Float32Array(4)]],
    ['no array', 'DT_INVALID_ARGUMENT', ['gradient' as never]],
  ];
  test.each(calls)('%s: thrown, not counted, and nothing changes', (_, code, gradients) => {
    const { array, clock, primary, optimizer } = setUp();
    optimizer.step(gradientsOf(0));
    const refuses = () => {
      const before = { array: bitsOf(array), state: stateBits(optimizer), status: optimizer.status };
      expect(refusalOf(() => optimizer.step(gradients)).code).toBe(code);
      expect({ array: bitsOf(array), state: stateBits(optimizer), status: optimizer.status }).toEqual(before);
    };
    for (let k = 0; k < 6; k++) refuses();
    primary.failure = broken;
    for (let k = 0; k < 5; k++) optimizer.step(gradientsOf(k));
    refuses(); // by the fallback alone
    primary.failure = undefined;
    clock.now = 30_000;
    expect(refusalOf(() => optimizer.step(gradients)).code).toBe(code); // by the trial, which decides nothing
    expect(optimizer.status).toMatchObject({ active: 'fallback', breaker: 'half-open', failures: 5 });
    optimizer.step(gradientsOf(7));
    expect(optimizer.status).toMatchObject({ active: 'primary', breaker: 'closed' });
  });

  test.each(['DT_NON_FINITE', 'DT_TENSOR_BUSY'] as const)(
    '%s of the primary never goes to the fallback',
    (code) => {
      const { array, primary, optimizer } = setUp();
      optimizer.step(gradientsOf(0));
      const before = bitsOf(array);
      primary.failure = new DrivetrainError(code, 'Expected finite gradients but received NaN.');
      for (let k = 0; k < 6; k++) expect(refusalOf(() => optimizer.step(gradientsOf(k))).code).toBe(code);
      expect(bitsOf(array)).toBe(before);
      expect(optimizer.status).toMatchObject({ failures: 0, breaker: 'closed', fallbackSteps: 0 });
    },
  );

  test('both errors are told where they differ, the primary’s counts, and nothing changes', () => {
    const { array, primary, fallback, optimizer } = setUp();
    optimizer.step(gradientsOf(0));
    const before = { array: bitsOf(array), state: stateBits(optimizer) };
    primary.failure = broken;
    fallback.failure = new Error('nor here');
    const refusals = Array.from({ length: 5 }, () => refusalOf(() => optimizer.step(gradientsOf(1))));
    for (const { code, message, cause } of refusals) {
      expect(code).toBe('DT_FALLBACK_FAILED');
      expect(message).toContain('the device is gone');
      expect(message).toContain('nor here');
      expect((cause as AggregateError).errors).toEqual([broken, fallback.failure]);
    }
    expect({ array: bitsOf(array), state: stateBits(optimizer) }).toEqual(before);
    expect(optimizer.status.breaker).toBe('open');
  });

  test('inside of compile(fn) it says what to do instead', () => {
    const { array, optimizer } = setUp();
    const step = compile((g: Tensor) => optimizer.step([g]));
    const refusal = refusalOf(() => step.runSync(tensor(gradientsOf(0)[0]!)));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain('return the gradients');
    expect(bitsOf(array)).toBe(bitsOf(weights()));
  });
});

describe('state that is carried over', () => {
  type Make = (params: Params) => Stepping;
  const makers: Record<string, Make> = {
    SGD: (p) => new SGD(p, { lr: 0.1, momentum: 0.9 }),
    'SGD of another rate': (p) => new SGD(p, { lr: 0.01, momentum: 0.5 }),
    LARS: (p) => new LARS(p, { lr: 0.1 }),
    AdamW: (p) => new AdamW(p),
    'AdamW, amsgrad': (p) => new AdamW(p, { amsgrad: true }),
    Adam: (p) => new Adam(p),
    RAdam: (p) => new RAdam(p),
    NAdam: (p) => new NAdam(p),
    Lion: (p) => new Lion(p),
    RMSprop: (p) => new RMSprop(p),
    'RMSprop, momentum': (p) => new RMSprop(p, { momentum: 0.5 }),
    Adafactor: (p) => new Adafactor(p),
    'Adafactor, beta1': (p) => new Adafactor(p, { beta1: 0.9 }),
  };
  // From, to, and whether the second goes on with the moments and the count of the first.
  test.each<[string, string, boolean]>([
    ['AdamW', 'Adam', true],
    ['Adam', 'RAdam', true],
    ['NAdam', 'AdamW', true],
    ['AdamW, amsgrad', 'AdamW', true],
    ['AdamW', 'Lion', true],
    ['SGD', 'SGD of another rate', true],
    ['RMSprop, momentum', 'RMSprop', true],
    ['AdamW', 'AdamW, amsgrad', false],
    ['AdamW', 'NAdam', false],
    ['AdamW', 'SGD', false],
    ['SGD', 'AdamW', false],
    ['SGD', 'LARS', false],
    ['RMSprop, momentum', 'LARS', false],
    ['Lion', 'Adam', false],
    ['Adafactor', 'Adafactor, beta1', false],
    ['Adafactor, beta1', 'AdamW', false],
    ['AdamW', 'Adafactor', false],
    ['AdamW', 'Adafactor, beta1', false],
    ['SGD', 'Adafactor, beta1', false],
  ])('%s to %s: %s', (from, to, carried) => {
    const array = weights();
    const primary = failing(makers[from]!([array]));
    const fallback = makers[to]!([array]);
    const optimizer = new FallbackOptimizer(primary, fallback);
    for (let k = 0; k < 4; k++) optimizer.step(gradientsOf(k));
    const plain = array.slice();
    const expected = makers[to]!([plain]);
    if (carried) {
      const own = Object.keys(expected.stateDict());
      const all = primary.stateDict();
      expected.loadStateDict(Object.fromEntries(own.map((name) => [name, all[name]!])));
    }
    expected.paramGroups[0]!.lr = fallback.paramGroups[0]!.lr;
    primary.failure = broken;
    optimizer.step(gradientsOf(4));
    expected.step(gradientsOf(4));
    expect(bitsOf(array)).toBe(bitsOf(plain));
    expect(fallback.steps).toBe(carried ? 5 : 1);
  });

  const lookahead: Make = (p) => new Lookahead(new SGD(p, { lr: 1 }), { k: 6 });
  /** Steps `count` times by a gradient of 1, of which the primary refuses those from `from` on, before `to`. */
  function interrupted(
    array: Float64Array,
    makeFallback: Make,
    count: number,
    from: number,
    to: number,
  ): void {
    const primary = failing(lookahead([array]));
    const breaker = new CircuitBreaker({ failures: 1000 });
    const optimizer = new FallbackOptimizer(primary, makeFallback([array]), breaker);
    for (let k = 0; k < count; k++) {
      primary.failure = k >= from && k < to ? broken : undefined;
      optimizer.step([Float64Array.of(1)]);
    }
  }

  test('slow weights of Lookahead begin anew where the parameters are when another method has stepped', () => {
    const array = Float64Array.of(100);
    // Down to 99 by the primary and to 79 by the fallback, then to 74 by the second to the sixth of the primary's: half of
    // the way from 79 to there.
    interrupted(array, (p) => new SGD(p, { lr: 1 }), 26, 1, 21);
    expect(array[0]).toBe(76.5);
  });

  test('Lookahead on both sides steps as one alone', () => {
    const [array, plain] = [Float64Array.of(100), Float64Array.of(100)];
    interrupted(array, lookahead, 40, 8, 21);
    const alone = lookahead([plain]);
    for (let k = 0; k < 40; k++) alone.step([Float64Array.of(1)]);
    expect(array).toEqual(plain);
  });

  test('each group by itself', () => {
    const [w, b] = [weights(), Float64Array.of(1)];
    const groups = (amsgrad: boolean) => [{ params: [w] }, { params: [b], amsgrad }];
    const primary = failing(new AdamW(groups(false)));
    const fallback = new Adam(groups(true));
    const optimizer = new FallbackOptimizer(primary, fallback);
    const gradients = (k: number) => [...gradientsOf(k), Float64Array.of(k)];
    for (let k = 0; k < 3; k++) optimizer.step(gradients(k));
    primary.failure = broken;
    optimizer.step(gradients(3));
    const { '0.step': first, '1.step': second } = fallback.stateDict();
    expect([first!.item(), second!.item()]).toEqual([4, 1]);
  });

  test('16-bit parameters go on from what the other made of them', () => {
    const half = cast(tensor([1, 2, 3]), 'bf16');
    const gradient = cast(tensor([1, 1, 1]), 'bf16');
    const primary = failing(new SGD([half], { lr: 0.001 }));
    const optimizer = new FallbackOptimizer(primary, new Lion([half], { lr: 0.001 }));
    for (let k = 0; k < 10; k++) {
      primary.failure = k % 2 === 0 ? undefined : broken;
      optimizer.step([gradient]);
      if (k === 5) primary.failure = undefined;
    }
    // Ten steps of 0.001, each less than bf16 shows: only the f32 copy adds them up.
    const { 'fallback.0.master': master } = optimizer.stateDict() as Record<string, Tensor>;
    [...(master!.toArray() as Float32Array)].forEach((x, i) => {
      expect(Math.abs(x - (i + 0.99))).toBeLessThanOrEqual(10 * 4 * 2 ** -24);
    });
  });

  test('state of the primary that is gone does not keep the fallback from stepping', () => {
    const half = cast(tensor([1, 2]), 'bf16');
    const primary = new AdamW([half], { lr: 0.1 });
    const fallback = new SGD([half], { lr: 0.5 });
    const optimizer = new FallbackOptimizer(primary, fallback);
    const gradient = cast(tensor([1, 1]), 'bf16');
    (half.borrow() as Uint16Array).fill(0x4080); // 4
    for (const t of Object.values(primary.stateDict())) t.dispose();
    optimizer.step([gradient]);
    expect([...(cast(half, 'f32').toArray() as Float32Array)]).toEqual([3.5, 3.5]);
    expect((optimizer.status.lastError as DrivetrainError).code).toBe('DT_DISPOSED');
  });
});

test('a refused step of the built-in optimizers leaves everything as it was, which the fallback starts from', () => {
  const params = [tensor([1, 2]), tensor([3, 4])];
  const primary = new AdamW(params.map((p) => ({ params: [p] })));
  primary.step([tensor([1, 1]), tensor([1, 1])]);
  const before = [...params.map((p) => bitsOf(p.toArray())), ...stateBits(primary)];
  const gone = tensor([1, 1]);
  gone.dispose();
  for (const second of [gone, tensor([1, 1, 1]), tensor([1, 1], { dtype: 'i32' })]) {
    refusalOf(() => primary.step([tensor([1, 1]), second]));
    expect([...params.map((p) => bitsOf(p.toArray())), ...stateBits(primary)]).toEqual(before);
  }
});

test('so does one that finds no memory for a copy of a strided gradient', () => {
  const [first, second] = [zeros([2]), zeros([64, 64])];
  const optimizer = new AdamW([{ params: [first] }, { params: [second] }]);
  const gradients = [tensor([1, 1]), transpose(ones([64, 64]), 0, 1)];
  const before = stateBits(optimizer);
  const { limit } = defaultPool;
  defaultPool.limit = 1;
  try {
    expect(refusalOf(() => optimizer.step(gradients)).code).toBe('DT_POOL_LIMIT');
  } finally {
    defaultPool.limit = limit;
  }
  expect([...(first.toArray() as Float32Array)]).toEqual([0, 0]);
  expect(stateBits(optimizer)).toEqual(before);
  optimizer.step(gradients);
  expect(optimizer.steps).toBe(1);
});

test('neither steps, fallbacks, ways back nor refusals leave memory behind', () => {
  const weight = zeros([1000]);
  const primary = failing(new AdamW([weight]));
  const fallback = failing(new Adam([weight]));
  const optimizer = new FallbackOptimizer(primary, fallback, new CircuitBreaker({ failures: 1000 }));
  const gradient = ones([1000]);
  const walk = () => {
    for (const [failure, other] of [
      [undefined, undefined],
      [broken, undefined],
      [broken, new Error('nor here')],
    ] as const) {
      [primary.failure, fallback.failure] = [failure, other];
      try {
        optimizer.step([gradient]);
      } catch (error) {
        expect((error as DrivetrainError).code).toBe('DT_FALLBACK_FAILED');
      }
    }
  };
  walk();
  const { current } = defaultPool.statistics;
  for (let i = 0; i < 5; i++) walk();
  expect(defaultPool.statistics.current).toBe(current);
});

test('one schedule serves both: the fallback’s rate keeps its proportion', () => {
  const { primary, fallback, optimizer } = setUp();
  const schedule = new CosineAnnealingLR(optimizer, { tMax: 10 });
  for (let k = 0; k < 5; k++) {
    optimizer.step(gradientsOf(k));
    schedule.step();
  }
  expect(fallback.paramGroups[0]!.lr).toBe(0.02);
  primary.failure = broken;
  optimizer.step(gradientsOf(5));
  expect(optimizer.paramGroups[0]!.lr).toBeCloseTo(0.05, 12);
  expect(fallback.paramGroups[0]!.lr).toBeCloseTo(0.01, 12);
});

test('a checkpoint goes on to the same bits', async () => {
  const one = setUp();
  const other = setUp();
  const walk = ({ primary, optimizer }: typeof one, from: number, to: number) => {
    for (let k = from; k < to; k++) {
      primary.failure = k % 3 === 1 ? broken : undefined;
      optimizer.step(gradientsOf(k));
    }
  };
  walk(one, 0, 5);
  const checkpoints = new CheckpointManager(join(temporaryFolder(), 'run'));
  await checkpoints.save({ optimizer: one.optimizer }, { step: 5 });
  other.array.set(one.array);
  await (await checkpoints.latest())!.load({ optimizer: other.optimizer });
  expect(other.optimizer.status).toEqual({ ...one.optimizer.status, lastError: undefined });
  walk(one, 5, 12);
  walk(other, 5, 12);
  expect(bitsOf(other.array)).toBe(bitsOf(one.array));
  expect(stateBits(other.optimizer)).toEqual(stateBits(one.optimizer));
});

test.each<[string, (state: Record<string, unknown>) => unknown]>([
  ['lacks the progress', (s) => delete s.progress],
  ['has a progress of its own', (s) => Object.assign(s, { progress: { active: 'both' } })],
  ['lacks the primary’s', (s) => delete s['primary.0.m']],
  ['lacks the fallback’s', (s) => delete s['fallback.0.m']],
  ['has more', (s) => Object.assign(s, { other: tensor(1) })],
])('a state that %s is refused, and nothing changes', (_, spoil) => {
  const [{ optimizer }, source] = [setUp(), setUp()];
  optimizer.step(gradientsOf(0));
  for (let k = 0; k < 3; k++) source.optimizer.step(gradientsOf(k));
  const before = [stateBits(optimizer), optimizer.status];
  const state: Record<string, unknown> = { ...source.optimizer.stateDict() };
  spoil(state);
  refusalOf(() => optimizer.loadStateDict(state));
  expect([stateBits(optimizer), optimizer.status]).toEqual(before);
});

test.each<[string, () => unknown, string]>([
  [
    'other parameters',
    () => new FallbackOptimizer(new Adam([weights()]), new Adam([weights()])),
    'different tensors',
  ],
  [
    'another number of parameters',
    () => {
      const array = weights();
      return new FallbackOptimizer(new Adam([array]), new Adam([array, weights()]));
    },
    '1 and 2',
  ],
  [
    'other names',
    () => {
      const array = weights();
      return new FallbackOptimizer(new Adam([array]), new Adam(new Map([['w', array]])));
    },
    "'0' and 'w'",
  ],
  ['no optimizer', () => new FallbackOptimizer(new Adam([weights()]), undefined as never), 'an optimizer'],
  [
    'swapAfter of 0',
    () => {
      const array = weights();
      return new FallbackOptimizer(new Adam([array]), new Adam([array]), undefined, { swapAfter: 0 });
    },
    'swapAfter',
  ],
])('%s is refused', (_, make, part) => {
  const refusal = refusalOf(make);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(part);
});

test('tells what the last step found, whoever took it', () => {
  const weights = Float32Array.of(1, 1);
  const primary = new AdamW([weights], { maxGradNorm: 1 });
  const optimizer = new FallbackOptimizer(primary, new SGD([weights], { lr: 0.1 }));
  expect(optimizer.lastStep).toBeUndefined();
  optimizer.step([Float32Array.of(3, 4)]);
  expect(optimizer.lastStep).toMatchObject({ norm: 5, skipped: false });
});
