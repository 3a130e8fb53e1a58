import {
  abs,
  add,
  cast,
  crossEntropy,
  defaultPool,
  div,
  Generator,
  Linear,
  ones,
  randn,
  SGD,
  type Tensor,
  TopKCompressor,
  tensor,
  topk,
  valueAndGrad,
  wrap,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, FLOATS, randomNumbers, randomSource, refusalOf } from '../../ops/support.js';

type FloatArray = Float32Array | Float64Array;
const dense = (compressor: TopKCompressor, bytes: Uint8Array): number[] => {
  const [back] = compressor.decompress(bytes) as [Tensor];
  const data = [...(back.toArray() as FloatArray)];
  back.dispose();
  return data;
};
const residualOf = (compressor: TopKCompressor) => [
  ...(compressor.stateDict()['0.residual']!.toArray() as FloatArray),
];

/** What top-k with error feedback sends, in plain JavaScript. */
function reference(residual: number[], gradient: readonly number[], k: number, round: (x: number) => number) {
  const sum = residual.map((r, i) => round(r + gradient[i]!));
  const order = sum.map((_, i) => i).sort((i, j) => Math.abs(sum[j]!) - Math.abs(sum[i]!) || i - j);
  const sent = new Array<number>(sum.length).fill(0);
  for (const i of order.slice(0, k)) [sent[i], sum[i]] = [sum[i]!, 0];
  return { sent, residual: sum };
}

describe.each(FLOATS)('%s', (dtype) => {
  const round = dtype === 'f32' ? Math.fround : (x: number) => x;
  const arrayOf = (data: readonly number[]) =>
    dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data);

  test('sends the largest of gradient and residual, and keeps the rest, to the bit', () => {
    const value = fc.oneof(
      fc.integer({ min: -3, max: 3 }),
      fc.integer({ min: -9e9, max: 9e9 }).map((x) => x / 1e9),
    );
    const history = fc
      .integer({ min: 1, max: 30 })
      .chain((n) =>
        fc.array(fc.array(value, { minLength: n, maxLength: n }), { minLength: 1, maxLength: 6 }),
      );
    fc.assert(
      fc.property(history, fc.double({ min: 0.01, max: 1, noNaN: true }), (gradients, ratio) => {
        const n = gradients[0]!.length;
        const compressor = new TopKCompressor([arrayOf(gradients[0]!)], { ratio });
        let residual = new Array<number>(n).fill(0);
        for (const one of gradients) {
          const gradient = arrayOf(one);
          const bytes = compressor.compress([gradient]);
          const expected = reference(residual, [...gradient], Math.ceil(ratio * n), round);
          residual = expected.residual;
          expect(dense(compressor, bytes).map((x) => x + 0)).toEqual(expected.sent.map((x) => x + 0));
          expect(residualOf(compressor).map((x) => x + 0)).toEqual(residual.map((x) => x + 0));
        }
      }),
      { numRuns: 100 },
    );
  });

  // Long tensors are looked through by a sample: with numbers of all sizes, few of them, equal ones, and a pattern that
  // the sample misses.
  const N = 70_001;
  const long: [string, (i: number, random: () => number) => number][] = [
    ['spread', (_, random) => (random() - 0.5) ** 7],
    ['almost all 0', (i) => (i % 1000 === 0 ? i : 0)],
    ['all equal', () => -2],
    ['of few values', (_, random) => Math.floor(5 * random())],
    ['large where the sample looks', (i) => (i % 61 === 0 ? 1000 + i : 1)],
    ['large where it does not', (i) => (i % 61 === 0 ? 0 : 1000 + (i % 997))],
    ['rising', (i) => i],
  ];
  test.each(long)('of a long tensor they are those of topk: %s', (_, at) => {
    const random = randomSource(7);
    const gradient = arrayOf(Array.from({ length: N }, (_, i) => at(i, random)));
    for (const ratio of [0.0001, 0.01, 0.12]) {
      const compressor = new TopKCompressor([gradient], { ratio });
      const sent = dense(compressor, compressor.compress([gradient]));
      const [, indices] = topk(abs(wrap(gradient)), Math.ceil(ratio * N));
      const expected = new Array<number>(N).fill(0);
      for (const i of indices.toArray() as BigInt64Array) expected[Number(i)] = gradient[Number(i)]!;
      expect(bitsOf(Float64Array.from(sent))).toBe(bitsOf(Float64Array.from(expected)));
    }
  });
});

test('1 % of f32 is a fiftieth of the bytes, and a header', () => {
  const gradient = Float32Array.from(randomNumbers(100_000, 1));
  const { length } = new TopKCompressor([gradient]).compress([gradient]);
  expect(length).toBeGreaterThan(8000);
  expect(length).toBeLessThan(8000 + 512);
});

test('takes tensors of any dtype and shape, empty ones too', () => {
  const params = [zeros([2, 2]), zeros([0, 3]), cast(zeros([3]), 'f16')];
  const compressor = new TopKCompressor(params, { ratio: 0.3 });
  const gradients = [
    tensor([
      [1, 5],
      [-7, 2],
    ]),
    zeros([0, 3]),
    cast(tensor([1, -2, 0.5]), 'f16'),
  ];
  const back = compressor.decompress(compressor.compress(gradients));
  expect(back.map((t) => [t.dtype, t.shape])).toEqual(params.map((t) => [t.dtype, t.shape]));
  expect([...(back[0]!.toArray() as Float32Array)]).toEqual([0, 5, -7, 0]);
  expect([...(cast(back[2]!, 'f32').toArray() as Float32Array)]).toEqual([0, -2, 0]);
  expect([...(compressor.stateDict()['2.residual']!.toArray() as Float32Array)]).toEqual([1, 0, 0.5]);
});

