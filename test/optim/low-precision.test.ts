import {
  AdamW8bit,
  cast,
  clone,
  compile,
  defaultPool,
  device,
  LBFGS,
  Muon,
  SparseAdam,
  type Tensor,
  tensor,
} from 'drivetrain';
import { afterAll, describe, expect, test } from 'vitest';
import { bitsOf, randomNumbers, refusalOf } from '../ops/support.js';
import { type AnyOptimizer, EIGHT_BIT, FULL, NAMES, OPTIMIZERS } from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const STEPS = 12;
const f32 = (n: number, seed: number, shape?: number[]) =>
  tensor(Float32Array.from(randomNumbers(n, seed, 'f32')), shape && { shape });
const bits = (t: Tensor) => bitsOf(t.toArray());

const CASES: readonly (readonly [string, (own: readonly Tensor[]) => AnyOptimizer, readonly number[]])[] = [
  ...NAMES.map(
    (name) =>
      [
        name,
        (own: readonly Tensor[]) => OPTIMIZERS[name]!(own as Tensor[], FULL[name]),
        [12, 1, 0, 2500],
      ] as const,
  ),
  // Large enough for moments of eight bits, and not.
  ['AdamW8bit', (own) => EIGHT_BIT[1]![0](own as Tensor[]), [12, 4096, 0, 9001]],
];

describe.each(CASES)('%s', (_, make, sizes) => {
  test.each(['f16', 'bf16'] as const)('steps %s parameters on f32 copies, and rounds', (dtype) => {
    const params = sizes.map((n, i) => cast(f32(n, i), dtype));
    const [recorded, full] = [params.map(clone), params.map((p) => cast(p, 'f32'))];
    const arrays = params.map((p) => p.toArray() as Uint16Array);
    const [eager, program, wide] = [make(params), make(recorded), make(full)];
    const step = compile((...g: Tensor[]) => program.step(g));
    for (let k = 0; k < STEPS; k++) {
      defaultPool.scope(() => {
        const gradients = sizes.map((n, i) => cast(f32(n, 100 + 10 * k + i), dtype));
        // Of 16 bits, as tensors and as arrays, and of 32, which hold the same numbers.
        const given = [gradients, gradients.map((g) => g.toArray()), gradients.map((g) => cast(g, 'f32'))];
        eager.step(given[k % 3]!);
        step.runSync(...gradients);
        wide.step(gradients.map((g) => cast(g, 'f32')));
      });
      expect(params.map(bits)).toEqual(full.map((p) => bits(cast(p, dtype))));
    }
    expect(recorded.map(bits)).toEqual(params.map(bits));
    expect(bits(eager.stateDict()['3.master']!)).toBe(bits(full[3]!));
    expect(bitsOf(arrays[3]!)).not.toBe(bits(params[3]!));
    const doubles = sizes.map((n) => new Float64Array(n));
    expect(refusalOf(() => eager.step(doubles)).code).toBe('DT_DTYPE_MISMATCH');
    const mixed = [...full.slice(0, 3), arrays[3]!];
    expect(refusalOf(() => eager.step(mixed)).message).toContain('one dtype');
  });
});

test('what needs f32 refuses 16 bits and more', () => {
  const halves = [cast(f32(4, 1), 'bf16')];
  expect(refusalOf(() => new SparseAdam(halves)).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => new LBFGS(halves)).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => new AdamW8bit([new Float64Array(5000)])).code).toBe('DT_DTYPE_MISMATCH');
});

