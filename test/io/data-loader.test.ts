import { setImmediate as turn } from 'node:timers/promises';
import {
  CheckpointManager,
  DataLoader,
  type DataLoaderState,
  type DType,
  defaultPool,
  type Sampler,
  Tensor,
  TensorDataset,
  tensor,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPES } from '../../dist/tensor/index.js';
import { uniforms } from '../ops/philox.js';
import { watchPool } from '../program/support.js';
import { failureOf, rejectionOf, temporaryFolder } from './support.js';

const numbers = (length: number) => Array.from({ length }, (_, i) => i);

/** The batches of one epoch of the numbers below `length`, as arrays. */
const asIs = (samples: number[]) => samples;

async function drain<B>(batches: AsyncIterable<B>): Promise<B[]> {
  const all: B[] = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

describe('the order', () => {
  test('is that of Fisher and Yates over the documented stream of random numbers', async () => {
    for (const [length, seed, epoch] of [
      [1, 0, 0],
      [2, 5, 0],
      [57, 3, 0],
      [57, 3, 2],
      [300, 2 ** 40 + 1, 1],
    ] as const) {
      const loader = new DataLoader(numbers(length), {
        batchSize: length,
        shuffle: true,
        seed,
        collate: asIs,
      });
      loader.loadStateDict({ ...loader.stateDict(), epoch });
      const expected = numbers(length);
      const random = uniforms(seed, epoch * 2 ** 31, length, 'f64');
      for (let i = length - 1; i > 0; i--) {
        const j = Math.floor(random[length - 1 - i]! * (i + 1));
        [expected[i], expected[j]] = [expected[j]!, expected[i]!];
      }
      expect((await drain(loader))[0]).toEqual(expected);
    }
  });

  test('is a permutation, another one in each epoch, whatever is made ahead', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(60),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        fc.nat(5),
        fc.boolean(),
        async (length, batchSize, seed, prefetch, dropLast) => {
          const options = { batchSize, shuffle: true, seed, dropLast, collate: asIs };
          const loader = new DataLoader(numbers(length), { ...options, prefetch });
          const plain = new DataLoader(numbers(length), { ...options, prefetch: 0 });
          for (let epoch = 0; epoch < 2; epoch++) {
            const batches = await drain(loader);
            expect(batches).toEqual(await drain(plain));
            expect(batches).toHaveLength(loader.length);
            const seen = batches.flat();
            expect(new Set(seen).size).toBe(seen.length);
            if (!dropLast) expect(seen.toSorted((a, b) => a - b)).toEqual(numbers(length));
            for (const batch of batches.slice(0, dropLast ? undefined : -1))
              expect(batch).toHaveLength(batchSize);
          }
        },
      ),
      { numRuns: 60 },
    );
    const loader = new DataLoader(numbers(100), { batchSize: 100, shuffle: true, collate: asIs });
    expect(await drain(loader)).not.toEqual(await drain(loader));
  });

  test('puts every sample in every place about as often', async () => {
    const [length, epochs] = [5, 4000];
    const counts = numbers(length * length).map(() => 0);
    const loader = new DataLoader(numbers(length), { batchSize: length, shuffle: true, collate: asIs });
    for (let epoch = 0; epoch < epochs; epoch++)
      (await drain(loader))[0]!.forEach((sample, place) => {
        counts[place * length + sample]!++;
      });
    const expected = epochs / length;
    const chiSquared = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 16 degrees of freedom: it passes 39.3 once in a thousand; the seed is fixed.
    expect(chiSquared).toBeLessThan(39.3);
  });

  test('of many samples is made in several turns of the event loop', async () => {
    let turns = 0;
    let running = true;
    const count = () => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const iterator = new DataLoader(numbers(400_000), { batchSize: 400_000, shuffle: true, collate: asIs });
    const [batch] = await drain(iterator);
    running = false;
    expect(turns).toBeGreaterThan(5);
    expect(new Set(batch).size).toBe(400_000);
  });

  test('is that of a sampler, which is checked', async () => {
    const with_ = (sampler: Sampler) => new DataLoader(['a', 'b', 'c'], { batchSize: 2, sampler });
    const loader = with_((epoch) => (epoch === 0 ? [2, 0, 1] : Uint8Array.of(1, 1, 1)));
    expect(await drain(loader)).toEqual([['c', 'a'], ['b']]);
    expect(await drain(loader)).toEqual([['b', 'b'], ['b']]);
    for (const [wrong, word] of [
      [[0, 1], '2 of them'],
      [[0, 1, 3], '3 among'],
      [[0, 1, -1], '-1 among'],
      [[0, 1, 0.5], '0.5 among'],
      [[0, 1, NaN], 'NaN among'],
    ] as const)
      expect((await rejectionOf(drain(with_(() => wrong)))).message).toContain(word);
  });
});

