import { defaultPool, MemoryPool, type MemoryPressure, ones, zeros } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { device } from '../../dist/native/index.js';
import type { SharedStorage } from '../../dist/tensor/index.js';
import { refusalOf } from '../ops/support.js';

/** What a block of a hundredth of the limit may use; sanitized builds put a gap behind each block. */
const UNIT = 6400 + (device.info().sanitized ? 64 : 0);
const BYTES = 6400;

function pool() {
  const made = new MemoryPool({ limit: 100 * UNIT });
  const heard: MemoryPressure[] = [];
  const stop = made.onPressure((pressure) => heard.push(pressure));
  const blocks: SharedStorage[] = [];
  const take = (count: number) => {
    for (let i = 0; i < count; i++) blocks.push(made.allocate(BYTES));
  };
  const give = (count: number) => {
    for (const block of blocks.splice(-count)) block.dispose();
  };
  return { made, heard, stop, take, give };
}

test('tells once when 80 % and 95 % of the limit are in use, and again after use has fallen', () => {
  const { made, heard, take, give } = pool();
  take(79);
  expect([heard, made.statistics.pressure]).toEqual([[], undefined]);
  take(1);
  expect(heard).toEqual([{ level: 'high', used: 80 * UNIT, limit: 100 * UNIT, missing: 0 }]);
  take(14);
  expect(heard).toHaveLength(1);
  take(2);
  expect(heard.map(({ level }) => level)).toEqual(['high', 'critical']);
  expect(made.statistics.pressure).toBe('critical');
  // Not by a little up and down.
  give(4);
  take(4);
  expect(heard).toHaveLength(2);
  give(30);
  expect(made.statistics.pressure).toBeUndefined();
  take(30);
  expect(heard.map(({ level }) => level)).toEqual(['high', 'critical', 'high', 'critical']);
});

test('what a listener frees is there for the allocation that did not fit', () => {
  const { made, heard, take } = pool();
  const cache: SharedStorage[] = [];
  for (let i = 0; i < 30; i++) cache.push(made.allocate(BYTES));
  take(70);
  const missing: number[] = [];
  made.onPressure((pressure) => {
    missing.push(pressure.missing);
    for (const block of cache.splice(0, Math.ceil(pressure.missing / UNIT))) block.dispose();
  });
  const large = made.allocate(5 * UNIT - (UNIT - BYTES));
  expect(large.byteLength).toBe(5 * UNIT - (UNIT - BYTES));
  expect(missing).toEqual([5 * UNIT]);
  expect(made.statistics).toMatchObject({ failures: 0, current: 100 * UNIT });
  expect(cache).toHaveLength(25);
  expect(heard.at(-1)).toMatchObject({ level: 'critical', missing: 5 * UNIT });
});

test('an allocation that does not fit all the same is refused, and listeners are asked each time', () => {
  const { made, heard, take } = pool();
  take(100);
  const before = heard.length;
  for (let i = 0; i < 3; i++) expect(refusalOf(() => made.allocate(1)).code).toBe('DT_POOL_LIMIT');
  expect(heard.length - before).toBe(3);
  expect(made.statistics).toMatchObject({ failures: 3, blocks: 100 });
});

test('a listener that allocates is not called by itself, and one that throws leaves the pool as it was', () => {
  const made = new MemoryPool({ limit: 100 * UNIT });
  let calls = 0;
  const stop = made.onPressure(() => {
    calls++;
    made.allocate(BYTES).dispose();
  });
  const block = made.allocate(84 * UNIT);
  expect(calls).toBe(1);
  stop();
  block.dispose();
  made.onPressure(() => {
    throw new RangeError('mine');
  });
  const before = made.statistics;
  expect(() => made.allocate(84 * UNIT)).toThrow(RangeError);
  expect(made.statistics).toMatchObject({ current: before.current, blocks: before.blocks });
  made.allocate(84 * UNIT);
  expect(refusalOf(() => made.onPressure(1 as never)).code).toBe('DT_INVALID_ARGUMENT');
});

