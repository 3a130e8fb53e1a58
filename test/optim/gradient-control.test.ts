import {
  Adam,
  AdamW,
  AdamW8bit,
  abs,
  cast,
  clamp,
  clipGradNorm,
  clone,
  compile,
  defaultPool,
  device,
  GradScaler,
  less,
  Muon,
  norms,
  SGD,
  SparseAdam,
  type Tensor,
  tensor,
  where,
} from 'drivetrain';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { bitsOf, FLOATS, type Float, randomNumbers, refusalOf, rejectionOf, UNIT } from '../ops/support.js';
import {
  type AnyOptimizer,
  arrayOf,
  type FloatArray,
  FULL,
  LAYERWISE,
  NAMES,
  OPTIMIZERS,
} from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const SIZES = [[7, 5], [0], [1], [40_003], [3, 2, 2]];
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
/** The content of what is made again and again. */
const contents = new Map<string, FloatArray[]>();
function make(seed: number, dtype: Float, scale = 1): Tensor[] {
  const key = `${seed} ${dtype} ${scale}`;
  const content =
    contents.get(key) ??
    SIZES.map((shape, i) =>
      arrayOf(
        randomNumbers(sizeOf(shape), seed + i, 'f32').map((x) => x * scale),
        dtype,
      ),
    );
  contents.set(key, content);
  return content.map((data, i) => tensor(data, { shape: SIZES[i]! }));
}
const bits = (tensors: readonly Tensor[]) => tensors.map((t) => bitsOf(t.toArray()));
const stateBits = (optimizer: AnyOptimizer) => bits(Object.values(optimizer.stateDict()));

/** Steps some times, eagerly and recorded; both must come to the same bits. The parameters. */
function walk(
  name: string,
  options: object,
  dtype: Float,
  gradients: readonly (readonly Tensor[])[],
): { params: Tensor[]; optimizer: AnyOptimizer } {
  const params = make(1, dtype);
  const recorded = params.map(clone);
  const optimizer = OPTIMIZERS[name]!(params, { ...FULL[name], ...options });
  const program = OPTIMIZERS[name]!(recorded, { ...FULL[name], ...options });
  const step = compile((...g: Tensor[]) => program.step(g));
  for (const g of gradients) {
    optimizer.step(g);
    step.runSync(...g);
  }
  expect(bits(recorded)).toEqual(bits(params));
  expect(stateBits(program)).toEqual(stateBits(optimizer));
  expect(program.lastStep).toEqual(optimizer.lastStep);
  return { params, optimizer };
}

function near(found: readonly Tensor[], want: readonly Tensor[], dtype: Float, units: number): void {
  found.forEach((t, i) => {
    const [a, b] = [t.toArray(), want[i]!.toArray()] as FloatArray[];
    const bound = units * UNIT[dtype];
    for (let j = 0; j < a!.length; j++) {
      if (!(Math.abs(a![j]! - b![j]!) <= bound * Math.max(1, Math.abs(b![j]!)))) {
        expect.fail(`tensor ${i}, element ${j}: ${a![j]} is not ${b![j]}`);
      }
    }
  });
}

