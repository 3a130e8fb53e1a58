import { Conv2d, defaultPool, Generator, init, Linear, type Tensor, tensor, zeros } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { contentOf, expectSameBits, FLOATS, numbersOf, refusalOf } from '../ops/support.js';

const generator = () => new Generator(5);
const values = (t: Tensor) => numbersOf(contentOf(t));
const meanOf = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
const deviationOf = (x: readonly number[]) => Math.sqrt(meanOf(x.map((v) => (v - meanOf(x)) ** 2)));

/** The extremes come within 1 % of the bounds; mean and deviation within five standard errors. */
function expectUniform(x: readonly number[], bound: number): void {
  expect(Math.max(...x)).toBeLessThanOrEqual(bound * (1 + 2 ** -22));
  expect(Math.max(...x)).toBeGreaterThan(0.99 * bound);
  expect(Math.min(...x)).toBeLessThan(-0.99 * bound);
  expect(Math.abs(meanOf(x))).toBeLessThan((5 * bound) / Math.sqrt(3 * x.length));
  expect(Math.abs(deviationOf(x) / (bound / Math.sqrt(3)) - 1)).toBeLessThan(5 * Math.sqrt(0.2 / x.length));
}

function expectNormal(x: readonly number[], deviation: number, mean = 0): void {
  expect(Math.abs(meanOf(x) - mean)).toBeLessThan((5 * deviation) / Math.sqrt(x.length));
  expect(Math.abs(deviationOf(x) / deviation - 1)).toBeLessThan(5 / Math.sqrt(2 * x.length));
  expect(Math.max(...x.map((v) => Math.abs(v - mean)))).toBeGreaterThan(3 * deviation);
}

// A convolution's weight [out, in, kh, kw]: fanIn 8 · 12 = 96, fanOut 20 · 12 = 240; 1,920 values.
const weight = (dtype: 'f32' | 'f64' = 'f32') => zeros([20, 8, 3, 4], { dtype });

describe.each(FLOATS)('of %s', (dtype) => {
  test.each<[string, (t: Tensor) => Tensor, number]>([
    ['xavierUniform', (t) => init.xavierUniform(t, { generator: generator() }), Math.sqrt(6 / 336)],
    [
      'xavierUniform with a gain',
      (t) => init.xavierUniform(t, { gain: 3, generator: generator() }),
      3 * Math.sqrt(6 / 336),
    ],
    [
      'kaimingUniform',
      (t) => init.kaimingUniform(t, { generator: generator() }),
      Math.SQRT2 * Math.sqrt(3 / 96),
    ],
    [
      'kaimingUniform with a slope',
      (t) => init.kaimingUniform(t, { a: Math.sqrt(5), generator: generator() }),
      1 / Math.sqrt(96),
    ],
    [
      'kaimingUniform of the way back',
      (t) => init.kaimingUniform(t, { mode: 'fanOut', generator: generator() }),
      Math.sqrt(6 / 240),
    ],
  ])('%s is uniform within its bound', (_, fill, bound) => {
    const t = weight(dtype);
    expect(fill(t)).toBe(t);
    expectUniform(values(t), bound);
  });

  test.each<[string, (t: Tensor) => Tensor, number, number]>([
    ['normal', (t) => init.normal(t, 2, 0.5, { generator: generator() }), 0.5, 2],
    ['xavierNormal', (t) => init.xavierNormal(t, { generator: generator() }), Math.sqrt(2 / 336), 0],
    [
      'kaimingNormal',
      (t) => init.kaimingNormal(t, { nonlinearity: 'relu', generator: generator() }),
      Math.sqrt(2 / 96),
      0,
    ],
    [
      'kaimingNormal of the way back, tanh',
      (t) => init.kaimingNormal(t, { nonlinearity: 'tanh', mode: 'fanOut', generator: generator() }),
      5 / 3 / Math.sqrt(240),
      0,
    ],
  ])('%s is normal with its deviation', (_, fill, deviation, mean) => {
    const t = weight(dtype);
    expect(fill(t)).toBe(t);
    expectNormal(values(t), deviation, mean);
  });

  test('truncNormal stays in its range, with the deviation of what is left', () => {
    const t = init.truncNormal(zeros([20000], { dtype }), 0, 1, -2, 2, { generator: generator() });
    const x = values(t);
    expect(Math.max(...x.map(Math.abs))).toBeLessThanOrEqual(2);
    expect(Math.max(...x)).toBeGreaterThan(1.95);
    // 1 − 4 φ(2) / (2 Φ(2) − 1), the variance of the normal distribution between −2 and 2.
    expect(Math.abs(deviationOf(x) / Math.sqrt(0.7737413) - 1)).toBeLessThan(0.02);
    expect(Math.abs(meanOf(x))).toBeLessThan(5 / Math.sqrt(x.length));
    const tail = values(init.truncNormal(zeros([100], { dtype }), 0, 1, 1.5, 9, { generator: generator() }));
    expect(Math.min(...tail)).toBeGreaterThanOrEqual(1.5);
  });

  test.each([
    [5, 9],
    [9, 5],
    [6, 6],
  ])('orthogonal of %d × %d has rows or columns at right angles', (rows, columns) => {
    const t = init.orthogonal(zeros([rows, columns], { dtype }), { gain: 2, generator: generator() });
    const x = values(t);
    const at = (i: number, j: number) => (rows <= columns ? x[i * columns + j]! : x[j * columns + i]!);
    const [count, length] = [Math.min(rows, columns), Math.max(rows, columns)];
    for (let a = 0; a < count; a++)
      for (let b = 0; b < count; b++) {
        let dot = 0;
        for (let j = 0; j < length; j++) dot += at(a, j) * at(b, j);
        // Elements up to 2 that are rounded once: 2 · 9 products of 4.
        expect(Math.abs(dot - (a === b ? 4 : 0))).toBeLessThan(72 * (dtype === 'f32' ? 2 ** -24 : 2 ** -50));
      }
  });
});