describe('what was left goes on', () => {
  test('after any number of batches, from JSON, with the same batches', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 7 }),
        fc.nat(200),
        fc.nat(3),
        async (length, batchSize, stop, prefetch) => {
          const make = (seed: number) =>
            new DataLoader(numbers(length), { batchSize, shuffle: true, seed, prefetch, collate: asIs });
          const whole = make(7);
          const all = [...(await drain(whole)), ...(await drain(whole)), ...(await drain(whole))];
          const first = make(7);
          const seen: number[][] = [];
          let state: DataLoaderState | undefined;
          while (state === undefined && first.epoch < 2) {
            for await (const batch of first) {
              seen.push(batch);
              if (seen.length <= stop % all.length) continue;
              state = JSON.parse(JSON.stringify(first.stateDict()));
              break;
            }
          }
          const second = make(8);
          second.loadStateDict(state ?? first.stateDict());
          while (second.epoch < 3) seen.push(...(await drain(second)));
          expect(seen).toEqual(all);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('through a checkpoint', async () => {
    const make = () => new DataLoader(numbers(20), { batchSize: 3, shuffle: true, seed: 4, collate: asIs });
    const manager = new CheckpointManager(temporaryFolder());
    const [first, second] = [make(), make()];
    const rest: number[][] = [];
    for await (const batch of first) {
      if (first.stateDict().position === 4) await manager.save({ data: first }, { step: 4 });
      else if (first.stateDict().position > 4) rest.push(batch);
    }
    await (await manager.latest())!.load({ data: second });
    expect(await drain(second)).toEqual(rest);
    expect(await drain(second)).toEqual(await drain(first));
  });

  test('not where the batches would be others, nor inside of a loop', async () => {
    const loader = new DataLoader(numbers(20), { batchSize: 3, collate: asIs });
    const state = loader.stateDict();
    for (const wrong of [
      { ...state, samples: 21 },
      { ...state, batchSize: 4 },
      { ...state, position: 8 },
      { ...state, position: -1 },
      { ...state, epoch: 0.5 },
      { ...state, seed: '1' as never },
    ])
      expect(failureOf(() => loader.loadStateDict(wrong)).code).toBe('DT_INVALID_ARGUMENT');
    expect(loader.stateDict()).toEqual(state);
    for await (const _ of loader) {
      expect(failureOf(() => loader.loadStateDict(state)).message).toContain('outside of its loop');
      expect((await rejectionOf(drain(loader))).message).toContain('one loop at a time');
      break;
    }
    expect((await drain(loader)).length).toBe(6);
  });
});