describe.each(NAMES)('%s', (name) => {
  // A sign does not bear rounding where the average crosses 0; scaled gradients agree to rounding alone.
  const steps = name === 'Lion' ? 1 : 3;

  test.each(FLOATS)('clips the norm of %s gradients as it reads them', (dtype) => {
    const gradients = Array.from({ length: steps }, (_, k) => make(50 + 10 * k, dtype, 3));
    const { params, optimizer } = walk(name, { maxGradNorm: 2 }, dtype, gradients);
    const clipped = gradients.map((g) => clipGradNorm(g, 2).gradients);
    const plain = walk(name, {}, dtype, clipped);
    near(params, plain.params, dtype, 64);
    const last = optimizer.lastStep!;
    expect(last.norm).toBeCloseTo(norms(gradients.at(-1)!).l2.item(), dtype === 'f32' ? 2 : 9);
    expect(last.norm).toBeGreaterThan(2);
    expect(last).toMatchObject({ notFinite: 0, skipped: false, skippedSteps: 0, faultySteps: 0 });
  });

  test('does not touch gradients whose norm is small enough', () => {
    const gradients = [make(50, 'f32'), make(60, 'f32')];
    const { params } = walk(name, { maxGradNorm: 1e6 }, 'f32', gradients);
    expect(bits(params)).toEqual(bits(walk(name, {}, 'f32', gradients).params));
  });

  test('clips values', () => {
    const gradients = Array.from({ length: 3 }, (_, k) => make(50 + 10 * k, 'f32', 3));
    const { params, optimizer } = walk(name, { maxGradValue: 0.5 }, 'f32', gradients);
    const clamped = gradients.map((g) => g.map((t) => clamp(t, { min: -0.5, max: 0.5 })));
    // Sums of squares over parameters are cut into blocks of another size.
    const plain = walk(name, {}, 'f32', clamped);
    if (LAYERWISE.has(name)) near(params, plain.params, 'f32', 64);
    else expect(bits(params)).toEqual(bits(plain.params));
    // Values alone can be clipped without a look at all of them first.
    expect(optimizer.lastStep).toBeUndefined();
  });

  test('counts what is not finite as 0 where it is told to', () => {
    const finite = make(50, 'f32');
    const faulty = finite.map(clone);
    for (const [i, value] of [NaN, Infinity, -Infinity].entries()) {
      for (const set of [finite, faulty]) {
        (set[3]!.borrow() as Float32Array)[i * 6_000] = set === faulty ? value : 0;
      }
    }
    const { params, optimizer } = walk(name, { nonFinite: 'zero' }, 'f32', [faulty, finite, faulty]);
    const plain = walk(name, {}, 'f32', [finite, finite, finite]);
    if (LAYERWISE.has(name)) near(params, plain.params, 'f32', 64);
    else expect(bits(params)).toEqual(bits(plain.params));
    expect(optimizer.lastStep).toMatchObject({
      notFinite: 3,
      skipped: false,
      skippedSteps: 0,
      faultySteps: 2,
    });
    expect(optimizer.lastStep!.norm).toBeCloseTo(norms(finite).l2.item(), 3);
  });

  test('leaves a step out where it is told to: nothing changes, and it does not count', () => {
    const [finite, faulty] = [make(50, 'f32'), make(50, 'f32')];
    (faulty[0]!.borrow() as Float32Array)[3] = NaN;
    const { params, optimizer } = walk(name, { nonFinite: 'skip' }, 'f32', [finite, faulty, finite]);
    const plain = walk(name, {}, 'f32', [finite, finite]);
    expect(bits(params)).toEqual(bits(plain.params));
    expect(stateBits(optimizer)).toEqual(stateBits(plain.optimizer));
    expect(optimizer.steps).toBe(2);
    expect(optimizer.lastStep).toMatchObject({
      notFinite: 0,
      skipped: false,
      skippedSteps: 1,
      faultySteps: 1,
    });
  });

  test.each([{ nonFinite: 'throw' }, { maxGradNorm: 1 }, { maxMagnitude: 10 }])(
    'refuses what is not finite with %o, and leaves all as it was',
    async (options) => {
      const [finite, faulty] = [make(50, 'f32'), make(50, 'f32')];
      (faulty[4]!.borrow() as Float32Array)[3] = Infinity;
      const { params, optimizer } = walk(name, options, 'f32', [finite]);
      const before = [bits(params), stateBits(optimizer)];
      const refusal = refusalOf(() => optimizer.step(faulty));
      expect(refusal.code).toBe('DT_NON_FINITE');
      expect(refusal.message).toContain('received 1 of NaN or infinity');
      expect(optimizer.lastStep).toMatchObject({ notFinite: 1, skipped: true });
      const step = compile((...g: Tensor[]) => optimizer.step(g));
      expect(refusalOf(() => step.runSync(...faulty)).code).toBe('DT_NON_FINITE');
      expect((await rejectionOf(step(...faulty))).code).toBe('DT_NON_FINITE');
      expect([bits(params), stateBits(optimizer)]).toEqual(before);
      await step(...finite);
      expect(optimizer.steps).toBe(2);
    },
  );
});