test('what listeners allocate counts, and so does a limit that was lowered', () => {
  const made = new MemoryPool({ limit: 100 * UNIT });
  const taken: SharedStorage[] = [];
  const stop = made.onPressure(() => {
    for (let i = 0; i < 16; i++) taken.push(made.allocate(BYTES));
  });
  expect(refusalOf(() => made.allocate(85 * UNIT - (UNIT - BYTES))).code).toBe('DT_POOL_LIMIT');
  expect(made.statistics.current).toBeLessThanOrEqual(100 * UNIT);
  stop();
  expect(made.pressure).toBeUndefined();
  made.limit = made.statistics.current + UNIT;
  expect(made.pressure).toBe(made.statistics.current / made.limit >= 0.95 ? 'critical' : 'high');
});

test('a listener that throws keeps no other from being told', () => {
  const { made, heard } = pool();
  const order: string[] = [];
  made.onPressure(() => {
    throw new RangeError('mine');
  });
  made.onPressure(({ level }) => order.push(level));
  expect(() => made.allocate(84 * UNIT)).toThrow(RangeError);
  expect([heard.map(({ level }) => level), order]).toEqual([['high'], ['high']]);
});

test('what a listener frees lowers the level', () => {
  const made = new MemoryPool({ limit: 100 * UNIT });
  const cache = Array.from({ length: 60 }, () => made.allocate(BYTES));
  made.onPressure(() => {
    for (const block of cache.splice(0)) block.dispose();
  });
  made.allocate(25 * UNIT);
  expect(made.statistics.current).toBeLessThan(30 * UNIT);
  expect(made.pressure).toBeUndefined();
});

test('a listener that was taken back is not called', () => {
  const { heard, stop, take } = pool();
  stop();
  take(90);
  expect(heard).toEqual([]);
});

test('what is forgotten is found before the limit is reached, where the event loop turns', async () => {
  const { limit, statistics } = defaultPool;
  const [megabyte, room] = [2 ** 20, 64];
  // A hint takes several times as long in a sanitized build, and the next one waits for ten times as long.
  const pause = device.info().sanitized ? 20 : 2;
  defaultPool.limit = statistics.current + room * megabyte;
  try {
    for (let i = 0; i < 5 * room; i++) {
      zeros([megabyte / 4]);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  } finally {
    defaultPool.limit = limit;
  }
  expect(defaultPool.statistics.failures).toBe(statistics.failures);
});

test('a refusal says who holds the most, and where it was made', () => {
  const named = (trackOrigins: boolean) => {
    const made = new MemoryPool({ limit: 100 * UNIT, trackOrigins });
    const many = Array.from({ length: 6 }, () => made.scope(() => ones([BYTES / 4])));
    const one = made.allocate(80 * UNIT);
    const { message } = refusalOf(() => made.allocate(20 * UNIT));
    for (const { storage } of many) storage.dispose();
    one.dispose();
    return message;
  };
  expect(named(false)).toMatch(
    /In use: 1 block of \d+ bytes \(\d+ in all\), 6 blocks of \d+ bytes \(\d+ in all\); a pool with trackOrigins/,
  );
  expect(named(true)).toMatch(
    /In use: 1 block made at \S*memory-pressure\.test\.ts:\d+:\d+ \(\d+ in all\), 6 blocks made at \S*memory-pressure\.test\.ts:\d+:\d+ \(\d+ in all\)\.$/,
  );
});

test('the level is that of what is in use, whatever came before', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 30 })), { maxLength: 40 }),
      (steps) => {
        const { made, take, give } = pool();
        let used = 0;
        let level = 0;
        for (const [up, count] of steps) {
          const by = up ? Math.min(count, 100 - used) : Math.min(count, used);
          if (up) take(by);
          else give(by);
          // One by one, as the pool sees it.
          for (let i = 0; i < by; i++) {
            used += up ? 1 : -1;
            const from = [0, level >= 1 ? 75 : 80, level >= 2 ? 90 : 95];
            level = used >= from[2]! ? 2 : used >= from[1]! ? 1 : 0;
          }
          expect(made.statistics.pressure).toBe([undefined, 'high', 'critical'][level]);
        }
      },
    ),
  );
});