describe('what goes wrong', () => {
  test('an error of the dataset comes in its turn, as it was thrown, and its batch is tried again', async () => {
    const failure = new RangeError('sample 5');
    let broken = true;
    const dataset = {
      length: 9,
      get: async (index: number) => {
        if (index === 5 && broken) throw failure;
        return index;
      },
    };
    const loader = new DataLoader(dataset, { batchSize: 2, prefetch: 4, collate: asIs });
    const seen: number[][] = [];
    await expect(
      (async () => {
        for await (const batch of loader) seen.push(batch);
      })(),
    ).rejects.toBe(failure);
    expect(seen).toEqual([
      [0, 1],
      [2, 3],
    ]);
    broken = false;
    expect(await drain(loader)).toEqual([[4, 5], [6, 7], [8]]);
  });

  test('errors of batches that nobody asks for any more go nowhere', async () => {
    const dataset = {
      length: 6,
      batch: async (indices: Uint32Array) => {
        if (indices[0]! > 1) throw new Error('too late');
        return indices[0]!;
      },
    };
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    for (const turns of [0, 5]) {
      for await (const _ of new DataLoader(dataset, { batchSize: 1, prefetch: 5 })) {
        for (let i = 0; i < turns; i++) await turn();
        break;
      }
      for (let i = 0; i < 5; i++) await turn();
    }
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test('an abort ends a wait at once, and the next loop has the batch that was waited for', async () => {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const dataset = {
      length: 6,
      get: async (index: number) => {
        if (index === 4) await gate;
        return index;
      },
    };
    const loader = new DataLoader(dataset, { batchSize: 2, collate: asIs });
    const controller = new AbortController();
    const seen: number[][] = [];
    const failure = rejectionOf(
      (async () => {
        for await (const batch of loader.iterate({ signal: controller.signal })) {
          seen.push(batch);
          if (batch.includes(2)) setTimeout(() => controller.abort('enough'), 5);
        }
      })(),
    );
    expect(await failure).toMatchObject({ code: 'DT_ABORTED', cause: 'enough' });
    expect(seen).toEqual([
      [0, 1],
      [2, 3],
    ]);
    const again = await rejectionOf(drain(loader.iterate({ signal: controller.signal })));
    expect(again.code).toBe('DT_ABORTED');
    release();
    expect(await drain(loader)).toEqual([[4, 5]]);
  });

  test('arguments that make no sense are refused', () => {
    const make = (dataset: unknown, options: object) => () =>
      new DataLoader(dataset as number[], { batchSize: 1, ...options } as never);
    const batches = { length: 1, batch: () => 1 };
    for (const [wrong, word] of [
      [make([1], { batchSize: 0 }), 'batchSize'],
      [make([1], { batchSize: undefined }), 'batchSize'],
      [make([1], { seed: -1 }), 'seed'],
      [make([1], { prefetch: 0.5 }), 'prefetch'],
      [make([1], { shuffel: true }), 'shuffel'],
      [make([1], { shuffle: true, sampler: () => [0] }), 'either shuffle'],
      [make([1], { sampler: [0] }), 'sampler'],
      [make(undefined, {}), 'as dataset'],
      [make(7, {}), 'as dataset'],
      [make({ get: () => 1 }, {}), 'length of the dataset'],
      [make(batches, { collate: asIs }), 'no collate'],
    ] as const) {
      const failure = failureOf(wrong);
      expect(failure.code).toBe('DT_INVALID_ARGUMENT');
      expect(failure.message).toContain(word);
    }
  });
});

describe('making ahead', () => {
  test('is bounded, and begins when the consumer has had its turn', async () => {
    const events: string[] = [];
    const dataset = {
      length: 5,
      batch: (indices: Uint32Array) => {
        events.push(`made ${indices[0]}`);
        return indices[0]!;
      },
    };
    for await (const batch of new DataLoader(dataset, { batchSize: 1, prefetch: 2 })) {
      events.push(`begins ${batch}`);
      for (let i = 0; i < 10; i++) await turn();
      events.push(`ends ${batch}`);
    }
    expect(events.slice(0, 9)).toEqual([
      'made 0',
      'begins 0',
      'made 1',
      'made 2',
      'ends 0',
      'begins 1',
      'made 3',
      'ends 1',
      'begins 2',
    ]);
    const eager: number[] = [];
    const plain = { length: 5, batch: (indices: Uint32Array) => eager.push(indices[0]!) };
    for await (const _ of new DataLoader(plain, { batchSize: 1, prefetch: 0 })) {
      for (let i = 0; i < 10; i++) await turn();
      expect(eager).toHaveLength(1);
      break;
    }
  });

  test('holds no memory when a loop is left early, and loops hold none at all', async () => {
    const x = tensor(
      Float32Array.from({ length: 4000 }, (_, i) => i),
      { shape: [400, 10] },
    );
    const y = tensor(Int32Array.from({ length: 400 }, (_, i) => i));
    const loader = new DataLoader(new TensorDataset(x, y), { batchSize: 16, shuffle: true, prefetch: 3 });
    const expectNoMore = watchPool();
    for (let i = 0; i < 100; i++) {
      let batches = 0;
      for await (const batch of loader) {
        const used = defaultPool.statistics.blocks;
        expect(used).toBeGreaterThan(0);
        for (const one of batch) one.dispose();
        if (++batches === i % 5) break;
      }
      for (let k = 0; k < 3; k++) await turn();
      expectNoMore();
    }
    x.dispose();
    y.dispose();
  });

  test('leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const [add, remove] = [signal.addEventListener, signal.removeEventListener];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove.apply(signal, args);
    };
    await drain(new DataLoader(numbers(50), { batchSize: 1, collate: asIs }).iterate({ signal }));
    await turn();
    expect(listeners).toBe(0);
  });
});