test('the norm is that of all groups, whatever their dtypes', () => {
  const params = [tensor([1, 2]), tensor(Float64Array.of(1)), cast(tensor([3, 4]), 'bf16')];
  const optimizer = new AdamW(
    params.map((one) => ({ params: [one] })),
    { maxGradNorm: 1 },
  );
  optimizer.step([Float32Array.of(1, 2), Float64Array.of(3), cast(tensor([4, 5]), 'bf16')]);
  expect(optimizer.lastStep!.norm).toBe(Math.sqrt(55));
  expect(optimizer.lastStep!.largest).toBe(5);
});

test.each(['f16', 'bf16'] as const)('%s gradients are clipped and cleaned in f32', (dtype) => {
  const half = cast(tensor([1, -2, 3]), dtype);
  const optimizer = new SGD([half], { lr: 1, maxGradValue: 0.5, nonFinite: 'zero' });
  optimizer.step([cast(tensor([0.25, NaN, -7]), dtype)]);
  expect(cast(half, 'f32').toArray()).toEqual(Float32Array.of(0.75, -2, 3.5));
});

test('norms of f64 do not overflow or vanish', () => {
  for (const size of [1e200, 1e-200]) {
    const params = [new Float64Array(2)];
    const optimizer = new SGD(params, { lr: 1, maxGradNorm: size });
    optimizer.step([Float64Array.of(3 * size, 4 * size)]);
    expect(optimizer.lastStep!.norm / size).toBeCloseTo(5, 12);
    if (size > 1) expect(params[0]![0]! / -size).toBeCloseTo(0.6, 12);
  }
});

