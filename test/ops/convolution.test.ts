import {
  conv1d,
  conv2d,
  defaultPool,
  device,
  mul,
  ones,
  reshape,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import {
  bothWays1,
  contentOf,
  expectSameBits,
  floats,
  laidOut,
  layouts,
  numbersOf,
  randomSource,
  refusalOf,
  seeds,
  sizeOf,
} from './support.js';

interface Geometry {
  readonly samples: number;
  readonly groups: number;
  /** In each group. */
  readonly channels: number;
  readonly features: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly size: readonly [number, number];
}

const places = ({ kernel, stride, padding, dilation, size }: Geometry) =>
  [0, 1].map(
    (d) => Math.floor((size[d]! + 2 * padding[d]! - dilation[d]! * (kernel[d]! - 1) - 1) / stride[d]!) + 1,
  ) as [number, number];

/** Calls `visit` for every product of the sum, with the places of y, x and weight. */
function everyProduct(g: Geometry, visit: (y: number, x: number, w: number) => void): void {
  const [rows, columns] = places(g);
  const all = { channels: g.groups * g.channels, features: g.groups * g.features };
  for (let n = 0; n < g.samples; n++)
    for (let f = 0; f < all.features; f++)
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++)
          for (let k = 0; k < g.channels; k++)
            for (let i = 0; i < g.kernel[0]; i++)
              for (let j = 0; j < g.kernel[1]; j++) {
                const at = [
                  r * g.stride[0] - g.padding[0] + i * g.dilation[0],
                  c * g.stride[1] - g.padding[1] + j * g.dilation[1],
                ] as const;
                if (at[0] < 0 || at[0] >= g.size[0] || at[1] < 0 || at[1] >= g.size[1]) continue;
                const channel = Math.floor(f / g.features) * g.channels + k;
                visit(
                  ((n * all.features + f) * rows + r) * columns + c,
                  ((n * all.channels + channel) * g.size[0] + at[0]) * g.size[1] + at[1],
                  ((f * g.channels + k) * g.kernel[0] + i) * g.kernel[1] + j,
                );
              }
}

/** Whole numbers from −4 to 4: all sums here are exact, in f32 too, whatever their order. */
function whole(n: number, seed: number): number[] {
  const next = randomSource(seed);
  return Array.from({ length: n }, () => Math.floor(next() * 9) - 4);
}

function shapesOf(g: Geometry): { x: number[]; weight: number[]; y: number[] } {
  return {
    x: [g.samples, g.groups * g.channels, ...g.size],
    weight: [g.groups * g.features, g.channels, ...g.kernel],
    y: [g.samples, g.groups * g.features, ...places(g)],
  };
}

const pair = (min: number, max: number) =>
  fc.tuple(fc.integer({ min, max }), fc.integer({ min, max })) as fc.Arbitrary<[number, number]>;
const geometries = fc
  .record({
    samples: fc.integer({ min: 0, max: 3 }),
    groups: fc.integer({ min: 1, max: 3 }),
    channels: fc.integer({ min: 1, max: 4 }),
    features: fc.integer({ min: 1, max: 5 }),
    kernel: pair(1, 4),
    stride: pair(1, 3),
    padding: pair(0, 3),
    dilation: pair(1, 3),
    size: pair(1, 10),
  })
  .filter((g) => places(g).every((n) => n >= 1));

