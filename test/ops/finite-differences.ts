import { compile, defaultPool, grad, mul, sum, type Tensor, tensor, valueAndGrad } from 'drivetrain';
import { expect } from 'vitest';
import {
  contentOf,
  expectSameBits,
  expectWithin,
  numbersOf,
  randomNumbers,
  UNIT,
  type Value,
} from './support.js';

/** About the cube root of f64's epsilon, where truncation and rounding are alike; a power of two, so that x ± h is exact. */
const STEP = 2 ** -17;

/** One input in double, by its shape and elements. */
export interface Input {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

export const input = (shape: readonly number[], seed: number, scale = 2, shift = 0): Input => ({
  shape,
  data: randomNumbers(
    shape.reduce((a, b) => a * b, 1),
    seed,
    'f64',
    scale,
  ).map((x) => Math.fround(x + shift)),
});

const made = ({ shape, data }: Input): Tensor => tensor(Float64Array.from(data), { shape });

/** The sum of y's elements, each with a weight of its own, so that no two gradients may be exchanged unseen. */
export function weighted(y: Tensor): Tensor {
  return sum(mul(y, tensor(Float64Array.from(randomNumbers(y.size, 99)), { shape: y.shape })));
}

/**
 * Checks the gradients of `loss` with respect to all inputs against central differences, eagerly and recorded, which must
 * agree to the bit. `fresh` is called before every evaluation.
 */
export function expectGradients(
  loss: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Input[],
  fresh: () => void = () => {},
): void {
  const tensors = inputs.map(made);
  fresh();
  const eager = defaultPool.scope(() => valueAndGrad(loss)(...tensors).grads.map(contentOf));
  fresh();
  const compiled = compile((...symbols: Tensor[]) => grad(loss(...symbols), symbols));
  compiled.program(...tensors);
  fresh();
  const recorded = defaultPool.scope(() => compiled.runSync(...tensors).map(contentOf));
  eager.forEach((gradient, i) => {
    expectSameBits(recorded[i]!, gradient, `gradient ${i}, recorded against eager`);
    expect(gradient.shape).toEqual(inputs[i]!.shape);
    expectDifferences(gradient, (data) => evaluate(loss, tensors, i, data, fresh), inputs[i]!.data);
  });
  for (const t of tensors) t.dispose();
}

function evaluate(
  loss: (...inputs: Tensor[]) => Tensor,
  tensors: readonly Tensor[],
  which: number,
  data: readonly number[],
  fresh: () => void,
): number {
  fresh();
  return defaultPool.scope(() => {
    const changed = tensors.map((t, i) =>
      i === which ? tensor(Float64Array.from(data), { shape: t.shape }) : t,
    );
    return loss(...changed).item();
  });
}

function expectDifferences(
  gradient: Value,
  loss: (data: readonly number[]) => number,
  data: readonly number[],
): void {
  const got = numbersOf(gradient);
  const difference = (i: number, h: number) => {
    const moved = data.slice();
    moved[i] = data[i]! + h;
    const above = loss(moved);
    moved[i] = data[i]! - h;
    const below = loss(moved);
    return { slope: (above - below) / (2 * h), size: Math.abs(above) + Math.abs(below) };
  };
  const fine = data.map((_, i) => difference(i, STEP));
  const coarse = data.map((_, i) => difference(i, 2 * STEP));
  const largest = Math.max(1, ...fine.map(({ slope }) => Math.abs(slope)));
  expectWithin(
    { ...gradient, data: Float64Array.from(got) },
    fine.map(({ slope }) => slope),
    (i) => {
      // The truncation error is h²/6 · f‴; the doubled step has four times it, so their difference is three times it.
      const truncation = Math.abs(fine[i]!.slope - coarse[i]!.slope);
      expect(truncation, `the test's own function must be smooth at element ${i}`).toBeLessThan(
        1e-6 * largest,
      );
      // The loss is a sum of some hundred roundings of numbers of its own size and of the largest slope's.
      const rounding = (500 * UNIT.f64 * (fine[i]!.size + largest)) / STEP;
      return truncation + rounding;
    },
  );
}
