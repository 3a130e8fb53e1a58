import { compile, defaultPool, type Tensor, tensor } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, expectWithin, FLOATS, type Float, UNIT } from '../ops/support.js';
import {
  type AnyOptimizer,
  changeAt,
  type FloatArray,
  goldens,
  gradientsOf,
  makeCase,
  type OptimizerCase,
  poolTensors,
  START,
  startOf,
} from './support.js';

const all = Object.entries(goldens.optimizers).flatMap(([name, cases]) =>
  Object.entries(cases).map(([title, one]) => [`${name}, ${title}`, name, one] as const),
);

/** All parameters' elements at the sampled steps, whatever they are kept in and however a step is made. */
type Trajectory = FloatArray[][];

function follow(
  one: OptimizerCase,
  optimizer: AnyOptimizer,
  step: (k: number) => void,
  look: () => FloatArray[],
): Trajectory {
  const seen: Trajectory = [];
  for (let k = 0; k < goldens.steps; k++) {
    changeAt(one, optimizer, k);
    defaultPool.scope(() => step(k));
    if (goldens.sampled.includes(k + 1)) seen.push(look());
  }
  expect(optimizer.steps).toBe(goldens.steps);
  return seen;
}

const ways: Record<string, (name: string, one: OptimizerCase, dtype: Float) => Trajectory> = {
  'on plain arrays': (name, one, dtype) => {
    const params = startOf(dtype);
    const optimizer = makeCase(name, one, params);
    const step = (k: number) => optimizer.step(gradientsOf(k, dtype));
    return follow(one, optimizer, step, () => params.map((p) => p.slice()));
  },
  'on pool tensors': (name, one, dtype) => {
    const params = poolTensors(dtype);
    const optimizer = makeCase(name, one, params);
    const step = (k: number) => {
      optimizer.step(gradientsOf(k, dtype).map((g, i) => tensor(g, { shape: params[i]!.shape })));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.toArray() as FloatArray));
  },
  'recorded, on pool tensors': (name, one, dtype) => {
    const params = poolTensors(dtype);
    const optimizer = makeCase(name, one, params);
    const recorded = compile((...gradients: Tensor[]) => optimizer.step(gradients));
    const step = (k: number) => {
      recorded.runSync(...gradientsOf(k, dtype).map((g, i) => tensor(g, { shape: params[i]!.shape })));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.toArray() as FloatArray));
  },
  'recorded, on plain arrays': (name, one, dtype) => {
    const params = startOf(dtype);
    const optimizer = makeCase(name, one, params);
    const recorded = compile((...gradients: Tensor[]) => optimizer.step(gradients));
    const step = (k: number) => {
      recorded.runSync(...gradientsOf(k, dtype).map((g) => tensor(g)));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.slice()));
  },
};

/** The largest that an element has been seen as, up to each of the sampled steps. */
function reachOf({ trajectory }: OptimizerCase): number[][] {
  let reach = START.flat().map(Math.abs);
  return trajectory.map((params) => {
    reach = reach.map((most, i) => Math.max(most, Math.abs(params[i]!)));
    return reach;
  });
}

/**
 * A step makes at most some 16 roundings, in the update and in the state behind it, each of no more than an element's
 * reach: over k steps 16 k of them. In f64 that is less than the 1e-12 that stands here.
 */
const boundOf = (dtype: Float, steps: number, reach: number) =>
  (dtype === 'f64' ? 1e-12 : 16 * steps * UNIT.f32) * reach;

describe.each(all)('%s', (_, name, one) => {
  test.each(FLOATS)('takes PyTorch’s steps in %s, and the same bits every way', (dtype) => {
    const [first, ...others] = Object.values(ways).map((way) => way(name, one, dtype));
    const reach = reachOf(one);
    goldens.sampled.forEach((steps, at) => {
      const data = arrayFrom(first![at]!, dtype);
      const bound = (i: number) => boundOf(dtype, steps, reach[at]![i]!);
      expectWithin({ dtype, shape: [data.length], data }, one.trajectory[at]!, bound, `step ${steps}`);
    });
    const bits = (trajectory: Trajectory) => trajectory.map((params) => params.map(bitsOf));
    for (const other of others) expect(bits(other)).toEqual(bits(first!));
  });
});

function arrayFrom(params: FloatArray[], dtype: Float): FloatArray {
  const numbers = params.flatMap((array) => [...array]);
  return dtype === 'f32' ? Float32Array.from(numbers) : Float64Array.from(numbers);
}

test('awaited steps take the same path', async () => {
  const one = goldens.optimizers.AdamW!.defaults!;
  const params = poolTensors('f64');
  const optimizer = makeCase('AdamW', one, params);
  const recorded = compile((...gradients: Tensor[]) => optimizer.step(gradients));
  for (let k = 0; k < goldens.steps; k++) {
    const gradients = gradientsOf(k, 'f64').map((g, i) => tensor(g, { shape: params[i]!.shape }));
    await recorded(...gradients);
    for (const gradient of gradients) gradient.dispose();
  }
  const eager = ways['on plain arrays']!('AdamW', one, 'f64').at(-1)!;
  expect(params.map((p) => bitsOf(p.toArray()))).toEqual(eager.map(bitsOf));
});
