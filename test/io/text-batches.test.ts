import { bucketSampler, DataLoader, padSequences } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { watchPool } from '../program/support.js';
import { failureOf } from './support.js';

test('sequences are filled up to the longest, and the mask says with what', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.nat(30_000), { maxLength: 9 }), { maxLength: 6 }),
      fc.nat(5),
      fc.constantFrom('i32', 'i64'),
      (sequences, padId, dtype) => {
        const { inputIds, attentionMask } = padSequences(sequences, { padId, dtype });
        const longest = Math.max(0, ...sequences.map(({ length }) => length));
        expect([inputIds.dtype, attentionMask.dtype]).toEqual([dtype, 'bool']);
        for (const one of [inputIds, attentionMask]) expect(one.shape).toEqual([sequences.length, longest]);
        const [ids, mask] = [inputIds.toArray(), attentionMask.toArray()];
        sequences.forEach((sequence, row) => {
          for (let i = 0; i < longest; i++) {
            expect(Number(ids[row * longest + i])).toBe(sequence[i] ?? padId);
            expect(mask[row * longest + i]).toBe(i < sequence.length ? 1 : 0);
          }
        });
        inputIds.dispose();
        attentionMask.dispose();
      },
    ),
  );
});

test('what no dtype holds is refused, and leaves no memory', () => {
  const expectNoMore = watchPool();
  for (const [sequences, options] of [
    [[[1.5]], {}],
    [[[2 ** 31]], {}],
    [[[1]], { padId: -0.5 }],
    [[[1]], { pad: 1 }],
    [[['a']], {}],
  ] as const)
    expect(failureOf(() => padSequences(sequences as never, options as object)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
  expect(failureOf(() => padSequences([[1]], { dtype: 'f32' as never })).code).toBe('DT_DTYPE_MISMATCH');
  expectNoMore();
});

test('buckets are permutations by seed and epoch, and save most of the padding', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(50), { maxLength: 300 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(1000),
      async (lengths, batchSize, seed) => {
        const order = Array.from(await bucketSampler(lengths, { batchSize, seed })(3));
        expect(order.toSorted((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
        expect(Array.from(await bucketSampler(lengths, { batchSize, seed })(3))).toEqual(order);
      },
    ),
    { numRuns: 50 },
  );
  const lengths = Array.from({ length: 4000 }, (_, i) => 1 + ((i * 7919) % 127));
  const padding = async (order: ArrayLike<number>) => {
    let filled = 0;
    for (let first = 0; first < order.length; first += 16) {
      const batch = Array.from(order).slice(first, first + 16);
      const longest = Math.max(...batch.map((i) => lengths[i]!));
      for (const i of batch) filled += longest - lengths[i]!;
    }
    return filled;
  };
  const sampler = bucketSampler(lengths, { batchSize: 16 });
  const [bucketed, plain] = [await padding(await sampler(0)), await padding(lengths.map((_, i) => i))];
  expect(bucketed).toBeLessThan(plain / 5);
  expect(Array.from(await sampler(0))).not.toEqual(Array.from(await sampler(1)));
  expect(failureOf(() => bucketSampler(lengths, { batchSize: 0 })).code).toBe('DT_INVALID_ARGUMENT');
});

test('batches of texts come from a loader, padded to their own longest', async () => {
  const texts = [[5], [5, 6, 7], [5, 6], [5, 6, 7, 8], [9], [9, 9]];
  const sampler = bucketSampler(
    texts.map(({ length }) => length),
    { batchSize: 2 },
  );
  const loader = new DataLoader(texts, { batchSize: 2, sampler, collate: (batch) => padSequences(batch) });
  const shapes: number[] = [];
  for await (const { inputIds, attentionMask } of loader) {
    shapes.push(inputIds.shape[1]!);
    expect(attentionMask.shape).toEqual(inputIds.shape);
  }
  expect(shapes.sort()).toEqual([1, 2, 4]);
});
