import { cast, compile, Float16Compressor, type Tensor, tensor, transpose, zeros } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, FLOATS, type Float, LARGEST, refusalOf, TINY } from '../../ops/support.js';

type FloatArray = Float32Array | Float64Array;
const arrayOf = (dtype: Float, data: readonly number[]) =>
  dtype === 'f32' ? Float32Array.from(data) : Float64Array.from(data);

function roundTrip(gradient: FloatArray): FloatArray {
  const compressor = new Float16Compressor([gradient.slice()]);
  const [back] = compressor.decompress(compressor.compress([gradient])) as [Tensor];
  const data = back.toArray() as FloatArray;
  back.dispose();
  return data;
}

/**
 * One rounding to 11 bits, of a number that f64 rounds to f32 before; below 2^−14 of f16 one to a multiple of 2^−24, of a
 * tensor whose largest is 2^14 at least; and what is not normal in f32 may be taken for 0, before or after.
 */
const boundOf = (dtype: Float, x: number, largest: number) =>
  Math.max(2 ** -11 * (1 + 2 ** -12) * Math.abs(x), 2 ** -39 * largest) + TINY[dtype];

function expectClose(dtype: Float, gradient: FloatArray): void {
  const largest = [...gradient].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  roundTrip(gradient).forEach((back, i) => {
    const x = gradient[i]!;
    if (!(Math.abs(back - x) <= boundOf(dtype, x, largest)))
      expect.fail(`${x} came back as ${back}, of ${largest}`);
  });
}

describe.each(FLOATS)('%s', (dtype) => {
  test('comes back within the bound, whatever its size', () => {
    const [low, high] = dtype === 'f32' ? [-140, 127] : [-1060, 1023];
    const number = fc
      .tuple(fc.double({ min: -2, max: 2, noNaN: true }), fc.integer({ min: -45, max: 0 }))
      .map(([x, exponent]) => x * 2 ** exponent);
    fc.assert(
      fc.property(
        fc.array(number, { maxLength: 40 }),
        fc.integer({ min: low, max: high - 1 }),
        (numbers, exponent) =>
          expectClose(
            dtype,
            arrayOf(
              dtype,
              numbers.map((x) => x * 2 ** exponent),
            ),
          ),
      ),
      { numRuns: 300 },
    );
  });

  test('nothing overflows at the ends of the range, or is lost where it is exact', () => {
    const most = LARGEST[dtype] * (1 - 2 ** -11);
    const ends = [most, -most, TINY[dtype], 0];
    for (const x of ends) expectClose(dtype, arrayOf(dtype, [x, x / 2, 0]));
    expect([...roundTrip(arrayOf(dtype, [1, -2.5, 0, 1024, 65536, 3 * 2 ** 20]))]).toEqual([
      1,
      -2.5,
      0,
      1024,
      65536,
      3 * 2 ** 20,
    ]);
  });
});

test('bytes are half of f32 and a quarter of f64, and a header', () => {
  for (const [dtype, ratio] of [
    ['f32', 2],
    ['f64', 4],
  ] as const) {
    const gradient = arrayOf(dtype, new Array<number>(100_000).fill(0.1));
    const { length } = new Float16Compressor([gradient]).compress([gradient]);
    expect(length).toBeGreaterThan(gradient.byteLength / ratio);
    expect(length).toBeLessThan(gradient.byteLength / ratio + 512);
  }
});

test('every gradient has a scale of its own, and its shape and dtype', () => {
  const params = [zeros([2, 3]), zeros([0]), zeros([], { dtype: 'f64' }), cast(zeros([2]), 'bf16')];
  const gradients = [
    transpose(
      tensor([
        [1e30, 2e30],
        [3e30, 4e30],
        [5e30, 6e30],
      ]),
      0,
      1,
    ),
    tensor(new Float32Array(0)),
    tensor(1e-200, { dtype: 'f64' }),
    cast(tensor([1e38, 3]), 'bf16'),
  ];
  const compressor = new Float16Compressor(params);
  const back = compressor.decompress(compressor.compress(gradients));
  back.forEach((t, i) => {
    expect([t.dtype, t.shape]).toEqual([params[i]!.dtype, params[i]!.shape]);
  });
  const [matrix, , scalar, half] = back as [Tensor, Tensor, Tensor, Tensor];
  const ratios = (matrix.toArray() as Float32Array).map(
    (x, i) => x / [1e30, 3e30, 5e30, 2e30, 4e30, 6e30][i]!,
  );
  for (const ratio of ratios) expect(Math.abs(ratio - 1)).toBeLessThan(2 ** -11);
  expect(Math.abs(scalar.item() / 1e-200 - 1)).toBeLessThan(2 ** -11);
  expect(bitsOf(half.toArray().subarray(0, 1))).toBe(bitsOf(gradients[3]!.toArray().subarray(0, 1)));
});

test.each<[string, string, (compressor: Float16Compressor) => unknown]>([
  ['NaN', 'DT_NON_FINITE', (c) => c.compress([Float32Array.of(1, NaN)])],
  ['infinity', 'DT_NON_FINITE', (c) => c.compress([Float32Array.of(-Infinity, 0)])],
  ['no gradient', 'DT_SHAPE_MISMATCH', (c) => c.compress([])],
  ['another length', 'DT_SHAPE_MISMATCH', (c) => c.compress([new Float32Array(3)])],
  ['another dtype', 'DT_DTYPE_MISMATCH', (c) => c.compress([new Float64Array(2)])],
  [
    'a recording',
    'DT_SYMBOLIC_VALUE',
    (c) => compile((g: Tensor) => void c.compress([g])).runSync(tensor([1, 2])),
  ],
])('%s is refused', (_, code, run) => {
  expect(refusalOf(() => run(new Float16Compressor([new Float32Array(2)]))).code).toBe(code);
});
