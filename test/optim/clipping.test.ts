import { AdamW, clipGradNorm, type Tensor, tensor } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bothWays, expectWithin, FLOATS, type Float, golden, refusalOf, UNIT } from '../ops/support.js';

interface Case {
  readonly maxNorm: number | string;
  readonly gradients: readonly { shape: readonly number[]; data: readonly (number | string)[] }[];
  readonly norm: number | string;
  readonly clipped: readonly (readonly (number | string)[])[];
}

const read = (values: readonly (number | string)[]) =>
  values.map((value) => (value === 'inf' ? Infinity : value === 'nan' ? NaN : Number(value)));

describe.each(Object.entries(golden<Record<string, Case>>('optim/clipping.json')))('%s', (_, one) => {
  test.each(FLOATS)('is PyTorch’s in %s, both ways', async (dtype: Float) => {
    const inputs = one.gradients.map(({ shape, data }) =>
      tensor(dtype === 'f32' ? Float32Array.from(read(data)) : Float64Array.from(read(data)), { shape }),
    );
    const [maxNorm] = read([one.maxNorm]) as [number];
    const results = await bothWays((...gradients) => {
      const { gradients: clipped, norm } = clipGradNorm(gradients, maxNorm);
      return [norm, ...clipped];
    }, inputs);
    const [norm] = read([one.norm]) as [number];
    const u = UNIT[dtype] + UNIT.f64;
    // The squares of 18 elements, the root, and the sum's rounding; then a sum, a quotient and a product.
    expectWithin(results[0]!, [norm], 24 * u * norm);
    one.clipped.forEach((want, i) => {
      expectWithin(results[i + 1]!, read(want), (j) => 32 * u * Math.abs(read(want)[j]!));
    });
  });
});

test('gradients under the bound are left as they are, to the bit', () => {
  const gradient = tensor([0.1, -0.2, 1e-30]);
  expect(clipGradNorm([gradient], 1).gradients[0]!.toArray()).toEqual(gradient.toArray());
});

test.each([NaN, -1])('a bound of %d is refused', (maxNorm) => {
  expect(refusalOf(() => clipGradNorm([tensor([1])], maxNorm)).code).toBe('DT_INVALID_ARGUMENT');
});

test('no gradients, or an array for one, are refused', () => {
  expect(refusalOf(() => clipGradNorm([], 1)).code).toBe('DT_INVALID_ARGUMENT');
  expect(refusalOf(() => clipGradNorm([new Float32Array(1) as unknown as Tensor], 1)).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
});

test('a NaN in the gradients reaches the parameters rather than being hidden', () => {
  const weights = Float32Array.of(1, 2);
  new AdamW([weights]).step(clipGradNorm([tensor([NaN, 1])], 1).gradients);
  expect([...weights]).toEqual([NaN, NaN]);
});
