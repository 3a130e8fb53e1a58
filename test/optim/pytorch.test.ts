import { compile, type Tensor, tensor } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, expectWithin, FLOATS, type Float, UNIT } from '../ops/support.js';
import {
  type AnyOptimizer,
  goldens,
  gradientsOf,
  makeOptimizer,
  type OptimizerCase,
  poolTensors,
  startOf,
} from './support.js';

const all = (['SGD', 'AdamW'] as const).flatMap((name) =>
  Object.entries(goldens[name]).map(([title, one]) => [`${name}, ${title}`, name, one] as const),
);
const STEPS = goldens.gradients.length;

/** The trajectory of both parameters' elements, whatever they are kept in and however a step is made. */
type Trajectory = (Float32Array | Float64Array)[][];

function follow(
  one: OptimizerCase,
  optimizer: AnyOptimizer,
  step: (k: number) => void,
  look: () => Trajectory[0],
): Trajectory {
  return Array.from({ length: STEPS }, (_, k) => {
    if (one.rates !== undefined) for (const group of optimizer.paramGroups) group.lr = one.rates[k]!;
    step(k);
    expect(optimizer.steps).toBe(k + 1);
    return look();
  });
}

const ways: Record<string, (name: 'SGD' | 'AdamW', one: OptimizerCase, dtype: Float) => Trajectory> = {
  'on plain arrays': (name, one, dtype) => {
    const params = startOf(dtype);
    const optimizer = makeOptimizer(name, one, params);
    const step = (k: number) => optimizer.step(gradientsOf(k, dtype));
    return follow(one, optimizer, step, () => params.map((p) => p.slice()));
  },
  'on pool tensors': (name, one, dtype) => {
    const params = poolTensors(dtype);
    const optimizer = makeOptimizer(name, one, params);
    const step = (k: number) => {
      optimizer.step(gradientsOf(k, dtype).map((g, i) => tensor(g, { shape: params[i]!.shape })));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.toArray() as Float32Array));
  },
  'recorded, on pool tensors': (name, one, dtype) => {
    const params = poolTensors(dtype);
    const optimizer = makeOptimizer(name, one, params);
    const recorded = compile((...gradients: Tensor[]) => optimizer.step(gradients));
    const step = (k: number) => {
      recorded.runSync(...gradientsOf(k, dtype).map((g, i) => tensor(g, { shape: params[i]!.shape })));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.toArray() as Float32Array));
  },
  'recorded, on plain arrays': (name, one, dtype) => {
    const params = startOf(dtype);
    const optimizer = makeOptimizer(name, one, params);
    const recorded = compile((...gradients: Tensor[]) =>
      optimizer.step(
        gradients.map((g, i) => g.viewAs(optimizer.paramGroups.flatMap((group) => group.params)[i]!.shape)),
      ),
    );
    const step = (k: number) => {
      recorded.runSync(...gradientsOf(k, dtype).map((g) => tensor(g)));
    };
    return follow(one, optimizer, step, () => params.map((p) => p.slice()));
  },
};

/**
 * A step makes at most some 16 roundings, each of a number no larger than the parameter, or than the step itself where
 * that is larger: over k steps 16 k roundings of the largest. PyTorch's own, in double, count as well.
 */
function boundAt(one: OptimizerCase, k: number, dtype: Float): number {
  const numbers = one.trajectory.slice(0, k + 1).flat(2);
  const largest = Math.max(...numbers.map(Math.abs), ...goldens.start.flat().map(Math.abs));
  return 16 * (k + 1) * (UNIT[dtype] + UNIT.f64) * largest;
}

describe.each(all)('%s', (_, name, one) => {
  test.each(FLOATS)('takes PyTorch’s steps in %s, and the same bits every way', (dtype) => {
    const trajectories = Object.values(ways).map((way) => way(name, one, dtype));
    const [first, ...others] = trajectories;
    first!.forEach((params, k) => {
      params.forEach((data, i) => {
        const value = { dtype, shape: [data.length], data };
        expectWithin(value, one.trajectory[k]![i]!, boundAt(one, k, dtype), `step ${k + 1}, parameter ${i}`);
      });
    });
    for (const other of others)
      expect(other.map((params) => params.map(bitsOf))).toEqual(first!.map((params) => params.map(bitsOf)));
  });
});

test('f64 trajectories agree to some 1e-12 of the largest parameter', () => {
  // What the bound above comes to, so that nobody widens it unseen.
  for (const [, , one] of all) {
    const largest = Math.max(1, ...one.trajectory.flat(2).map(Math.abs));
    expect(boundAt(one, STEPS - 1, 'f64') / largest).toBeLessThan(1e-12);
  }
});

test('awaited steps take the same path', async () => {
  const one = goldens.AdamW.defaults!;
  const params = poolTensors('f64');
  const optimizer = makeOptimizer('AdamW', one, params);
  const recorded = compile((...gradients: Tensor[]) => optimizer.step(gradients));
  for (let k = 0; k < STEPS; k++) {
    await recorded(...gradientsOf(k, 'f64').map((g, i) => tensor(g, { shape: params[i]!.shape })));
  }
  const eager = ways['on plain arrays']!('AdamW', one, 'f64').at(-1)!;
  expect(params.map((p) => bitsOf(p.toArray()))).toEqual(eager.map(bitsOf));
});

test('a large parameter takes the steps of its elements, however threads share it', () => {
  const n = 100_003;
  for (const name of ['SGD', 'AdamW'] as const) {
    const one = goldens[name]['weight decay']!;
    const [large, small] = [new Float32Array(n), new Float32Array(7)];
    large.forEach((_, i) => {
      large[i] = goldens.start[0]![i % 7]!;
    });
    small.set(large.subarray(0, 7));
    const optimizers = [large, small].map((p) => makeOptimizer(name, one, [p]));
    for (let k = 0; k < 3; k++) {
      const gradient = gradientsOf(k, 'f32')[0]!;
      const repeated = large.map((_, i) => gradient[i % 7]!);
      optimizers[0]!.step([repeated]);
      optimizers[1]!.step([repeated.slice(0, 7)]);
    }
    expect(large.every((x, i) => Object.is(x, small[i % 7]))).toBe(true);
  }
});
