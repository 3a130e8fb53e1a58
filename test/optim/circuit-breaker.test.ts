import { type Attempt, CircuitBreaker, type CircuitState } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';

/** A breaker on a clock that moves by hand, and the changes that it told of. */
function onClock(options: { failures?: number; windowMs?: number; cooldownMs?: number } = {}) {
  const clock = { now: 0 };
  const changes: string[] = [];
  const breaker = new CircuitBreaker({
    ...options,
    now: () => clock.now,
    onStateChange: (to, from) => changes.push(`${from} → ${to}`),
  });
  const fail = (times = 1) => {
    for (let i = 0; i < times; i++) breaker.begin()!.fail();
  };
  return { breaker, clock, changes, fail };
}

test('opens with the fifth failure within 60 s, tries again after 30 s, and closes when that succeeds', () => {
  const { breaker, clock, changes, fail } = onClock();
  fail(4);
  breaker.begin()!.succeed();
  expect(breaker.state).toBe('closed');
  fail();
  expect(breaker.state).toBe('open');
  clock.now = 29_999;
  expect(breaker.begin()).toBeUndefined();
  clock.now = 30_000;
  const trial = breaker.begin()!;
  expect(breaker.state).toBe('half-open');
  expect(breaker.begin()).toBeUndefined();
  trial.succeed();
  expect(breaker.state).toBe('closed');
  fail(4);
  expect(breaker.state).toBe('closed');
  expect(changes).toEqual(['closed → open', 'open → half-open', 'half-open → closed']);
});

test('failures count for 60 s', () => {
  const { breaker, clock, fail } = onClock();
  fail();
  clock.now = 60_000;
  fail(4);
  expect(breaker.state).toBe('closed');
  clock.now = 119_999;
  fail();
  expect(breaker.state).toBe('open');
});

test('a trial that fails opens it for another 30 s, and openings are counted until it closes', () => {
  const { breaker, clock, fail } = onClock();
  fail(5);
  for (const openings of [2, 3]) {
    clock.now += 30_000;
    fail();
    expect(breaker.state).toBe('open');
    expect(breaker.openings).toBe(openings);
    clock.now += 29_999;
    expect(breaker.begin()).toBeUndefined();
    clock.now += 1;
  }
  breaker.begin()!.succeed();
  expect(breaker.openings).toBe(0);
});

test('a trial that is abandoned, or never ends, does not keep others out', () => {
  const { breaker, clock, fail } = onClock();
  fail(5);
  clock.now = 30_000;
  breaker.begin()!.abandon();
  const lost = breaker.begin()!;
  expect(breaker.begin()).toBeUndefined();
  clock.now = 60_000;
  const next = breaker.begin()!;
  lost.fail();
  expect(breaker.state).toBe('half-open');
  next.succeed();
  expect(breaker.state).toBe('closed');
});

test('what was begun before it opened reports too late', () => {
  const { breaker, clock, fail } = onClock();
  const [early, other] = [breaker.begin()!, breaker.begin()!];
  fail(5);
  early.succeed();
  expect(breaker.state).toBe('open');
  clock.now = 30_000;
  breaker.begin()!.succeed();
  fail(4);
  other.fail();
  expect(breaker.state).toBe('closed');
});

interface Model {
  state: CircuitState;
  now: number;
  failures: number[];
  since: number;
  openings: number;
  /** Attempts on their way, and the change of state that they belong to. */
  attempts: { era: number; ended: boolean }[];
  era: number;
}
interface Real {
  breaker: CircuitBreaker;
  clock: { now: number };
  attempts: Attempt[];
  changes: string[];
}

const [LIMIT, WINDOW, COOLDOWN] = [3, 30, 7];

class Wait implements fc.Command<Model, Real> {
  constructor(readonly ms: number) {}
  check = () => true;
  run(model: Model, real: Real): void {
    model.now += this.ms;
    real.clock.now += this.ms;
  }
  toString = () => `wait ${this.ms}`;
}

