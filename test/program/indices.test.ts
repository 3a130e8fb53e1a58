import {
  AdamW,
  BatchNorm1d,
  compile,
  crossEntropy,
  Dropout,
  Embedding,
  embedding,
  Generator,
  grad,
  Linear,
  randn,
  reshape,
  Sequential,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Float, floats, laidOut, layouts, refusalOf, rejectionOf, seeds } from '../ops/support.js';
import { bits, watchPool } from './support.js';

const CODE = 'DT_INDEX_OUT_OF_RANGE';
type IndexType = 'i32' | 'i64';
const indexTypes = fc.constantFrom<IndexType>('i32', 'i64');

/** What is out of range for `limit` of something: next to it, far from it, and the bits of a NaN. */
const strangers = (limit: number, dtype: IndexType): bigint[] => {
  const near = [-1n, BigInt(limit), BigInt(limit) + 1n, -100n, 255n, 65_536n, 0x7fc0_0000n];
  const ends = [-(2n ** 31n), 2n ** 31n - 1n];
  if (dtype === 'i32') return [...near, ...ends];
  const far = [2n ** 31n, 2n ** 32n, 2n ** 32n + 1n, -(2n ** 32n), 2n ** 53n + 1n, 0x7ff8n << 48n];
  return [...near, ...ends, ...far, 2n ** 63n - 1n, -(2n ** 63n)];
};

function indicesOf(values: readonly bigint[], dtype: IndexType, shape = [values.length]): Tensor {
  const array = dtype === 'i64' ? BigInt64Array.from(values) : Int32Array.from(values, Number);
  return tensor(array, { shape });
}

/** Valid ones below `limit`. */
const counted = (count: number, limit: number): bigint[] =>
  Array.from({ length: count }, (_, i) => BigInt((i * 7) % limit));

/** What must be refused eagerly and compiled, awaited and synchronous, with its indices given and captured. */
async function expectRefused(fn: (indices: Tensor) => Tensor, indices: Tensor, said: string): Promise<void> {
  const eager = refusalOf(() => fn(indices));
  expect(eager.code).toBe(CODE);
  expect(eager.message).toContain(said);
  const given = compile(fn);
  const captured = compile(() => fn(indices));
  const refusals = [
    refusalOf(() => given.runSync(indices)),
    await rejectionOf(given(indices)),
    refusalOf(() => captured.runSync()),
    await rejectionOf(captured()),
    refusalOf(() => given.explain(indices)),
  ];
  for (const { code, message } of refusals) expect([code, message]).toEqual([CODE, eager.message]);
}

