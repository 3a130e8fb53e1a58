import { join } from 'node:path';
import {
  CheckpointManager,
  CosineAnnealingLR,
  compile,
  crossEntropy,
  defaultPool,
  grad,
  LBFGS,
  type LBFGSOptions,
  Linear,
  type LossAndGradients,
  readSafetensors,
  type Tensor,
  tensor,
  valueAndGrad,
  wrap,
  writeSafetensors,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { binding } from '../../dist/native/index.js';
import type { SharedStorage } from '../../dist/tensor/index.js';
import { temporaryFolder } from '../io/support.js';
import { bitsOf, FLOATS, type Float, golden, randomNumbers, refusalOf, UNIT } from '../ops/support.js';
import { arrayOf, type FloatArray, solve } from './support.js';

interface Case {
  readonly problem: string;
  readonly options: LBFGSOptions;
  readonly trajectory: readonly {
    readonly loss: number;
    readonly params: readonly number[];
    readonly nIter: number;
    readonly funcEvals: number;
    readonly spread: number;
  }[];
}

const goldens = golden<{
  readonly features: readonly (readonly number[])[];
  readonly labels: readonly number[];
  readonly penalty: number;
  readonly problems: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly cases: Readonly<Record<string, Case>>;
}>('optim/lbfgs.json');

interface Answer {
  readonly loss: number;
  readonly gradient: number[];
}

/** Chained: the sum of 100 (x[i + 1] − x[i]²)² + (1 − x[i])², as in the script of the goldens. */
function rosenbrock(x: readonly number[]): Answer {
  let loss = 0;
  const gradient = x.map(() => 0);
  for (let i = 0; i + 1 < x.length; i++) {
    const [a, b] = [x[i + 1]! - x[i]! * x[i]!, 1 - x[i]!];
    loss += 100 * a * a + b * b;
    gradient[i]! += -400 * x[i]! * a - 2 * b;
    gradient[i + 1]! += 200 * a;
  }
  return { loss, gradient };
}

/** The mean of log(1 + eᶻ) − y z with z = w x, and an L2 penalty. */
function logistic(w: readonly number[]): Answer {
  const { features, labels, penalty } = goldens;
  let loss = 0;
  const gradient = w.map(() => 0);
  features.forEach((x, i) => {
    let z = 0;
    for (const [j, b] of x.entries()) z += w[j]! * b;
    loss += (Math.log(1 + Math.exp(z)) - labels[i]! * z) / features.length;
    const error = (1 / (1 + Math.exp(-z)) - labels[i]!) / features.length;
    for (const [j, b] of x.entries()) gradient[j]! += error * b;
  });
  for (const [j, a] of w.entries()) {
    loss += 0.5 * penalty * a * a;
    gradient[j]! += penalty * a;
  }
  return { loss, gradient };
}

const PROBLEMS: Readonly<Record<string, (x: readonly number[]) => Answer>> = {
  rosenbrock,
  'rosenbrock of six': rosenbrock,
  logistic,
};

/** Answers for arrays, which hold the elements of x one after another. */
function closureOf(
  problem: (x: readonly number[]) => Answer,
  arrays: readonly FloatArray[],
): () => LossAndGradients {
  return () => {
    const { loss, gradient } = problem(arrays.flatMap((array) => [...array]));
    let at = 0;
    return { loss, gradients: arrays.map((array) => array.map(() => gradient[at++]!)) };
  };
}

const startOf = (problem: string, dtype: Float) => goldens.problems[problem]!.map((p) => arrayOf(p, dtype));
const numbersOf = (arrays: readonly FloatArray[]) => arrays.flatMap((array) => [...array]);
const WOLFE = { lineSearchFn: 'strongWolfe' } as const;

describe.each(Object.entries(goldens.cases))('%s', (_, { problem, options, trajectory }) => {
  test('takes PyTorch’s steps in f64', () => {
    const params = startOf(problem, 'f64');
    const optimizer = new LBFGS(params, options);
    const closure = closureOf(PROBLEMS[problem]!, params);
    // As far as PyTorch's own steps move where losses and gradients are off by some units in the last place.
    let spread = 0;
    for (const { loss, params: wanted, nIter, funcEvals, spread: own } of trajectory) {
      spread = Math.max(spread, own);
      const bound = 1e-12 + 4 * spread;
      const first = optimizer.step(closure);
      const state = optimizer.stateDict();
      expect([optimizer.steps, state.nIter!.item(), state.funcEvals!.item()]).toEqual([
        nIter,
        nIter,
        funcEvals,
      ]);
      expect(Math.abs(first - loss)).toBeLessThanOrEqual(bound * Math.max(1, loss));
      numbersOf(params).forEach((x, i) => {
        expect(Math.abs(x - wanted[i]!), `element ${i}`).toBeLessThanOrEqual(bound);
      });
    }
  });

  test('takes the same steps, to the bit, on pool tensors', () => {
    const params = startOf(problem, 'f64');
    const tensors = params.map((p) => tensor(p));
    const [plain, pooled] = [new LBFGS(params, options), new LBFGS(tensors, options)];
    for (const _ of trajectory) {
      const losses = [
        plain.step(closureOf(PROBLEMS[problem]!, params)),
        pooled.step(onTensors(problem, tensors)),
      ];
      expect(losses[1]).toBe(losses[0]);
      expect(tensors.map((t) => bitsOf(t.toArray()))).toEqual(params.map(bitsOf));
    }
  });
});

/** The closure for tensors, with tensors as its answers. */
function onTensors(problem: string, tensors: readonly Tensor[]): () => LossAndGradients {
  return () => {
    const arrays = tensors.map((t) => t.toArray() as FloatArray);
    const { loss, gradients } = closureOf(PROBLEMS[problem]!, arrays)();
    return {
      loss: tensor([loss as number], { dtype: tensors[0]!.dtype }),
      gradients: gradients.map((g) => tensor(g as FloatArray)),
    };
  };
}

describe('known answers', () => {
  test.each(FLOATS)('finds the end of Rosenbrock’s valley in %s', (dtype) => {
    const params = startOf('rosenbrock', dtype);
    const optimizer = new LBFGS(params, { ...WOLFE, maxIter: 200, maxEval: 400, toleranceChange: 0 });
    const loss = optimizer.step(closureOf(rosenbrock, params));
    expect(loss).toBeCloseTo(12.5, 6);
    // The Hessian's least eigenvalue at the end is 0.39, so that the distance is at most the gradient over that.
    const gradient = Math.hypot(...rosenbrock(numbersOf(params)).gradient);
    expect(gradient).toBeLessThan(dtype === 'f64' ? 1e-7 : 1e-2);
    expect(Math.hypot(params[0]![0]! - 1, params[0]![1]! - 1)).toBeLessThanOrEqual(3 * gradient + 1e-15);
  });

  test.each([
    ...FLOATS.map((dtype) => [dtype, WOLFE] as const),
    ...FLOATS.map((dtype) => [dtype, {}] as const),
  ])(
    'finds the optimum of logistic regression that Newton’s method finds, in %s, with %o',
    (dtype, search) => {
      const params = startOf('logistic', dtype);
      const optimizer = new LBFGS(params, { ...search, maxIter: 60, toleranceChange: 0 });
      optimizer.step(closureOf(logistic, params));
      // The loss is strongly convex with the penalty as its modulus.
      const gradient = Math.hypot(...logistic(numbersOf(params)).gradient);
      const bound = gradient / goldens.penalty;
      expect(bound).toBeLessThan(dtype === 'f64' ? 1e-5 : 1e-3);
      const optimum = newton();
      const distance = Math.hypot(...numbersOf(params).map((x, i) => x - optimum[i]!));
      expect(distance).toBeLessThanOrEqual(bound + 1e-12);
    },
  );

  test('finds the least of a quadratic of condition 10⁴ in 30 iterations', () => {
    const centre = [1, -2, 0.5, 3, -1];
    const quadratic = (x: readonly number[]): Answer => ({
      loss: x.reduce((sum, xi, i) => sum + (10 ** (i - 2) * (xi - centre[i]!) ** 2) / 2, 0),
      gradient: x.map((xi, i) => 10 ** (i - 2) * (xi - centre[i]!)),
    });
    const params = [new Float64Array(5)];
    const optimizer = new LBFGS(params, {
      ...WOLFE,
      maxIter: 40,
      maxEval: 100,
      toleranceChange: 0,
      toleranceGrad: 1e-9,
    });
    optimizer.step(closureOf(quadratic, params));
    expect(optimizer.steps).toBeLessThanOrEqual(30);
    params[0]!.forEach((x, i) => {
      expect(Math.abs(x - centre[i]!)).toBeLessThanOrEqual(1e-9 / 10 ** (i - 2));
    });
  });
});

/** The optimum of `logistic`. */
function newton(): number[] {
  const { features, penalty } = goldens;
  let w = features[0]!.map(() => 0);
  for (let k = 0; k < 30; k++) {
    const { gradient } = logistic(w);
    const hessian = w.map((_, j) =>
      w.map((_, l) => {
        const curvature = features.reduce((sum, x) => {
          const p = 1 / (1 + Math.exp(-x.reduce((z, b, i) => z + w[i]! * b, 0)));
          return sum + (p * (1 - p) * x[j]! * x[l]!) / features.length;
        }, 0);
        return curvature + (j === l ? penalty : 0);
      }),
    );
    const step = solve(hessian, gradient);
    w = w.map((x, j) => x - step[j]!);
  }
  expect(Math.hypot(...logistic(w).gradient)).toBeLessThan(1e-14);
  return w;
}

test('in f32, an iteration is that of f64 but for rounding', () => {
  const [narrow, wide] = FLOATS.map((dtype) => {
    const params = startOf('rosenbrock', dtype);
    new LBFGS(params, { maxIter: 1 }).step(closureOf(rosenbrock, params));
    return numbersOf(params);
  }) as [number[], number[]];
  // The gradient, its norm, the product and the sum: less than 8 roundings of numbers of at most 2.
  narrow.forEach((x, i) => {
    expect(Math.abs(x - wide[i]!)).toBeLessThanOrEqual(16 * UNIT.f32);
  });
});

test('trains a model whose loss and gradients are compiled', async () => {
  const [x, labels] = [
    tensor(Float32Array.from(randomNumbers(40 * 3, 5, 'f32')), { shape: [40, 3] }),
    tensor(Int32Array.from({ length: 40 }, (_, i) => i % 3)),
  ];
  const model = new Linear(3, 3);
  const compute = compile(() => {
    const loss = crossEntropy(model.forward(x), labels);
    return { loss, gradients: grad(loss, model.parameters()) };
  });
  const optimizer = new LBFGS(model.namedParameters(), WOLFE);
  const first = optimizer.step(() => compute.runSync());
  const second = optimizer.step(() => {
    const { value, grads } = valueAndGrad(() => crossEntropy(model.forward(x), labels), model.parameters())();
    return { loss: value, gradients: grads };
  });
  expect(second).toBeLessThan(first);
  expect(optimizer.step(() => compute.runSync())).toBeLessThanOrEqual(second);
  expect(Object.keys(optimizer.stateDict())).toContain('weight.prevFlatGrad');
});

test('frees what it makes, also inside a scope, and remembers no more than it says', () => {
  const tensors = startOf('rosenbrock of six', 'f64').map((p) => tensor(p));
  const optimizer = new LBFGS(tensors, { ...WOLFE, maxIter: 2, historySize: 3 });
  const closure = onTensors('rosenbrock of six', tensors);
  const step = () => {
    optimizer.step(closure);
    return defaultPool.statistics.blocks;
  };
  const { blocks } = defaultPool.statistics;
  const seen = Array.from({ length: 6 }, (_, k) => (k % 2 === 0 ? step() : defaultPool.scope(step)));
  expect(Object.keys(optimizer.stateDict()).filter((name) => name.startsWith('0.oldStps'))).toHaveLength(3);
  // The direction and the gradient before it, and up to three pairs: two evaluations make one iteration.
  expect(seen.map((count) => count - blocks)).toEqual([2, 4, 6, 8, 8, 8]);
  optimizer.paramGroups[0].historySize = 1;
  expect(step() - blocks).toBe(4);
});

describe('state', () => {
  const stateBits = (optimizer: LBFGS) =>
    Object.fromEntries(Object.entries(optimizer.stateDict()).map(([name, t]) => [name, bitsOf(t.toArray())]));
  const options = { ...WOLFE, maxIter: 3, historySize: 4 };
  /** After some steps. */
  function walked(dtype: Float, steps: number) {
    const params = startOf('rosenbrock of six', dtype);
    const optimizer = new LBFGS(params, options);
    const step = () => optimizer.step(closureOf(rosenbrock, params));
    for (let k = 0; k < steps; k++) step();
    return { params, optimizer, step };
  }

  test.each(FLOATS.flatMap((dtype) => [0, 1, 4].map((steps) => [dtype, steps] as const)))(
    'goes on from a saved state as if it had never stopped, in %s, after %i steps',
    async (dtype, steps) => {
      const { params, optimizer, step } = walked(dtype, steps);
      const file = join(temporaryFolder(), 'lbfgs.safetensors');
      await writeSafetensors(file, optimizer.stateDict());
      const copied = params.map((p) => p.slice());
      const resumed = new LBFGS(copied, options);
      resumed.loadStateDict((await readSafetensors(file)).tensors);
      expect(stateBits(resumed)).toEqual(stateBits(optimizer));
      expect(resumed.steps).toBe(optimizer.steps);
      for (let k = 0; k < 5; k++) {
        step();
        resumed.step(closureOf(rosenbrock, copied));
        expect(copied.map(bitsOf)).toEqual(params.map(bitsOf));
      }
      expect(stateBits(resumed)).toEqual(stateBits(optimizer));
    },
  );

  test('goes through a checkpoint, with a schedule', async () => {
    const { params, optimizer, step } = walked('f64', 3);
    const schedule = new CosineAnnealingLR(optimizer, { tMax: 10 });
    schedule.step();
    const checkpoints = new CheckpointManager(temporaryFolder());
    await checkpoints.save({ optimizer, schedule }, { step: 3 });
    const before = stateBits(optimizer);
    step();
    optimizer.paramGroups[0].lr = 1;
    await (await checkpoints.latest())!.load({ optimizer, schedule });
    expect(stateBits(optimizer)).toEqual(before);
    expect(optimizer.paramGroups[0].lr).toBeLessThan(1);
    expect(params).toHaveLength(3);
  });

  test('loads its own state', () => {
    const { optimizer } = walked('f32', 3);
    const before = stateBits(optimizer);
    optimizer.loadStateDict(optimizer.stateDict());
    expect(stateBits(optimizer)).toEqual(before);
  });

  test.each<[string, string, (state: Record<string, Tensor>) => unknown]>([
    ['lacks a vector', 'DT_INVALID_ARGUMENT', (state) => delete state['2.oldDirs.3']],
    ['lacks a number', 'DT_INVALID_ARGUMENT', (state) => delete state.hDiag],
    ['has one too many', 'DT_INVALID_ARGUMENT', (state) => Object.assign(state, { more: tensor(1) })],
    ['has another shape', 'DT_SHAPE_MISMATCH', (state) => Object.assign(state, { '0.d': tensor([1]) })],
    [
      'has fewer products',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { ro: wrap(Float64Array.of(1)) }),
    ],
    [
      'counts half an iteration',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { nIter: wrap(Float64Array.of(0.5), []) }),
    ],
    [
      'has an endless step',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { t: wrap(Float64Array.of(Infinity), []) }),
    ],
    ['has an array', 'DT_INVALID_ARGUMENT', (state) => Object.assign(state, { '0.d': new Float32Array(2) })],
    ['is disposed', 'DT_DISPOSED', (state) => state['0.d']!.dispose()],
  ])('that %s is refused, and what is remembered stays', (_, code, spoil) => {
    const { optimizer } = walked('f32', 3);
    const state = walked('f32', 4).optimizer.stateDict();
    spoil(state);
    const before = stateBits(optimizer);
    expect(refusalOf(() => optimizer.loadStateDict(state)).code).toBe(code);
    expect(stateBits(optimizer)).toEqual(before);
  });
});