test('leaves no memory behind', () => {
  const gradient = ones([100_000]);
  const compressor = new TopKCompressor([gradient]);
  const { current } = defaultPool.statistics;
  for (let i = 0; i < 3; i++) {
    for (const t of compressor.decompress(compressor.compress([gradient]))) t.dispose();
    expect(defaultPool.statistics.current).toBe(current);
  }
});

test('goes on from its state', () => {
  const gradients = Array.from({ length: 4 }, (_, k) => Float32Array.from(randomNumbers(50, k)));
  const one = new TopKCompressor([new Float32Array(50)], { ratio: 0.1 });
  const other = new TopKCompressor([new Float32Array(50)], { ratio: 0.1 });
  for (const gradient of gradients.slice(0, 3)) one.compress([gradient]);
  other.loadStateDict(one.stateDict());
  expect(other.compress([gradients[3]!])).toEqual(one.compress([gradients[3]!]));
  expect(residualOf(other)).toEqual(residualOf(one));
  expect(refusalOf(() => other.loadStateDict({})).message).toContain('0.residual');
});

test('a refused call leaves the residual as it was', () => {
  const [a, b] = [new Float32Array(4), new Float32Array(2)];
  const compressor = new TopKCompressor([a, b], { ratio: 0.3 });
  compressor.compress([Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 2)]);
  const before = Object.values(compressor.stateDict()).map((t) => bitsOf(t.toArray()));
  const good = Float32Array.of(9, 9, 9, 9);
  for (const [gradients, code] of [
    [[good, Float32Array.of(NaN, 1)], 'DT_NON_FINITE'],
    [[good, Float32Array.of(1, Infinity)], 'DT_NON_FINITE'],
    [[good, new Float32Array(3)], 'DT_SHAPE_MISMATCH'],
    [[good], 'DT_SHAPE_MISMATCH'],
  ] as const) {
    expect(refusalOf(() => compressor.compress(gradients)).code).toBe(code);
    expect(Object.values(compressor.stateDict()).map((t) => bitsOf(t.toArray()))).toEqual(before);
  }
});

test.each([0, -1, 1.5, NaN, '0.1' as unknown as number])('a ratio of %o is refused', (ratio) => {
  expect(refusalOf(() => new TopKCompressor([new Float32Array(1)], { ratio })).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
});

/**
 * Four workers train one softmax regression, each on two of eight classes, and average the gradients that they send: the
 * loss over all data in the end. Where feedback is missing, the large gradients with which the workers contradict each other
 * take the places of those that they agree about (Beznosikov and others, arXiv:2002.12410, example 1).
 */
function lossAfter(steps: number, send: 'all' | 'with feedback' | 'without'): number {
  const [workers, classes, features, samples] = [4, 8, 16, 32];
  const generator = new Generator(3);
  const model = new Linear(features, classes, { generator });
  const centres = randn([classes, features], { generator }).toArray();
  const shards = Array.from({ length: workers }, (_, worker) => {
    const labels = Int32Array.from({ length: samples }, (_, i) => 2 * worker + (i % 2));
    const noise = randn([samples, features], { generator }).toArray() as Float32Array;
    const data = noise.map(
      (z, i) => z / 2 + Number(centres[labels[Math.floor(i / features)]! * features + (i % features)]),
    );
    const compressor = new TopKCompressor(model.parameters(), { ratio: 0.02 });
    return { x: tensor(data, { shape: [samples, features] }), y: tensor(labels), compressor };
  });
  const nothing = Object.fromEntries(
    Object.entries(shards[0]!.compressor.stateDict()).map(([name, t]) => [name, zeros(t.shape)]),
  );
  const lossOf = (x: Tensor, y: Tensor) => crossEntropy(model.forward(x), y);
  const gradientsOf = valueAndGrad(lossOf, model.parameters());
  const optimizer = new SGD(model.parameters(), { lr: 0.5 });
  for (let step = 0; step < steps; step++) {
    defaultPool.scope(() => {
      const sent = shards.map(({ x, y, compressor }) => {
        const { grads } = gradientsOf(x, y);
        if (send === 'all') return grads;
        if (send === 'without') compressor.loadStateDict(nothing);
        return compressor.decompress(compressor.compress(grads));
      });
      optimizer.step(
        model.parameters().map((_, i) =>
          div(
            sent.map((all) => all[i]!).reduce((a, b) => add(a, b)),
            workers,
          ),
        ),
      );
    });
  }
  const losses = shards.map(({ x, y }) => defaultPool.scope(() => lossOf(x, y).item()));
  return losses.reduce((a, b) => a + b) / workers;
}

test('training converges with error feedback, and falls behind without', () => {
  const steps = 200;
  const all = lossAfter(steps, 'all');
  expect(lossAfter(steps, 'with feedback')).toBeLessThan(1.5 * all);
  expect(lossAfter(steps, 'without')).toBeGreaterThan(5 * all);
});