describe('an index that there is not', () => {
  test('is refused by embedding with its value and its place, wherever it stands, and nothing stays behind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.constantFrom<number[]>([1], [5], [2, 3], [3, 1, 17], [400]),
        fc.constantFrom(1, 16, 33),
        floats,
        indexTypes,
        layouts,
        fc.nat(),
        seeds,
        async (rows, shape, width, dtype, indexType, layout, choice, seed) => {
          const count = shape.reduce((a, b) => a * b);
          const values = counted(count, rows);
          const bad = strangers(rows, indexType)[choice % strangers(rows, indexType).length]!;
          fc.pre(bad < 0n || bad >= BigInt(rows));
          const place = seed % count;
          values[place] = bad;
          // One after the first bad one is not what is told.
          if (place + 1 < count && seed % 2 === 0) values[count - 1] = -7n;
          const weight = laidOut(new Array<number>(rows * width).fill(1), [rows, width], dtype, layout);
          const indices = indicesOf(values, indexType, shape);
          const at = shape.map((extent, d) => {
            const below = shape.slice(d + 1).reduce((a, b) => a * b, 1);
            return Math.floor(place / below) % extent;
          });
          const said = `indices of embedding from 0 to ${rows - 1}, of ${rows} rows, but received ${bad} at [${at.join(', ')}]`;
          await expectRefused((i) => embedding(weight, i), indices, said);
          for (const one of [weight, indices]) one.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each<[Float, IndexType]>([
    ['f32', 'i32'],
    ['f64', 'i64'],
  ])('is refused by crossEntropy of %s with labels of %s, each at each place', async (dtype, labelType) => {
    const [n, classes] = [9, 5];
    const logits = randn([n, classes], { dtype, generator: new Generator(1) });
    for (const [i, bad] of strangers(classes, labelType).entries()) {
      for (let place = i % 2; place < n; place += 2) {
        const values = counted(n, classes);
        values[place] = bad;
        const said = `labels of crossEntropy from 0 to 4, of 5 classes, but received ${bad} at [${place}]`;
        await expectRefused((y) => crossEntropy(logits, y), indicesOf(values, labelType), said);
      }
    }
  });

  test('is no label that ignoreIndex names, and others are refused beside it', async () => {
    const logits = randn([4, 3], { generator: new Generator(1) });
    for (const ignoreIndex of [-100, 3, -1, 2 ** 40]) {
      const ignored = indicesOf([0n, BigInt(ignoreIndex), 2n, 1n], 'i64');
      const loss = (y: Tensor) => crossEntropy(logits, y, { ignoreIndex });
      expect(loss(ignored).item()).toBeGreaterThan(0);
      expect((await compile(loss)(ignored)).item()).toBe(loss(ignored).item());
      const bad = indicesOf([0n, BigInt(ignoreIndex), 2n, -2n], 'i64');
      await expectRefused(
        loss,
        bad,
        `received -2 at [3]: nothing was changed. Correct the label, or leave its row out: ignoreIndex is ${ignoreIndex}.`,
      );
    }
  });

  test('is refused by the gradients alone, where nothing else asks for the loss', async () => {
    const [logits, weight] = [randn([3, 4]), randn([4, 2])];
    const bad = indicesOf([1n, 4n, 0n], 'i32');
    const byLabels = compile((y: Tensor) => grad(crossEntropy(logits, y), [logits])[0]!);
    expect((await rejectionOf(byLabels(bad))).code).toBe(CODE);
    const byRows = compile((i: Tensor) => grad(crossEntropy(embedding(weight, i), i), [weight])[0]!);
    expect((await rejectionOf(byRows(bad))).message).toContain('received 4 at [1]');
    const eagerly = valueAndGrad((y: Tensor) => crossEntropy(logits, y), [logits]);
    expect(refusalOf(() => eagerly(bad)).code).toBe(CODE);
  });

  test('leaves the results of no run behind', async () => {
    const logits = randn([300, 40]);
    const bad = indicesOf([...counted(299, 40), 40n], 'i32');
    const step = compile((y: Tensor) => crossEntropy(logits, y, { reduction: 'none' }));
    const attempt = async () => {
      refusalOf(() => crossEntropy(logits, bad));
      refusalOf(() => step.runSync(bad));
      await rejectionOf(step(bad));
    };
    await attempt();
    const expectNoMore = watchPool();
    for (let i = 0; i < 20; i++) await attempt();
    expectNoMore();
  });

  test('is told of the run that met it, of many at once', async () => {
    const logits = randn([400, 50]);
    const step = compile((y: Tensor) => crossEntropy(logits, y));
    const runs = Array.from({ length: 40 }, (_, i) => {
      const values = counted(400, 50);
      if (i % 3 > 0) values[i * 9] = BigInt(50 + i);
      return step(indicesOf(values, 'i64')).then(
        (loss) => `${loss.item()}`,
        (error: Error) => /received (\d+ at \[\d+\])/.exec(error.message)![1],
      );
    });
    const loss = `${crossEntropy(logits, indicesOf(counted(400, 50), 'i64')).item()}`;
    const want = runs.map((_, i) => (i % 3 > 0 ? `${50 + i} at [${i * 9}]` : loss));
    expect(await Promise.all(runs)).toEqual(want);
  });
});

/** A model with all that a step may change: weights, moments, counts, running statistics, a generator. */
function training(rows: number, classes: number, texts: number) {
  const generator = new Generator(3);
  const table = new Embedding(rows, 8, { generator });
  const rest = new Sequential(
    new BatchNorm1d(16),
    new Dropout(0.3, { generator }),
    new Linear(16, classes, { generator }),
  );
  const optimizer = new AdamW([...table.parameters(), ...rest.parameters()], { lr: 0.01 });
  const { params } = optimizer.paramGroups[0]!;
  const step = compile((ids: Tensor, labels: Tensor) => {
    const features = reshape(table.forward(ids), [texts, 16]);
    const loss = crossEntropy(rest.forward(features), labels);
    optimizer.step(grad(loss, params));
    return loss;
  });
  const state = () =>
    [table.stateDict(), rest.stateDict(), optimizer.stateDict(), generator.stateDict()]
      .flatMap((dict) => Object.entries(dict))
      .map(([name, one]) => `${name} ${bits(one)}`);
  return { step, state };
}

describe.each([4, 600])('a training step on %i samples', (texts) => {
  test('that meets one leaves all as it was, to the bit, and the next goes on', async () => {
    const [rows, classes] = [50, 6];
    const [met, spared] = [training(rows, classes, texts), training(rows, classes, texts)];
    const ids = indicesOf(counted(2 * texts, rows), 'i32', [texts, 2]);
    const labels = indicesOf(counted(texts, classes), 'i64');
    const badIds = indicesOf([...counted(2 * texts - 1, rows), -1n], 'i32', [texts, 2]);
    const badLabels = indicesOf([...counted(texts - 1, classes), 6n], 'i64');
    const both = async () => {
      const losses = [await met.step(ids, labels), await spared.step(ids, labels)].map(bits);
      expect(losses[0]).toBe(losses[1]);
      expect(met.state()).toEqual(spared.state());
    };
    await both();
    for (const [i, y, said] of [
      [badIds, labels, `-1 at [${texts - 1}, 1]`],
      [ids, badLabels, `6 at [${texts - 1}]`],
    ] as const) {
      const refusals = [await rejectionOf(met.step(i, y)), refusalOf(() => met.step.runSync(i, y))];
      for (const { code, message } of refusals) {
        expect(code).toBe(CODE);
        expect(message).toContain(said);
      }
      expect(met.state()).toEqual(spared.state());
    }
    await both();
  });
});