describe('batches', () => {
  const values = (batch: unknown): unknown => {
    if (batch instanceof Tensor)
      return { dtype: batch.dtype, shape: batch.shape, data: [...batch.toArray()] };
    if (Array.isArray(batch)) return batch.map(values);
    if (typeof batch !== 'object' || batch === null) return batch;
    return Object.fromEntries(Object.entries(batch).map(([name, part]) => [name, values(part)]));
  };
  const batchOf = async (samples: readonly unknown[]) =>
    values((await drain(new DataLoader<unknown, unknown>(samples, { batchSize: samples.length })))[0]);

  test('put samples of every kind together', async () => {
    expect(await batchOf([1, 2.5])).toEqual({ dtype: 'f32', shape: [2], data: [1, 2.5] });
    expect(await batchOf([1n, 2n])).toEqual({ dtype: 'i64', shape: [2], data: [1n, 2n] });
    expect(await batchOf([true, false])).toEqual({ dtype: 'bool', shape: [2], data: [1, 0] });
    expect(await batchOf(['a', 'b'])).toEqual(['a', 'b']);
    expect(await batchOf([Int8Array.of(1, -2), Int8Array.of(3, 4)])).toEqual({
      dtype: 'i8',
      shape: [2, 2],
      data: [1, -2, 3, 4],
    });
    expect(await batchOf([tensor([[1], [2]]), tensor([[3], [4]])])).toMatchObject({ shape: [2, 2, 1] });
    expect(
      await batchOf([
        { x: [1, 2], meta: ['a', 1n] },
        { x: [3, 4], meta: ['b', 2n] },
      ]),
    ).toEqual({
      x: { dtype: 'f32', shape: [2, 2], data: [1, 2, 3, 4] },
      meta: [['a', 'b'], { dtype: 'i64', shape: [2], data: [1n, 2n] }],
    });
  });

  test('refuse samples that are not alike, and leave no memory', async () => {
    const expectNoMore = watchPool();
    for (const [samples, code, word] of [
      [[1, 'a'], 'DT_INVALID_ARGUMENT', 'number in one and string in another'],
      [[{ a: 1 }, { b: 1 }], 'DT_INVALID_ARGUMENT', 'a in one and b in another'],
      [
        [
          { a: 1, c: 1n },
          { a: 1, c: null },
        ],
        'DT_INVALID_ARGUMENT',
        'part c of a sample',
      ],
      [[[1, 2], [1]], 'DT_SHAPE_MISMATCH', 'equal length'],
      [[new Float32Array(1), new Float32Array(2)], 'DT_SHAPE_MISMATCH', 'Float32Array of 2'],
      [[new Float32Array(1), new Int32Array(1)], 'DT_SHAPE_MISMATCH', 'Int32Array of 1'],
      [[undefined], 'DT_INVALID_ARGUMENT', 'undefined'],
      [[null], 'DT_INVALID_ARGUMENT', 'null'],
    ] as const) {
      const failure = await rejectionOf(batchOf(samples));
      expect([failure.code, failure.message]).toEqual([code, expect.stringContaining(word)]);
    }
    expectNoMore();
  });

  test('of tensors are their rows, in every dtype', async () => {
    for (const dtype of Object.keys(DTYPES) as DType[]) {
      const big = dtype === 'i64';
      const data = (length: number) =>
        new DTYPES[dtype].array(Array.from({ length }, (_, i) => (big ? BigInt(i % 2) : i % 2)) as never);
      const wide = tensor(data(24), { shape: [4, 3, 2], dtype });
      const narrow = tensor(data(4), { dtype });
      const [a, b] = new TensorDataset(wide, narrow).batch(Uint32Array.of(3, 0));
      expect(values(a)).toEqual({
        dtype,
        shape: [2, 3, 2],
        data: [...data(24).slice(18), ...data(24).slice(0, 6)],
      });
      expect(values(b)).toEqual({ dtype, shape: [2], data: [data(4)[3], data(4)[0]] });
    }
    expect(failureOf(() => new TensorDataset(tensor([1, 2]), tensor([1]))).code).toBe('DT_SHAPE_MISMATCH');
    expect(failureOf(() => new TensorDataset(tensor(1))).code).toBe('DT_SHAPE_MISMATCH');
    expect(failureOf(() => new TensorDataset()).code).toBe('DT_INVALID_ARGUMENT');
    expect(failureOf(() => new TensorDataset([1] as never)).code).toBe('DT_INVALID_ARGUMENT');
  });
});