describe('a step that is refused leaves parameters and memory as they were:', () => {
  /** After two steps; `run` makes a third, which must be refused. */
  function refused(
    run: (optimizer: LBFGS, good: () => LossAndGradients) => unknown,
    options: LBFGSOptions = WOLFE,
  ) {
    const tensors = startOf('rosenbrock of six', 'f64').map((p) => tensor(p));
    const optimizer = new LBFGS(tensors, { maxIter: 3, ...options });
    const good = onTensors('rosenbrock of six', tensors);
    for (let k = 0; k < 2; k++) optimizer.step(good);
    const bits = () => [...tensors, ...Object.values(optimizer.stateDict())].map((t) => bitsOf(t.toArray()));
    const [before, { blocks }] = [bits(), defaultPool.statistics];
    const refusal = refusalOf(() => run(optimizer, good));
    expect(bits()).toEqual(before);
    expect(defaultPool.statistics.blocks).toBe(blocks);
    return { refusal, tensors };
  }
  /** Answers well twice, then as told. */
  const later = (good: () => LossAndGradients, bad: (answer: LossAndGradients) => unknown) => {
    let calls = 0;
    return () => {
      const answer = good();
      return (++calls > 2 ? bad(answer) : answer) as LossAndGradients;
    };
  };

  test.each<[string, string, (answer: LossAndGradients) => unknown]>([
    ['nothing', 'DT_INVALID_ARGUMENT', () => undefined],
    ['a promise', 'DT_INVALID_ARGUMENT', (answer) => Promise.resolve(answer)],
    ['a promise that fails', 'DT_INVALID_ARGUMENT', () => Promise.reject(new Error('no'))],
    ['other names', 'DT_INVALID_ARGUMENT', ({ loss, gradients }) => ({ value: loss, grads: gradients })],
    [
      'too few gradients',
      'DT_SHAPE_MISMATCH',
      ({ loss, gradients }) => ({ loss, gradients: gradients.slice(1) }),
    ],
    [
      'gradients of other shapes',
      'DT_SHAPE_MISMATCH',
      ({ loss, gradients }) => ({ loss, gradients: [...gradients].reverse() }),
    ],
    [
      'gradients of another dtype',
      'DT_DTYPE_MISMATCH',
      ({ loss, gradients }) => ({
        loss,
        gradients: gradients.map((g) => new Float32Array((g as Tensor).size)),
      }),
    ],
  ])('%s from the closure', (_, code, bad) => {
    expect(refused((optimizer, good) => optimizer.step(later(good, bad))).refusal.code).toBe(code);
  });

  test('an error of the closure itself', () => {
    const params = startOf('rosenbrock', 'f64');
    const before = params.map(bitsOf);
    const fail = later(closureOf(rosenbrock, params), () => {
      throw new RangeError('out of data');
    });
    expect(() => new LBFGS(params, WOLFE).step(fail)).toThrow(new RangeError('out of data'));
    expect(params.map(bitsOf)).toEqual(before);
  });

  test('a loss or a gradient that is not finite, where there is no line search', () => {
    for (const bad of [
      ({ gradients }: LossAndGradients) => ({ loss: NaN, gradients }),
      ({ loss, gradients }: LossAndGradients) => ({
        loss,
        gradients: gradients.map((g) => ((g as Tensor).toArray() as Float64Array).fill(Infinity)),
      }),
    ]) {
      expect(refused((optimizer, good) => optimizer.step(later(good, bad)), {}).refusal.code).toBe(
        'DT_NON_FINITE',
      );
    }
  });

  test('a step inside compile or valueAndGrad', () => {
    refused((optimizer, good) => compile(() => void optimizer.step(good)).runSync());
    const { refusal } = refused((optimizer, good) => valueAndGrad(() => tensor(optimizer.step(good)), [])());
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain('outside of compile(fn)');
  });

  test('no closure', () => {
    const { refusal } = refused((optimizer) => optimizer.step(undefined as never));
    expect(refusal.message).toContain('received undefined');
  });

  test('a parameter in use by a run, or frozen', () => {
    const { tensors } = refused((optimizer, good) => {
      const { handle } = optimizer.paramGroups[0].params[2]!.storage as SharedStorage;
      expect(binding.lock(handle, false)).toBe(true);
      try {
        optimizer.step(good);
      } finally {
        binding.unlock(handle, false);
      }
    });
    tensors[1]!.storage.frozen = true;
    const optimizer = new LBFGS(tensors);
    expect(refusalOf(() => optimizer.step(onTensors('rosenbrock of six', tensors))).code).toBe('DT_FROZEN');
  });
});

