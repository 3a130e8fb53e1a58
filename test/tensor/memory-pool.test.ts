import { add, defaultPool, MemoryPool, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { binding, device } from '../../dist/native/index.js';
import { empty, type SharedStorage } from '../../dist/tensor/index.js';
import { refusalOf } from '../ops/support.js';

const ALIGNMENT = 64;
/** Sanitized builds put a gap behind each block. */
const GAP = device.info().sanitized ? ALIGNMENT : 0;
const blockOf = (bytes: number) => Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT) + GAP;
const viewOf = (storage: SharedStorage) => storage.view('u8', 0, storage.byteLength) as Uint8Array;

test('blocks are aligned to 64 bytes, however odd the sizes', () => {
  const pool = new MemoryPool();
  for (const bytes of [0, 1, 63, 64, 65, 1000, 4097, 1 << 20]) {
    const storage = pool.allocate(bytes);
    expect(storage.byteLength).toBe(bytes);
    expect(binding.address(viewOf(pool.allocate(1))) % ALIGNMENT).toBe(0);
    expect(binding.address(viewOf(storage)) % ALIGNMENT).toBe(0);
  }
});

/** One step of a pool's life: a block of some size, or the end of one of those there are. */
const steps = fc.array(
  fc.oneof(
    fc.record({
      allocate: fc.oneof(fc.nat(300), fc.nat(100_000), fc.constantFrom(0, 64, 5_000_000, 17 << 20)),
    }),
    fc.record({ free: fc.nat(1000) }),
  ),
  { maxLength: 60 },
);

test('whatever is allocated and freed, blocks keep their bytes and the statistics are right', () => {
  fc.assert(
    fc.property(steps, (list) => {
      const pool = new MemoryPool();
      const live: { storage: SharedStorage; mark: number }[] = [];
      let [peak, total] = [0, 0];
      list.forEach((step, at) => {
        if ('allocate' in step) {
          const storage = pool.allocate(step.allocate);
          const mark = (at % 251) + 1;
          const view = viewOf(storage);
          // Overlaps would show as somebody else's mark; large blocks are marked at both ends.
          view.subarray(0, 4096).fill(mark);
          view.subarray(-4096).fill(mark);
          live.push({ storage, mark });
          total += blockOf(step.allocate);
        } else if (live.length > 0) {
          live.splice(step.free % live.length, 1)[0]!.storage.dispose();
        }
        const current = live.reduce((sum, { storage }) => sum + blockOf(storage.byteLength), 0);
        peak = Math.max(peak, current);
        const statistics = pool.statistics;
        expect(statistics).toMatchObject({ current, peak, total, blocks: live.length, failures: 0 });
        expect(statistics.reserved).toBeGreaterThanOrEqual(current);
        expect(statistics.largestFree).toBeLessThanOrEqual(statistics.reserved - current);
        expect(statistics.fragmentation).toBeGreaterThanOrEqual(0);
        expect(statistics.fragmentation).toBeLessThan(1);
      });
      for (const { storage, mark } of live) {
        const view = viewOf(storage);
        expect([...view.subarray(0, 4096), ...view.subarray(-4096)].every((byte) => byte === mark)).toBe(
          true,
        );
      }
      expectApart(live.map(({ storage }) => storage));
      for (const { storage } of live) storage.dispose();
      expect(pool.statistics).toMatchObject({ current: 0, blocks: 0 });
      pool.dispose();
      // Slabs go as wholes: none is left only if all neighbours have merged.
      expect(pool.statistics).toMatchObject({ reserved: 0, largestFree: 0 });
    }),
    { numRuns: 60 },
  );
});

function expectApart(storages: readonly SharedStorage[]): void {
  const ranges = storages
    .map((storage) => ({ begin: binding.address(viewOf(storage)), bytes: Math.max(1, storage.byteLength) }))
    .sort((a, b) => a.begin - b.begin);
  for (let i = 1; i < ranges.length; i++) {
    expect(ranges[i]!.begin).toBeGreaterThanOrEqual(ranges[i - 1]!.begin + ranges[i - 1]!.bytes);
  }
}