test('what is beyond maxMagnitude is as what is not finite', () => {
  const weights = Float32Array.of(1, 2);
  const strict = new SGD([weights], { lr: 1, maxMagnitude: 4 });
  const refusal = refusalOf(() => strict.step([Float32Array.of(1, -5)]));
  expect(refusal.code).toBe('DT_NON_FINITE');
  expect(refusal.message).toContain('within ±4');
  expect([...weights]).toEqual([1, 2]);
  const zeroing = new SGD([weights], { lr: 1, maxMagnitude: 4, nonFinite: 'zero' });
  zeroing.step([Float32Array.of(4, -5)]);
  expect([...weights]).toEqual([-3, 2]);
  expect(zeroing.lastStep).toMatchObject({ norm: 4, largest: 5, notFinite: 0, faultySteps: 1 });
  expect(refusalOf(() => new SGD([Float32Array.of(0, -5)], { lr: 1, maxMagnitude: 4 })).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
  expect(refusalOf(() => new SGD([Float32Array.of(NaN)], { lr: 1, maxMagnitude: 4 })).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
});

test('more elements than maxParameters are refused', () => {
  const params = [new Float32Array(3), new Float32Array(2)];
  expect(new Adam(params, { maxParameters: 5 }).steps).toBe(0);
  expect(refusalOf(() => new Adam(params, { maxParameters: 4 })).message).toContain('received 5');
});

test('learning rates are clamped only where that is asked for', () => {
  const weights = () => [new Float32Array(1)];
  expect(new SGD(weights(), { lr: 0 }).paramGroups[0]!.lr).toBe(0);
  const clamped = new SGD([{ params: weights(), lr: 0 }, { params: weights() }], { lr: 7, clamp: true });
  expect(clamped.paramGroups.map(({ lr }) => lr)).toEqual([1e-8, 1]);
  clamped.paramGroups[0]!.lr = 0.5;
  expect(clamped.paramGroups[0]!.lr).toBe(0.5);
  expect(refusalOf(() => new SGD(weights(), { lr: NaN, clamp: true })).code).toBe('DT_INVALID_ARGUMENT');
});

test.each([
  [{ maxGradNorm: -1 }, 'maxGradNorm'],
  [{ maxGradValue: NaN }, 'maxGradValue'],
  [{ nonFinite: 'ignore' }, 'nonFinite'],
  [{ clamp: 1 }, 'clamp'],
  [{ maxParameters: '5' }, 'maxParameters'],
  [{ maxGradNrm: 1 }, 'maxGradNrm'],
])('%o is refused', (options, key) => {
  const refusal = refusalOf(() => new AdamW([new Float32Array(1)], options as never));
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(key);
});

test('a group has no options of the whole', () => {
  const groups = [{ params: [new Float32Array(1)], maxGradNorm: 1 }];
  expect(refusalOf(() => new AdamW(groups as never)).code).toBe('DT_INVALID_ARGUMENT');
});

test('gradients that nobody asked to look at are not', () => {
  const weights = Float32Array.of(1);
  const optimizer = new SGD([weights], { lr: 1 });
  optimizer.step([Float32Array.of(NaN)]);
  expect(weights[0]).toBeNaN();
  expect(optimizer.lastStep).toBeUndefined();
});

test('the bits do not depend on the number of threads, wherever faults are', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(SIZES.length - 1), fc.nat(40_000), fc.constantFrom(NaN, Infinity, 1e30)), {
        maxLength: 5,
      }),
      fc.constantFrom(...FLOATS),
      (faults, dtype) => {
        const gradients = make(50, dtype);
        for (const [i, at, value] of faults) {
          const values = gradients[i]!.borrow() as FloatArray;
          if (values.length > 0) values[at % values.length] = value;
        }
        const options = { nonFinite: 'zero', maxGradNorm: 1, maxMagnitude: 1e20, maxGradValue: 0.01 };
        const run = () => bits(walk('AdamW', options, dtype, [gradients, gradients]).params);
        device.setThreads(threads);
        const many = run();
        device.setThreads(1);
        expect(run()).toEqual(many);
        device.setThreads(threads);
      },
    ),
    { numRuns: 10 },
  );
});

test('steps that are looked at leave no memory behind', () => {
  const params = make(1, 'f32');
  const gradients = make(2, 'f32');
  const optimizer = new AdamW(params, { maxGradNorm: 1, nonFinite: 'skip' });
  optimizer.step(gradients);
  const before = defaultPool.statistics.current;
  for (let k = 0; k < 50; k++) optimizer.step(gradients);
  expect(defaultPool.statistics.current).toBe(before);
});

