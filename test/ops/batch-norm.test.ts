import {
  batchNorm,
  mul,
  normaliseBy,
  sum,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bothWays,
  contentOf,
  expectSameBits,
  expectWithin,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  refusalOf,
  seeds,
  sizeOf,
  UNIT,
} from './support.js';

/** The values of a channel of [n, channels, ...]. */
function channelOf(data: readonly number[], shape: readonly number[], channel: number): number[] {
  const length = sizeOf(shape.slice(2));
  return data.filter((_, i) => Math.floor(i / length) % shape[1]! === channel);
}

const shapes = fc
  .tuple(
    fc.integer({ min: 1, max: 6 }),
    fc.integer({ min: 1, max: 5 }),
    fc.array(fc.constantFrom(1, 2, 3, 7, 33), { maxLength: 2 }),
  )
  .map(([n, channels, rest]) => [n, channels, ...rest])
  .filter((shape) => sizeOf(shape) > shape[1]!);

test('normalises by the plain mean and variance of each channel, on any layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, floats, layouts, seeds, async (shape, dtype, layout, seed) => {
      const channels = shape[1]!;
      const x = randomNumbers(sizeOf(shape), seed, dtype).map((v) =>
        dtype === 'f32' ? Math.fround(v + 3) : v + 3,
      );
      const [gamma, beta] = [
        randomNumbers(channels, seed + 1, dtype),
        randomNumbers(channels, seed + 2, dtype),
      ];
      const [y, mean, variance] = await bothWays(
        (...[a, b, c]) => {
          const made = batchNorm(a!, b!, c!, 0.01);
          return [made.y, made.statistics.mean, made.statistics.variance];
        },
        [
          laidOut(x, shape, dtype, layout),
          laidOut(gamma, [channels], dtype, layout),
          laidOut(beta, [channels], dtype, layout),
        ],
      );
      const plain = gamma.map((_, channel) => {
        const values = channelOf(x, shape, channel);
        const mu = values.reduce((a, b) => a + b, 0) / values.length;
        return { mu, sigma2: values.reduce((total, v) => total + (v - mu) ** 2, 0) / values.length };
      });
      const unit = UNIT[dtype];
      // Values up to 5; sums in double (or of at most 400 terms in f64), rounded once before and once after the
      // division.
      expectWithin(
        mean!,
        plain.map(({ mu }) => mu),
        400 * 5 * UNIT.f64 + 10 * unit,
      );
      expectWithin(
        variance!,
        plain.map(({ sigma2 }) => sigma2),
        400 * 25 * UNIT.f64 + 50 * unit,
      );
      const length = sizeOf(shape.slice(2));
      const at = (i: number) => Math.floor(i / length) % channels;
      const want = x.map((v, i) => {
        const { mu, sigma2 } = plain[at(i)]!;
        return ((v - mu) / Math.sqrt(sigma2 + 0.01)) * gamma[at(i)]! + beta[at(i)]!;
      });
      // The error of the mean, of 10 units, times |gamma| / 0.1, and roundings of what is up to 2 · 4 / 0.1.
      expectWithin(y!, want, (400 * 5 * UNIT.f64 + 10 * unit) * 20 + 10 * unit * 80);
    }),
    { numRuns: 100 },
  );
});

test('keeps its precision far from zero', () => {
  const x = tensor([1e4, 1e4 + 1, 1e4 + 2, 1e4 + 3], { shape: [4, 1] });
  const { y, statistics } = batchNorm(x, tensor([1]), tensor([0]), 0);
  expect(statistics.mean.item()).toBe(10001.5);
  expect(statistics.variance.item()).toBe(1.25);
  expectWithin(
    contentOf(y),
    [-1.5, -0.5, 0.5, 1.5].map((d) => d / Math.sqrt(1.25)),
    4 * UNIT.f32,
  );
});

test('a batch that is one value everywhere gives beta, and finite gradients', () => {
  const x = tensor([7, 7, 7], { shape: [3, 1] });
  const run = (t: Tensor) => batchNorm(t, tensor([2]), tensor([5])).y;
  expect(numbersOf(contentOf(run(x)))).toEqual([5, 5, 5]);
  const { grads } = valueAndGrad((t: Tensor) => sum(mul(run(t), tensor([[1], [2], [4]]))))(x);
  expect(numbersOf(contentOf(grads[0]!)).every(Number.isFinite)).toBe(true);
});

test('normaliseBy takes the mean and variance that it is given', () => {
  const x = transpose(
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]),
  );
  const y = normaliseBy(
    x,
    tensor([1, 2]),
    tensor([0, 1]),
    { mean: tensor([2, 4]), variance: tensor([4, 1]) },
    0,
  );
  expectSameBits(
    contentOf(y),
    contentOf(
      tensor([
        [-0.5, 1],
        [0, 3],
        [0.5, 5],
      ]),
    ),
  );
});

test.each<[string, () => unknown, string]>([
  ['one value per channel', () => batchNorm(zeros([1, 3]), zeros([3]), zeros([3])), '[1, 3]'],
  ['no samples', () => batchNorm(zeros([0, 3]), zeros([3]), zeros([3])), '[0, 3]'],
  ['a vector', () => batchNorm(zeros([3]), zeros([3]), zeros([3])), '[3]'],
  ['a gamma of another length', () => batchNorm(zeros([2, 3]), zeros([2]), zeros([3])), 'gamma'],
])('batchNorm refuses %s', (_, run, part) => {
  const refusal = refusalOf(run);
  expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
  expect(refusal.message).toContain(part);
});