describe('freed blocks', () => {
  test('merge with both neighbours, in any order', () => {
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [2, 1, 0],
      [1, 2, 0],
      [2, 0, 1],
    ]) {
      const pool = new MemoryPool();
      const blocks = [0, 1, 2].map(() => pool.allocate(1 << 20));
      const end = pool.allocate(64);
      for (const i of order) blocks[i]!.dispose();
      const again = pool.allocate(3 << 20); // fits only into the three as one
      expect(binding.address(viewOf(again))).toBe(binding.address(viewOf(blocks[0]!)));
      end.dispose();
      again.dispose();
    }
  });

  test('apart from one another count as fragmentation', () => {
    const pool = new MemoryPool();
    const size = (1 << 20) - GAP;
    const blocks = Array.from({ length: 16 }, () => pool.allocate(size)); // a slab of 16 MiB, full
    expect(pool.statistics).toMatchObject({ largestFree: 0, fragmentation: 0, reserved: 16 << 20 });
    for (let i = 0; i < 16; i += 2) blocks[i]!.dispose();
    expect(pool.statistics).toMatchObject({ largestFree: 1 << 20, fragmentation: 7 / 8 });
  });

  test('are given out again rather than new memory', () => {
    const pool = new MemoryPool();
    for (let i = 0; i < 1000; i++) pool.allocate(1 << 20).dispose();
    expect(pool.statistics).toMatchObject({ reserved: 16 << 20, total: 1000 * blockOf(1 << 20) });
  });
});

describe('the limit', () => {
  test('is kept: the refusal says what is in use and what helps, and changes nothing but its count', () => {
    const pool = new MemoryPool({ limit: 1000 + 3 * GAP });
    const held = pool.allocate(500);
    const before = pool.statistics;
    const refusal = refusalOf(() => pool.allocate(513));
    expect(refusal.code).toBe('DT_POOL_LIMIT');
    for (const part of [pool.limit, blockOf(500), 513, 'pool.scope'])
      expect(refusal.message).toContain(String(part));
    expect(pool.statistics).toEqual({ ...before, failures: 1 });
    held.dispose();
    expect(pool.allocate(513).byteLength).toBe(513);
  });

  test('may be raised, and lowered under what is in use', () => {
    const pool = new MemoryPool({ limit: 64 + GAP });
    const first = pool.allocate(64);
    pool.limit = 2 * (64 + GAP);
    pool.allocate(1);
    pool.limit = 1;
    expect(refusalOf(() => pool.allocate(1)).code).toBe('DT_POOL_LIMIT');
    expect([...viewOf(first)]).toHaveLength(64);
  });

  test.each([0, -1, NaN])('of %d is refused', (limit) => {
    expect(refusalOf(() => new MemoryPool({ limit })).code).toBe('DT_INVALID_ARGUMENT');
    const pool = new MemoryPool({ limit: 99 });
    const refusal = refusalOf(() => {
      pool.limit = limit;
    });
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(pool.limit).toBe(99);
  });
});

describe('dispose', () => {
  test('refuses further allocations, leaves tensors alone, and may be called again', () => {
    const pool = new MemoryPool();
    const t = empty([4], 'f32', pool);
    (t.borrow() as Float32Array).set([1, 2, 3, 4]);
    pool.dispose();
    pool.dispose();
    expect(refusalOf(() => pool.allocate(1)).code).toBe('DT_DISPOSED');
    expect([...(t.toArray() as Float32Array)]).toEqual([1, 2, 3, 4]);
    t.dispose();
    expect(pool.statistics).toMatchObject({ current: 0, blocks: 0, reserved: 0 });
  });

  test('gives the slab back that an idle pool keeps', () => {
    const pool = new MemoryPool();
    pool.allocate(1).dispose();
    expect(pool.statistics.reserved).toBe(16 << 20);
    pool.dispose();
    expect(pool.statistics.reserved).toBe(0);
  });

  test('is what `using` calls', () => {
    let kept: MemoryPool;
    {
      using pool = new MemoryPool();
      kept = pool;
    }
    expect(refusalOf(() => kept.allocate(1)).code).toBe('DT_DISPOSED');
  });
});

describe('leaks', () => {
  test('lists what is in use, largest first, with the line that made it where the pool tracks origins', () => {
    const pool = new MemoryPool({ trackOrigins: true });
    const small = pool.allocate(10);
    const large = pool.allocate(10_000);
    const leaks = pool.leaks();
    expect(leaks.map(({ bytes }) => bytes)).toEqual([blockOf(10_000), blockOf(10)]);
    for (const { origin } of leaks) expect(origin).toContain('memory-pool.test');
    large.dispose();
    expect(pool.leaks()).toHaveLength(1);
    small.dispose();
    expect(pool.leaks()).toEqual([]);
  });

  test('has no origins unless asked', () => {
    const pool = new MemoryPool();
    const held = pool.allocate(1);
    expect(pool.leaks()).toEqual([{ bytes: blockOf(1) }]);
    held.dispose();
  });
});

test('operations work in pools that are not the default one', () => {
  const pool = new MemoryPool();
  const before = defaultPool.statistics.total;
  pool.scope(() => {
    const x = tensor([1, 2]);
    expect(add(x, x).toJSON().data).toEqual([2, 4]);
  });
  expect(defaultPool.statistics.total).toBe(before);
  expect(pool.statistics.current).toBe(0);
  expect(pool.statistics.total).toBeGreaterThan(0);
});
