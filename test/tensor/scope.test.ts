import { add, defaultPool, MemoryPool, mul, type Tensor, tensor } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';

const blocks = (pool = defaultPool) => pool.statistics.blocks;

describe('a scope', () => {
  test('frees what was made in it and keeps what it returns', () => {
    const before = blocks();
    let lost: Tensor | undefined;
    const kept = defaultPool.scope(() => {
      lost = tensor([1, 2]);
      return add(mul(lost, 2), 1);
    });
    expect(lost!.disposed).toBe(true);
    expect(blocks()).toBe(before + 1);
    expect(kept.toJSON().data).toEqual([3, 5]);
    kept.dispose();
    expect(blocks()).toBe(before);
  });

  test('keeps tensors inside arrays and objects, however deep, and views of them', () => {
    const before = blocks();
    const result = defaultPool.scope(() => {
      const base = tensor([1, 2, 3, 4]);
      return {
        list: [tensor([1]), [tensor([2])]],
        deep: { view: base.viewAs([2, 2]) },
        other: 'text',
        none: null,
      };
    });
    expect(blocks()).toBe(before + 3);
    expect(result.deep.view.toJSON().data).toEqual([1, 2, 3, 4]);
    expect((result.list[0] as Tensor).item()).toBe(1);
    expect((result.list[1] as Tensor[])[0]!.item()).toBe(2);
    for (const t of [result.deep.view, result.list[0] as Tensor, (result.list[1] as Tensor[])[0]!])
      t.dispose();
    expect(blocks()).toBe(before);
  });

  test('bears results that refer to themselves', () => {
    const loop: { self?: unknown; t?: Tensor } = {};
    loop.self = loop;
    defaultPool.scope(() => {
      loop.t = tensor([7]);
      return loop;
    });
    expect(loop.t!.item()).toBe(7);
    loop.t!.dispose();
  });

  test('frees what it made when it throws, and passes the error on', () => {
    const before = blocks();
    const error = new Error('mine');
    expect(() =>
      defaultPool.scope(() => {
        tensor([1]);
        throw error;
      }),
    ).toThrow(error);
    expect(blocks()).toBe(before);
    tensor([1]).dispose(); // the scope is over
    expect(blocks()).toBe(before);
  });

  test('leaves alone what was made before it, and what was disposed in it', () => {
    const outer = tensor([1]);
    defaultPool.scope(() => {
      tensor([2]).dispose();
      return outer;
    });
    expect(outer.item()).toBe(1);
    defaultPool.scope(() => add(outer, 1)).dispose();
    expect(outer.disposed).toBe(false);
    outer.dispose();
  });

  test('in a scope hands what it returns to the outer one', () => {
    const before = blocks();
    let inner: Tensor | undefined;
    const kept = defaultPool.scope(() => {
      inner = defaultPool.scope(() => add(tensor([1]), 1));
      expect(inner.disposed).toBe(false);
      return defaultPool.scope(() => add(inner!, 1));
    });
    expect(inner!.disposed).toBe(true);
    expect(kept.item()).toBe(3);
    kept.dispose();
    expect(blocks()).toBe(before);
  });

  test('of another pool takes memory from that one, and comes back to the outer one', () => {
    const [outer, inner] = [new MemoryPool(), new MemoryPool()];
    outer.scope(() => {
      tensor([1]);
      inner.scope(() => {
        tensor([2]);
        expect([blocks(outer), blocks(inner)]).toEqual([1, 1]);
      });
      expect(blocks(inner)).toBe(0);
      tensor([3]);
      expect(blocks(outer)).toBe(2);
    });
    expect(blocks(outer)).toBe(0);
  });

  test('refuses an asynchronous function and frees what it made, without an unhandled rejection', async () => {
    const before = blocks();
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listen);
    try {
      const refusal = refusalOf(() =>
        defaultPool.scope(async () => {
          const t = tensor([1]);
          await null;
          return add(t, 1); // t is gone by now, so this fails; the caller has been told already
        }),
      );
      expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
      expect(refusal.message).toContain('promise');
      expect(blocks()).toBe(before);
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', listen);
    }
  });
});