test('a trial where the loss is not finite is too long, and a shorter one follows', () => {
  // −log x + x, with its least at 1, is not defined where the first trial comes to lie.
  const params = [Float64Array.of(0.1)];
  const barrier = ([x]: readonly number[]): Answer => ({ loss: x! - Math.log(x!), gradient: [1 - 1 / x!] });
  const outside = (x: number) => barrier([x]).loss;
  const falling = [Float64Array.of(8)];
  expect(outside(-1)).toBeNaN();
  for (const start of [params, falling]) {
    const optimizer = new LBFGS(start, { ...WOLFE, lr: 100, maxIter: 40, maxEval: 400 });
    for (let k = 0; k < 3; k++) optimizer.step(closureOf(barrier, start));
    expect(Math.abs(start[0]![0]! - 1)).toBeLessThan(1e-4);
  }
});

test('nor is a trial taken where the gradient alone is not finite', () => {
  const params = [Float64Array.of(8)];
  const quadratic = ([x]: readonly number[]): Answer => ({
    loss: x! * x!,
    gradient: [x! < 0 ? NaN : 2 * x!],
  });
  new LBFGS(params, { ...WOLFE, lr: 100, maxEval: 200 }).step(closureOf(quadratic, params));
  expect(params[0]![0]).toBeGreaterThanOrEqual(0);
  expect(params[0]![0]).toBeLessThan(1e-4);
});

