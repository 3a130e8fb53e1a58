import {
  compile,
  dropout,
  Generator,
  grad,
  mul,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  wrap,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { uniforms } from './philox.js';
import {
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
  shapes,
  sizeOf,
} from './support.js';

const rateOf = (rate: number): Tensor => tensor(rate, { dtype: 'f64' });

test('drops where the stream is under the rate and divides the rest by 1 − rate, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      shapes,
      floats,
      layouts,
      fc.constantFrom(0, 0.1, 0.5, 0.75, 1),
      seeds,
      async (shape, dtype, layout, rate, seed) => {
        const round = dtype === 'f32' ? Math.fround : Number;
        const data = randomNumbers(sizeOf(shape), seed, dtype);
        const x = laidOut(data, shape, dtype, layout);
        const eager = new Generator(seed);
        const y = contentOf(dropout(x, rateOf(rate), eager));
        const u = uniforms(seed, 0, data.length, dtype);
        const p = round(rate);
        expectWithin(
          y,
          data.map((value, i) => (u[i]! < p ? 0 : round(value / round(1 - p)))),
          0,
        );
        const recorded = new Generator(seed);
        expectSameBits(contentOf(await compile((t: Tensor) => dropout(t, rateOf(rate), recorded))(x)), y);
        expect(recorded.state.toArray()).toEqual(eager.state.toArray());
      },
    ),
    { numRuns: 25 },
  );
});

test('a rate of 0 changes nothing, not even NaN; a rate of 1 leaves nothing, not even NaN', () => {
  const x = tensor([1, -2, NaN, Infinity, -0]);
  expect(contentOf(dropout(x, rateOf(0), new Generator(1)))).toEqual(contentOf(x));
  expect(numbersOf(contentOf(dropout(x, rateOf(1), new Generator(1))))).toEqual([0, 0, 0, 0, 0]);
});

test.each([0.1, 0.5, 0.9])(
  'at a rate of %d that share of the elements is dropped, and the mean is kept',
  (rate) => {
    const n = 100_000;
    const y = numbersOf(
      contentOf(dropout(tensor(new Float32Array(n).fill(1)), rateOf(rate), new Generator(3))),
    );
    const dropped = y.filter((value) => value === 0).length / n;
    // Five standard deviations of a binomial share.
    const five = 5 * Math.sqrt((rate * (1 - rate)) / n);
    expect(Math.abs(dropped - rate)).toBeLessThan(five);
    expect(Math.abs(y.reduce((a, b) => a + b, 0) / n - 1)).toBeLessThan(five / (1 - rate) + 2 ** -20);
  },
);

describe('the gradient', () => {
  const x = tensor(randomNumbers(50, 1, 'f64'), { dtype: 'f64' });
  const weights = tensor(randomNumbers(50, 2, 'f64'), { dtype: 'f64' });
  const rate = rateOf(0.4);

  /** The mask that the forward pass used, from its output. */
  function expectMask(output: readonly number[], gradient: readonly number[]): void {
    expect(output.filter((value) => value === 0).length).toBeGreaterThan(5);
    output.forEach((value, i) => {
      const kept = value !== 0;
      expect(gradient[i]).toBe(kept ? Number(weights.toArray()[i]) / (1 - 0.4) : 0);
    });
  }

  test('uses the mask of the forward pass, eagerly', () => {
    const generator = new Generator(8);
    for (let step = 0; step < 3; step++) {
      let seen: number[] = [];
      const { grads } = valueAndGrad((t: Tensor) => {
        const output = dropout(t, rate, generator);
        seen = numbersOf(contentOf(output));
        return sum(mul(output, weights));
      })(x);
      expectMask(seen, numbersOf(contentOf(grads[0]!)));
    }
  });

  test('uses the mask of the forward pass, recorded, in every run', async () => {
    const generator = new Generator(8);
    const step = compile((t: Tensor) => {
      const first = dropout(t, rate, generator);
      const y = dropout(mul(first, 1), rateOf(0), generator);
      return [y, ...grad(sum(mul(y, weights)), [t])];
    });
    const seen = new Set<string>();
    for (let run = 0; run < 3; run++) {
      const [y, gradient] = (await step(x)) as [Tensor, Tensor];
      expectMask(numbersOf(contentOf(y)), numbersOf(contentOf(gradient)));
      seen.add(numbersOf(contentOf(y)).join());
    }
    expect(seen.size).toBe(3);
  });
});

test('the rate is read when a program runs', async () => {
  const rate = new Float64Array(1);
  const x = tensor([1, 2, 3]);
  const run = compile((t: Tensor) => dropout(t, wrap(rate, []), new Generator(1)));
  expect(numbersOf(contentOf(await run(x)))).toEqual([1, 2, 3]);
  rate[0] = 1;
  expect(numbersOf(contentOf(await run(x)))).toEqual([0, 0, 0]);
});

test('integers, and a rate that is no f64 scalar, are refused', () => {
  const x = tensor([1, 2]);
  expect(refusalOf(() => dropout(tensor([1], { dtype: 'i32' }), rateOf(0))).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => dropout(x, tensor(0.5))).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => dropout(x, tensor([0.5, 0.5], { dtype: 'f64' }))).code).toBe('DT_SHAPE_MISMATCH');
});