describe('conv2d', () => {
  test('and its gradients are the plain sums, exactly, for any geometry and layout, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(geometries, floats, layouts, seeds, async (g, dtype, layout, seed) => {
        const shapes = shapesOf(g);
        const x = whole(sizeOf(shapes.x), seed);
        const weight = whole(sizeOf(shapes.weight), seed + 1);
        const bias = whole(shapes.weight[0]!, seed + 2);
        const dy = whole(sizeOf(shapes.y), seed + 3);
        const want = {
          y: Array.from(dy, (_, i) => bias[Math.floor(i / (shapes.y[2]! * shapes.y[3]!)) % bias.length]!),
          dx: x.map(() => 0),
          dweight: weight.map(() => 0),
        };
        everyProduct(g, (i, j, k) => {
          want.y[i]! += x[j]! * weight[k]!;
          want.dx[j]! += dy[i]! * weight[k]!;
          want.dweight[k]! += dy[i]! * x[j]!;
        });
        const { stride, padding, dilation, groups } = g;
        const run = (...[a, b, c]: Tensor[]) => conv2d(a!, b!, c!, { stride, padding, dilation, groups });
        const inputs = [
          laidOut(x, shapes.x, dtype, layout),
          laidOut(weight, shapes.weight, dtype, layout),
          laidOut(bias, [bias.length], dtype, layout),
        ];
        const y = await bothWays1(run, inputs);
        expect(y.shape).toEqual(shapes.y);
        expect(numbersOf(y)).toEqual(want.y);
        defaultPool.scope(() => {
          const weights = laidOut(dy, shapes.y, dtype);
          const { grads } = valueAndGrad((...given: Tensor[]) => sum(mul(run(...given), weights)))(...inputs);
          const plain = (t: Tensor) => numbersOf(contentOf(t)).map((n) => n + 0); // −0 is 0
          expect(plain(grads[0]!)).toEqual(want.dx);
          expect(plain(grads[1]!)).toEqual(want.dweight);
          const dbias = bias.map(() => 0);
          const perPlane = shapes.y[2]! * shapes.y[3]!;
          dy.forEach((d, i) => {
            dbias[Math.floor(i / perPlane) % bias.length]! += d;
          });
          expect(plain(grads[2]!)).toEqual(dbias);
        });
        for (const t of inputs) t.dispose();
      }),
      { numRuns: 150 },
    );
  });

  // 4 MiB of columns are made at once: here for two of five samples, for 35 of 45 rows of one, and for four of seven.
  test.each<[string, Geometry]>([
    ['some samples at once', sized(5, 36, 40)],
    ['some rows of one sample at once', { ...sized(2, 36, 90), stride: [2, 1], groups: 2, channels: 18 }],
    ['1 × 1 kernels', { ...sized(7, 600, 20), kernel: [1, 1], padding: [0, 0] }],
  ])('and its gradients are the plain sums for a batch that is taken in parts: %s', (_, g) => {
    const shapes = shapesOf(g);
    const x = whole(sizeOf(shapes.x), 1);
    const weight = whole(sizeOf(shapes.weight), 2);
    const dy = whole(sizeOf(shapes.y), 3);
    const want = { y: dy.map(() => 0), dx: x.map(() => 0), dweight: weight.map(() => 0) };
    everyProduct(g, (i, j, k) => {
      want.y[i]! += x[j]! * weight[k]!;
      want.dx[j]! += dy[i]! * weight[k]!;
      want.dweight[k]! += dy[i]! * x[j]!;
    });
    const { padding, stride, groups } = g;
    const [a, b, weights] = [laidOut(x, shapes.x), laidOut(weight, shapes.weight), laidOut(dy, shapes.y)];
    expect(numbersOf(contentOf(conv2d(a, b, undefined, { padding, stride, groups })))).toEqual(want.y);
    const { grads } = valueAndGrad((s: Tensor, t: Tensor) =>
      sum(mul(conv2d(s, t, undefined, { padding, stride, groups }), weights)),
    )(a, b);
    expect(numbersOf(contentOf(grads[0]!))).toEqual(want.dx);
    expect(numbersOf(contentOf(grads[1]!))).toEqual(want.dweight);
  });

  test('of no samples has no elements, and gradients of zeros', () => {
    const [x, w, b] = [zeros([0, 2, 5, 5]), ones([3, 2, 3, 3]), ones([3])];
    expect(conv2d(x, w, b).shape).toEqual([0, 3, 3, 3]);
    const { grads } = valueAndGrad((...given: Tensor[]) => sum(conv2d(given[0]!, given[1]!, given[2])))(
      x,
      w,
      b,
    );
    expect(grads.map(({ shape }) => shape)).toEqual([x.shape, w.shape, b.shape]);
    for (const gradient of grads) expect(numbersOf(contentOf(gradient)).every((n) => n === 0)).toBe(true);
  });

  test('passes NaN on to the windows that see it, and to no other', () => {
    const x = tensor([1, 2, NaN, 4, 5, 6], { shape: [1, 1, 1, 6] });
    const y = conv2d(x, ones([1, 1, 1, 2]));
    expect(numbersOf(contentOf(y))).toEqual([3, NaN, NaN, 9, 11]);
  });

  const { threads } = device.info();
  afterAll(() => device.setThreads(threads));

  test('and its gradients have the same bits with one, two and three threads', () => {
    const next = randomSource(4);
    const random = (shape: number[]) =>
      tensor(
        Float32Array.from({ length: sizeOf(shape) }, () => next() - 0.5),
        { shape },
      );
    const inputs = [random([5, 8, 33, 35]), random([12, 4, 3, 3]), random([12])];
    const weights = random([5, 12, 17, 18]);
    const run = () => {
      const fn = (...[a, b, c]: Tensor[]) => conv2d(a!, b!, c!, { stride: 2, padding: 1, groups: 2 });
      const { grads } = valueAndGrad((...given: Tensor[]) => sum(mul(fn(...given), weights)))(...inputs);
      return [fn(...inputs), ...grads].map(contentOf);
    };
    device.setThreads(1);
    const one = run();
    for (const count of [2, 3]) {
      device.setThreads(count);
      run().forEach((value, i) => {
        expectSameBits(value, one[i]!, `${count} threads, result ${i}`);
      });
    }
  });
});