test('the same seed gives the same bits, whatever was there', () => {
  const fills = [init.xavierNormal, init.kaimingUniform, init.orthogonal] as const;
  for (const fill of fills) {
    const [a, b] = [weight(), init.ones(weight())];
    expectSameBits(
      contentOf(fill(a, { generator: generator() })),
      contentOf(fill(b, { generator: generator() })),
    );
  }
});

test('constants, and uniform in a range', () => {
  expect(values(init.constant(zeros([2]), 3))).toEqual([3, 3]);
  expect(values(init.ones(zeros([2])))).toEqual([1, 1]);
  expect(values(init.zeros(tensor([1, 2])))).toEqual([0, 0]);
  const x = values(init.uniform(zeros([1000]), 3, 5, { generator: generator() }));
  expect(Math.min(...x)).toBeGreaterThanOrEqual(3);
  expect(Math.max(...x)).toBeLessThanOrEqual(5);
});

test('calculateGain has PyTorch’s values', () => {
  expect(init.calculateGain('relu')).toBe(Math.SQRT2);
  expect(init.calculateGain('tanh')).toBe(5 / 3);
  expect(init.calculateGain('leakyRelu')).toBe(Math.sqrt(2 / (1 + 0.01 ** 2)));
  expect(init.calculateGain('leakyRelu', 1)).toBe(1);
  expect(init.calculateGain('selu')).toBe(0.75);
});

test('initialisers leave no memory behind', () => {
  const [layer, source] = [new Conv2d(2, 3, 3), generator()];
  const before = defaultPool.statistics.blocks;
  init.kaimingNormal(layer.weight, { generator: source });
  init.orthogonal(layer.weight, { generator: source });
  init.truncNormal(layer.weight, 0, 0.02, -0.04, 0.04, { generator: source });
  init.zeros(layer.bias!);
  expect(defaultPool.statistics.blocks).toBe(before);
});

describe('initialisers refuse, and leave the tensor:', () => {
  test.each<[string, string, (t: Tensor) => unknown, string]>([
    ['a vector', 'DT_SHAPE_MISMATCH', () => init.xavierUniform(zeros([3])), '[3]'],
    [
      'a misspelt option',
      'DT_INVALID_ARGUMENT',
      (t) => init.xavierUniform(t, { gains: 2 } as never),
      'gains',
    ],
    [
      'a misspelt mode',
      'DT_INVALID_ARGUMENT',
      (t) => init.kaimingNormal(t, { mode: 'fan_in' } as never),
      'fan_in',
    ],
    [
      'an unknown activation',
      'DT_INVALID_ARGUMENT',
      (t) => init.kaimingNormal(t, { nonlinearity: 'gelu' } as never),
      'gelu',
    ],
    ['a negative deviation', 'DT_INVALID_ARGUMENT', (t) => init.normal(t, 0, -1), '-1'],
    ['an empty range', 'DT_INVALID_ARGUMENT', (t) => init.truncNormal(t, 0, 1, 2, 2), '2'],
    ['a range in the far tail', 'DT_INVALID_ARGUMENT', (t) => init.truncNormal(t, 0, 1, 6, 7), '6'],
    ['a range turned round', 'DT_INVALID_ARGUMENT', (t) => init.uniform(t, 1, 0), '1'],
    ['integers', 'DT_DTYPE_MISMATCH', () => init.zeros(zeros([2], { dtype: 'i32' })), 'i32'],
    ['what is frozen', 'DT_FROZEN', () => init.zeros(new Linear(2, 2).freeze().weight), 'frozen'],
  ])('%s', (_, code, run, part) => {
    const t = tensor([
      [1, 2],
      [3, 4],
    ]);
    const refusal = refusalOf(() => run(t));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
    expect(values(t)).toEqual([1, 2, 3, 4]);
  });
});