class Begin implements fc.Command<Model, Real> {
  check = () => true;
  run(model: Model, real: Real): void {
    const goes = model.state === 'closed' || model.now - model.since >= COOLDOWN;
    const attempt = real.breaker.begin();
    expect(attempt !== undefined).toBe(goes);
    if (attempt === undefined) return;
    if (model.state !== 'closed')
      Object.assign(model, { state: 'half-open', since: model.now, era: model.era + 1 });
    model.attempts.push({ era: model.era, ended: false });
    real.attempts.push(attempt);
    agree(model, real);
  }
  toString = () => 'begin';
}

class End implements fc.Command<Model, Real> {
  constructor(
    /** So many attempts before the latest. */
    readonly which: number,
    readonly how: keyof Attempt,
  ) {}
  check = (model: Model) => model.attempts.length > 0;
  run(model: Model, real: Real): void {
    const index = Math.max(0, model.attempts.length - 1 - this.which);
    const attempt = model.attempts[index]!;
    real.attempts[index]![this.how]();
    if (!attempt.ended && attempt.era === model.era) this.#count(model);
    attempt.ended = true;
    agree(model, real);
  }
  #count(model: Model): void {
    if (this.how === 'fail') {
      model.failures.push(model.now);
      const recent = model.failures.filter((at) => model.now - at < WINDOW).length;
      if (model.state === 'closed' && recent < LIMIT) return;
      Object.assign(model, {
        state: 'open',
        since: model.now,
        openings: model.openings + 1,
        era: model.era + 1,
      });
    } else if (model.state === 'half-open') {
      if (this.how === 'abandon') model.since = -Infinity;
      else Object.assign(model, { state: 'closed', failures: [], openings: 0, era: model.era + 1 });
    }
  }
  toString = () => `${this.how} ${this.which}`;
}

function agree(model: Model, real: Real): void {
  expect(real.breaker.state).toBe(model.state);
  expect(real.breaker.openings).toBe(model.openings);
  // Each change was told of, once, and from the state before.
  expect(real.changes.at(-1)?.split(' → ')[1] ?? 'closed').toBe(model.state);
  for (const [i, change] of real.changes.entries()) {
    const [from, to] = change.split(' → ');
    expect(from).toBe(real.changes[i - 1]?.split(' → ')[1] ?? 'closed');
    expect(to).not.toBe(from);
  }
}

test('does what a plain model does, whatever comes when', () => {
  const commands = fc.commands(
    [
      fc.integer({ min: 0, max: 12 }).map((ms) => new Wait(ms)),
      fc.constant(new Begin()),
      fc
        .tuple(fc.nat(3), fc.constantFrom<keyof Attempt>('succeed', 'fail', 'fail', 'abandon'))
        .map(([which, how]) => new End(which, how)),
    ],
    { maxCommands: 60, size: 'max' },
  );
  fc.assert(
    fc.property(commands, (all) => {
      fc.modelRun(() => {
        const { breaker, clock, changes } = onClock({
          failures: LIMIT,
          windowMs: WINDOW,
          cooldownMs: COOLDOWN,
        });
        const model: Model = {
          state: 'closed',
          now: 0,
          failures: [],
          since: 0,
          openings: 0,
          attempts: [],
          era: 0,
        };
        return { model, real: { breaker, clock, changes, attempts: [] as Attempt[] } };
      }, all);
    }),
    { numRuns: 300 },
  );
});

test('what a listener throws does not reach who made the attempt', async () => {
  const breaker = new CircuitBreaker({
    failures: 1,
    onStateChange: () => {
      throw new Error('of the listener');
    },
  });
  const uncaught = new Promise<Error>((resolve) => {
    const others = process.rawListeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', (error) => {
      for (const listener of others) process.on('uncaughtException', listener as never);
      resolve(error);
    });
  });
  breaker.begin()!.fail();
  expect(breaker.state).toBe('open');
  expect((await uncaught).message).toBe('of the listener');
});

describe('options out of range are refused', () => {
  test.each<[string, object]>([
    ['failures', { failures: 0 }],
    ['failures', { failures: 2.5 }],
    ['windowMs', { windowMs: 0 }],
    ['windowMs', { windowMs: NaN }],
    ['cooldownMs', { cooldownMs: Infinity }],
    ['cooldownMs', { cooldownMs: '30' }],
    ['failures', { failure: 5 }],
  ])('%s: %o', (name, options) => {
    const refusal = refusalOf(() => new CircuitBreaker(options));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(name);
  });
});