function sized(samples: number, channels: number, size: number): Geometry {
  return {
    samples,
    groups: 1,
    channels,
    features: 2,
    kernel: [3, 3],
    stride: [1, 1],
    padding: [1, 1],
    dilation: [1, 1],
    size: [size, size],
  };
}

describe('conv1d', () => {
  test('is conv2d of planes of one row', () => {
    const x = laidOut(whole(2 * 4 * 11, 1), [2, 4, 11]);
    const weight = laidOut(whole(6 * 2 * 3, 2), [6, 2, 3]);
    const y = conv1d(x, weight, undefined, { stride: 2, padding: 1, dilation: 2, groups: 2 });
    const planes = conv2d(reshape(x, [2, 4, 1, 11]), reshape(weight, [6, 2, 1, 3]), undefined, {
      stride: [1, 2],
      padding: [0, 1],
      dilation: [1, 2],
      groups: 2,
    });
    expectSameBits(contentOf(y), contentOf(reshape(planes, [2, 6, 5])));
  });
});

describe('convolutions refuse', () => {
  const [x, w] = [zeros([2, 4, 5, 6]), zeros([6, 4, 3, 3])];

  test.each<[string, () => unknown, string]>([
    ['planes smaller than the kernel', () => conv2d(zeros([2, 4, 2, 6]), w), '2 × 6'],
    ['a kernel that dilation makes too large', () => conv2d(x, w, undefined, { dilation: 3 }), '7 × 7'],
    ['other channels', () => conv2d(zeros([2, 3, 5, 6]), w), '[6, 4, 3, 3]'],
    ['groups that do not divide', () => conv2d(x, w, undefined, { groups: 3 }), '3 groups'],
    ['groups of 0', () => conv2d(x, w, undefined, { groups: 0 }), '0 groups'],
    ['a bias of another length', () => conv2d(x, w, zeros([4])), '[4]'],
    ['an input without a batch', () => conv2d(zeros([4, 5, 6]), w), '[4, 5, 6]'],
    ['a weight without a window', () => conv2d(x, zeros([6, 4, 0, 3])), '[6, 4, 0, 3]'],
    ['an input of planes', () => conv1d(x, zeros([6, 4, 3])), '[2, 4, 5, 6]'],
    ['lines shorter than the kernel', () => conv1d(zeros([1, 4, 2]), zeros([6, 4, 3])), '1 × 2'],
  ])('%s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
    expect(refusal.message).toContain(part);
  });

  test('two dtypes', () => {
    expect(refusalOf(() => conv2d(x, zeros(w.shape, { dtype: 'f64' }))).code).toBe('DT_DTYPE_MISMATCH');
    expect(refusalOf(() => conv2d(x, w, zeros([6], { dtype: 'f64' }))).code).toBe('DT_DTYPE_MISMATCH');
  });
});
