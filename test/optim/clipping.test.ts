import { AdamW, clipGradNorm, device, norms, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bothWays,
  bothWays1,
  contentOf,
  expectWithin,
  FLOATS,
  type Float,
  floats,
  golden,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  refusalOf,
  seeds,
  shapes,
  sizeOf,
  UNIT,
} from '../ops/support.js';

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

describe('norms', () => {
  const INPUTS = fc.array(fc.tuple(shapes, layouts), { minLength: 1, maxLength: 5 });

  test('are those of all elements together, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        INPUTS,
        floats,
        fc.constantFrom(2 ** -100, 1, 2 ** 100),
        seeds,
        async (list, dtype, scale, seed) => {
          const data = list.map(([shape], i) => randomNumbers(sizeOf(shape), seed + i, dtype, scale));
          const inputs = list.map(([shape, layout], i) => laidOut(data[i]!, shape, dtype, layout));
          const [l2, max, notFinite] = await bothWays((...tensors) => {
            const found = norms(tensors);
            return [found.l2, found.max, found.notFinite];
          }, inputs);
          const all = data.flat();
          const want = Math.sqrt(all.reduce((total, x) => total + x * x, 0));
          expectWithin(l2!, [want], (2 * UNIT[dtype] + (all.length + 4) * UNIT.f64) * want);
          expectWithin(max!, [all.reduce((top, x) => Math.max(top, Math.abs(x)), 0)], 0);
          expect(notFinite!.data).toEqual(BigInt64Array.of(0n));
          for (const input of inputs) input.dispose();
        },
      ),
      { numRuns: 50 },
    );
  });

  test.each([
    ['f32', 3e38],
    ['f64', 1e300],
    ['f64', 1e-300],
  ] as const)('of %s do not overflow or vanish at %d', async (dtype, x) => {
    const given = tensor([3 * (x / 5), 4 * (x / 5)], { dtype });
    const want = Math.hypot(...numbersOf(contentOf(given)));
    const l2 = await bothWays1((t) => norms([t!]).l2, [given]);
    expectWithin(l2, [want], 8 * UNIT[dtype] * want);
  });

  test.each(FLOATS)('count what is not finite in %s, however many threads there are', async (dtype) => {
    const data = randomNumbers(100_000, 1, dtype);
    for (let i = 7; i < data.length; i += 1000) data[i] = [Infinity, -Infinity][i % 2]!;
    const threads = device.info().threads;
    const run = (...inputs: Tensor[]) => {
      const { l2, max, notFinite } = norms(inputs);
      return [l2, max, notFinite];
    };
    try {
      for (const [extra, max, count] of [
        [1, Infinity, 100n],
        [NaN, NaN, 101n],
      ] as const) {
        for (const threadCount of [1, 2, 3]) {
          device.setThreads(threadCount);
          const inputs = [tensor([extra], { dtype }), laidOut(data, [100, 1000], dtype)];
          const found = await bothWays(run, inputs);
          expect(numbersOf(found[0]!)).toEqual([max]);
          expect(numbersOf(found[1]!)).toEqual([max]);
          expect(found[2]!.data).toEqual(BigInt64Array.of(count));
        }
      }
    } finally {
      device.setThreads(threads);
    }
  });

  test('of no tensors or of two dtypes are refused', () => {
    expect(refusalOf(() => norms([])).code).toBe('DT_INVALID_ARGUMENT');
    expect(refusalOf(() => norms([tensor([1]), tensor([1], { dtype: 'f64' })])).code).toBe(
      'DT_DTYPE_MISMATCH',
    );
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