describe('options', () => {
  const weights = () => [new Float32Array(2)];
  test.each<[string, unknown]>([
    ['lr', -1],
    ['maxIter', 0],
    ['maxIter', 1.5],
    ['maxEval', NaN],
    ['toleranceGrad', -1e-9],
    ['toleranceChange', Infinity],
    ['historySize', '10'],
    ['lineSearchFn', 'strong_wolfe'],
    ['lineSearchFn', null],
  ])('%s of %s is refused, when it is made and later', (key, value) => {
    const group = new LBFGS(weights()).paramGroups[0] as unknown as Record<string, unknown>;
    const later = () => {
      group[key] = value;
    };
    for (const run of [() => new LBFGS(weights(), { [key]: value }), later]) {
      const refusal = refusalOf(run);
      expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
      expect(refusal.message).toContain(`for ${key} of LBFGS`);
    }
  });

  test('of another name, a second group and parameters of 16 bits are refused', () => {
    expect(refusalOf(() => new LBFGS(weights(), { weightDecay: 0.1 } as never)).code).toBe(
      'DT_INVALID_ARGUMENT',
    );
    const two = [{ params: weights() }, { params: weights() }];
    expect(refusalOf(() => new LBFGS(two)).message).toContain('one group');
    expect(refusalOf(() => new LBFGS([tensor([1], { dtype: 'bf16' })])).code).toBe('DT_DTYPE_MISMATCH');
  });

  test('are read back, with PyTorch’s defaults', () => {
    const read = (optimizer: LBFGS) => {
      const { params: _, names: __, ...options } = optimizer.paramGroups[0];
      return options;
    };
    const defaults = {
      lr: 1,
      maxIter: 20,
      maxEval: 25,
      toleranceGrad: 1e-7,
      toleranceChange: 1e-9,
      historySize: 100,
      lineSearchFn: undefined,
    };
    expect(read(new LBFGS(weights()))).toEqual(defaults);
    expect(read(new LBFGS([{ params: weights(), maxIter: 7 }], WOLFE))).toEqual({
      ...defaults,
      maxIter: 7,
      maxEval: 8,
      lineSearchFn: 'strongWolfe',
    });
  });
});