describe.each(EIGHT_BIT.map((pair, i) => [['Adam8bit', 'AdamW8bit'][i]!, ...pair] as const))(
  '%s',
  (_, eight, full) => {
    const sizes = [5000, 10, 4095, 4096, 9001];
    const params = () => sizes.map((n, i) => f32(n, i));
    const gradients = (k: number) => sizes.map((n, i) => f32(n, 50 + 10 * k + i));
    const options = { lr: 0.01, weightDecay: 0.1 };

    test('takes the first step as with f32 moments, and every step of small parameters', () => {
      const [ours, theirs] = [params(), params()];
      const [a, b] = [eight(ours, options), full(theirs, options)];
      for (let k = 0; k < STEPS; k++) {
        a.step(gradients(k));
        b.step(gradients(k));
        const same = ours.map((p, i) => bits(p) === bits(theirs[i]!));
        expect(same).toEqual(k === 0 ? sizes.map(() => true) : [false, true, true, false, false]);
      }
      expect([a.steps, b.steps]).toEqual([STEPS, STEPS]);
    });

    test('keeps a quarter of the state', () => {
      const bytes = (state: Record<string, Tensor>) =>
        Object.entries(state)
          .filter(([name]) => !name.endsWith('.step'))
          .reduce((sum, [, t]) => sum + t.toArray().byteLength, 0);
      const large = [f32(2 ** 16, 1)];
      expect(bytes(eight(large).stateDict()) / bytes(full(large).stateDict())).toBeCloseTo(
        0.25 + 1 / 256,
        10,
      );
    });

    test('goes on from a saved state, with any number of threads, recorded or not, with the same bits', () => {
      const [through, half, recorded, alone] = [params(), params(), params(), params()];
      const [a, b, c, d] = [through, half, recorded, alone].map((own) => eight(own, options));
      const step = compile((...g: Tensor[]) => c!.step(g));
      for (let k = 0; k < STEPS; k++) {
        a!.step(gradients(k));
        step.runSync(...gradients(k));
        device.setThreads(1);
        d!.step(gradients(k));
        device.setThreads(threads);
        if (k < 5) b!.step(gradients(k));
      }
      const resumed = eight(half, options);
      resumed.loadStateDict(b!.stateDict());
      for (let k = 5; k < STEPS; k++) resumed.step(gradients(k));
      for (const others of [half, recorded, alone]) expect(others.map(bits)).toEqual(through.map(bits));
    });

    test('comes as near to the least of a noisy quadratic as with f32 moments', () => {
      const n = 8192;
      const target = Float32Array.from(randomNumbers(n, 9, 'f32'));
      const scale = target.map((_, i) => 10 ** (((i % 5) - 2) / 2));
      const noise = Array.from({ length: 32 }, (_, k) => randomNumbers(n, 200 + k, 'f32', 0.5));
      const distanceOf = (make: typeof eight) => {
        const p = new Float32Array(n);
        const optimizer = make([p], { lr: 0.05, weightDecay: 0 });
        for (let k = 0; k < 320; k++) {
          for (const group of optimizer.paramGroups) group.lr = 0.05 * (1 - k / 320);
          optimizer.step([p.map((x, i) => scale[i]! * (x - target[i]! + noise[k % 32]![i]!))]);
        }
        return Math.sqrt(p.reduce((sum, x, i) => sum + (x - target[i]!) ** 2, 0) / n);
      };
      const distance = distanceOf(full);
      expect(distance).toBeLessThan(0.1);
      expect(distanceOf(eight)).toBeLessThan(1.1 * distance);
    });
  },
);

test('Muon steps bf16 matrices on f32 copies, and rounds', () => {
  const shapes = [
    [7, 30],
    [0, 4],
    [64, 200],
  ];
  const params = shapes.map((shape, i) => cast(f32(shape[0]! * shape[1]!, i, shape), 'bf16'));
  const [recorded, wide] = [params.map(clone), params.map((p) => cast(p, 'f32'))];
  const [a, b, c] = [new Muon(params), new Muon(recorded), new Muon(wide)];
  const step = compile((...g: Tensor[]) => b.step(g));
  for (let k = 0; k < 3; k++) {
    const g = shapes.map((shape, i) => cast(f32(shape[0]! * shape[1]!, 20 + 5 * k + i, shape), 'bf16'));
    a.step(g);
    step.runSync(...g);
    c.step(g.map((t) => cast(t, 'f32')));
    expect(params.map(bits)).toEqual(wide.map((p) => bits(cast(p, 'bf16'))));
  }
  expect(recorded.map(bits)).toEqual(params.map(bits));
});