describe('methods of other parameters and gradients', () => {
  const numbers = (shape: readonly number[], seed: number) =>
    tensor(Float32Array.from(randomNumbers(sizeOf(shape), seed, 'f32')), { shape });
  /** The gradients as steps with these options should see them, made by operations. */
  const prepared: readonly (readonly [options: object, prepare: (g: readonly Tensor[]) => Tensor[]])[] = [
    [{ maxGradNorm: 1 }, (g) => clipGradNorm(g, 1).gradients],
    [{ maxGradValue: 0.25 }, (g) => g.map((t) => clamp(t, { min: -0.25, max: 0.25 }))],
    [{ nonFinite: 'zero' }, (g) => g.map((t) => where(less(abs(t), 1e30), t, 0))],
  ];

  test.each(prepared)('8-bit moments, %o', (options, prepare) => {
    const faulty = numbers([9001], 3);
    if ('nonFinite' in options) (faulty.borrow() as Float32Array)[5000] = NaN;
    const [ours, theirs] = [numbers([9001], 1), numbers([9001], 1)];
    new AdamW8bit([ours], options).step([faulty]);
    new AdamW8bit([theirs]).step(prepare([faulty]));
    near([ours], [theirs], 'f32', 64);
  });

  test.each(prepared)('Muon, %o', (options, prepare) => {
    const gradients = [numbers([7, 30], 3), numbers([300, 200], 4), numbers([0, 4], 5)];
    if ('nonFinite' in options) (gradients[1]!.borrow() as Float32Array)[5000] = -Infinity;
    const make = () => [numbers([7, 30], 1), numbers([300, 200], 2), numbers([0, 4], 1)];
    const [ours, recorded, theirs] = [make(), make(), make()];
    new Muon(ours, options).step(gradients);
    const program = new Muon(recorded, options);
    compile((...g: Tensor[]) => program.step(g)).runSync(...gradients);
    new Muon(theirs).step(prepare(gradients));
    expect(bits(recorded)).toEqual(bits(ours));
    // Five iterations of which each may raise a rounding error fourfold.
    near(ours, theirs, 'f32', 4 ** 5);
  });

  test.each(prepared)('SparseAdam, %o', (options, prepare) => {
    const indices = Int32Array.of(3, 0, 3, 7);
    const values = numbers([4, 1500], 3);
    if ('nonFinite' in options) (values.borrow() as Float32Array)[1600] = NaN;
    const [ours, recorded, theirs] = [1, 1, 1].map((seed) => numbers([9, 1500], seed)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const optimizer = new SparseAdam([ours], options);
    optimizer.step([{ indices, values }]);
    const program = new SparseAdam([recorded], options);
    compile((g: Tensor) => program.step([{ indices: tensor(indices), values: g }])).runSync(values);
    new SparseAdam([theirs]).step([{ indices, values: prepare([values])[0]! }]);
    expect(bits([recorded])).toEqual(bits([ours]));
    near([ours], [theirs], 'f32', 64);
    expect(program.lastStep).toEqual(optimizer.lastStep);
  });

  test('SparseAdam leaves a step out, and refuses one', () => {
    const table = numbers([4, 2], 1);
    const before = bits([table]);
    const gradient = { indices: Int32Array.of(1), values: Float32Array.of(NaN, 1) };
    const skipping = new SparseAdam([table], { nonFinite: 'skip' });
    skipping.step([gradient]);
    expect(skipping.steps).toBe(0);
    expect(refusalOf(() => new SparseAdam([table], { nonFinite: 'throw' }).step([gradient])).code).toBe(
      'DT_NON_FINITE',
    );
    expect(bits([table])).toEqual(before);
  });
});

test('an optimizer that a scope returns can step, looked at or not, eager and recorded', () => {
  for (const options of [{}, { maxGradNorm: 1 }, { nonFinite: 'skip' }]) {
    const weights = tensor([1, 2]);
    const optimizer = defaultPool.scope(() => new AdamW([weights], options as object));
    optimizer.step([tensor([1, 1])]);
    const scaler = defaultPool.scope(() => new GradScaler());
    compile((g: Tensor) => scaler.step(optimizer, [g])).runSync(tensor([1, 1]));
    compile((g: Tensor) => optimizer.step([g])).runSync(tensor([1, 1]));
    expect(optimizer.steps).toBe(3);
  }
});

test('a step that was not looked at has no report, whatever one before it had', () => {
  const optimizer = new SGD([Float32Array.of(1)], { lr: 1 });
  new GradScaler().step(optimizer, [Float32Array.of(1)]);
  expect(optimizer.lastStep).toMatchObject({ notFinite: 0 });
  optimizer.step([Float32Array.of(1)]);
  expect(optimizer.lastStep).toBeUndefined();
  const step = compile((g: Tensor) => recorded.step([g]));
  const recorded = new SGD([tensor([1])], { lr: 1, maxGradNorm: 1 });
  step.program(tensor([1]));
  expect(recorded.lastStep).toBeUndefined();
});
