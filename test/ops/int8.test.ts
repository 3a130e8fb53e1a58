import {
  clone,
  compile,
  device,
  gelu,
  linearInt8,
  matmulInt8,
  matmulInteger,
  packInt8,
  qlinearMatmul,
  quantizeLinear,
  quantizeRows,
  relu,
  reshape,
  type Tensor,
  tensor,
  type ZeroPoints,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runFixture } from '../native/support.js';
import {
  bothWays1,
  contentOf,
  expectSameBits,
  expectWithin,
  laidOut,
  layouts,
  numbersOf,
  randomNumbers,
  randomSource,
  refusalOf,
  seeds,
  UNIT,
} from './support.js';

type Bytes = 'i8' | 'u8';
const kinds = fc.constantFrom<Bytes>('i8', 'u8');

function randomBytes(count: number, seed: number, dtype: Bytes = 'i8'): number[] {
  const next = randomSource(seed);
  return Array.from({ length: count }, () => Math.floor(next() * 256) - (dtype === 'i8' ? 128 : 0));
}

/** (a − zero) · (weight − weight's zero)ᵀ in exact integers; zeros repeat. */
function exactProduct(
  a: readonly number[],
  weight: readonly number[],
  k: number,
  [m, n]: readonly [number, number] = [a.length / k, weight.length / k],
  zeros: readonly number[] = [0],
  weightZeros: readonly number[] = [0],
): number[] {
  const sums: number[] = [];
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0; // under 2^53 by far
      const [zero, weightZero] = [zeros[i % zeros.length]!, weightZeros[j % weightZeros.length]!];
      for (let p = 0; p < k; p++) sum += (a[i * k + p]! - zero) * (weight[j * k + p]! - weightZero);
      sums.push(sum);
    }
  return sums;
}

const fill = (n: number, value: number) => new Array<number>(n).fill(value);
const ones = (n: number) => tensor(fill(n, 1));
const i32 = (t: Tensor) => [...(t.toArray() as Int32Array)];

describe('matmulInteger', () => {
  const extent = fc.constantFrom(0, 1, 2, 3, 6, 7, 15, 16, 17, 31, 33, 64, 65, 130);
  // How many zero points: none, one, one for each.
  const count = fc.constantFrom('none', 'one', 'each');

  test('has exact sums for every shape, dtype, zero point and layout of the weight, both ways', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(extent, extent, extent),
        fc.tuple(kinds, kinds),
        fc.tuple(count, count),
        layouts,
        seeds,
        async ([m, k, n], [type, weightType], [zeroCount, weightZeroCount], layout, seed) => {
          fc.pre(m * k * n <= 120_000);
          const a = randomBytes(m * k, seed, type);
          const weight = randomBytes(n * k, seed + 1, weightType);
          const zerosOf = (kind: string, all: number, dtype: Bytes, at: number) =>
            kind === 'none' ? undefined : randomBytes(kind === 'one' ? 1 : all, at, dtype);
          const zeros = zerosOf(zeroCount, m, type, seed + 2);
          const weightZeros = zerosOf(weightZeroCount, n, weightType, seed + 3);
          const points: ZeroPoints = {
            zeroPoint: zeros && laidOut(zeros, [zeros.length], type),
            weightZeroPoint: weightZeros && laidOut(weightZeros, [weightZeros.length], weightType),
          };
          const inputs = [laidOut(a, [m, k], type, layout), laidOut(weight, [n, k], weightType, layout)];
          const y = await bothWays1((q, w) => matmulInteger(q!, packInt8(w!), points), inputs);
          expect(y).toMatchObject({ dtype: 'i32', shape: [m, n] });
          const want = exactProduct(a, weight, k, [m, n], zeros ?? [0], weightZeros ?? [0]);
          expect(numbersOf(y)).toEqual(want.map((sum) => sum + 0)); // no −0
        },
      ),
      { numRuns: 80 },
    );
  });

  test.each([
    [127, 127],
    [-128, -128],
    [-128, 127],
    [127, -128],
    [255, 127],
    [255, -128],
    [255, 255],
    [-128, 255],
  ])('does not saturate where all are %d and %d', async (a, b) => {
    const type = (value: number): Bytes => (value > 127 ? 'u8' : 'i8');
    for (const k of [1, 2, 3, 31, 64, 65, 1000]) {
      const inputs = [laidOut(fill(5 * k, a), [5, k], type(a)), laidOut(fill(18 * k, b), [18, k], type(b))];
      const sums = numbersOf(await bothWays1((q, w) => matmulInteger(q!, packInt8(w!)), inputs));
      expect(new Set(sums)).toEqual(new Set([k * a * b]));
    }
  });

  test.each<[Bytes, number, Bytes, number, number]>([
    ['i8', -128, 'i8', -128, 131_071],
    ['u8', 255, 'i8', -128, 65_793],
    ['u8', 255, 'u8', 255, 33_025],
  ])('is exact up to its bound: %s %d, %s %d, %d columns', (type, a, weightType, b, k) => {
    const wide = (columns: number) => laidOut(fill(columns, a), [1, columns], type);
    const weight = (columns: number) => packInt8(laidOut(fill(columns, b), [1, columns], weightType));
    expect(i32(matmulInteger(wide(k), weight(k)))).toEqual([k * a * b]);
    if (k === 131_071) return; // packInt8 itself refuses more
    const refusal = refusalOf(() => matmulInteger(wide(k + 1), weight(k + 1)));
    expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
    expect(refusal.message).toContain(`at most ${k} columns`);
  });

  test('zero points at the ends reach the ends of 32 bits', () => {
    const k = 33_025;
    const zeroPoint = tensor(255, { dtype: 'u8' });
    const weightZeroPoint = tensor([127], { dtype: 'i8' });
    const a = laidOut(fill(k, 0), [1, k], 'u8');
    const packed = packInt8(laidOut(fill(k, -128), [1, k], 'i8'));
    expect(i32(matmulInteger(a, packed, { zeroPoint, weightZeroPoint }))).toEqual([255 * 255 * k]);
  });
});

describe('matmulInt8', () => {
  test('rounds sums beyond 2^24 once', async () => {
    const k = 5001;
    const next = randomSource(9);
    const q = Array.from({ length: k }, () => 100 + Math.floor(next() * 28));
    const weight = Array.from({ length: 3 * k }, () => 100 + Math.floor(next() * 28));
    const inputs = [laidOut(q, [1, k], 'i8'), laidOut(weight, [3, k], 'i8'), ones(1), ones(3)];
    const y = await bothWays1((a, w, one, three) => matmulInt8(a!, one!, packInt8(w!), three!), inputs);
    expect(numbersOf(y)).toEqual(exactProduct(q, weight, k).map(Math.fround));
  });

  test('applies scales, zero points and bias, and a fused relu or gelu, within their roundings', async () => {
    const [m, k, n] = [5, 40, 19];
    for (const each of [true, false]) {
      const [q, weight] = [randomBytes(m * k, 4, 'u8'), randomBytes(n * k, 5)];
      const [rows, channels] = [randomNumbers(each ? m : 1, 1, 'f32'), randomNumbers(each ? n : 1, 2, 'f32')];
      const bias = randomNumbers(n, 3, 'f32', 1000);
      const zeros = randomBytes(each ? m : 1, 6, 'u8');
      const inputs = [
        laidOut(q, [m, k], 'u8'),
        tensor(rows),
        laidOut(weight, [n, k], 'i8'),
        tensor(channels),
        tensor(bias),
        laidOut(zeros, [zeros.length], 'u8'),
      ];
      const multiply = (...[a, r, w, c, b, zeroPoint]: Tensor[]) =>
        matmulInt8(a!, r!, packInt8(w!), c!, b!, { zeroPoint });
      const y = await bothWays1(multiply, inputs);
      const scaled = exactProduct(q, weight, k, [m, n], zeros).map(
        (sum, i) => sum * rows[Math.floor(i / n) % rows.length]! * channels[(i % n) % channels.length]!,
      );
      // Two products and one sum.
      expectWithin(
        y,
        scaled.map((value, i) => value + bias[i % n]!),
        (i) => UNIT.f32 * (4 * Math.abs(scaled[i]!) + Math.abs(bias[i % n]!)),
      );
      const positive = await bothWays1((...t) => relu(multiply(...t)), inputs);
      expect(numbersOf(positive)).toEqual(numbersOf(y).map((value) => Math.max(0, value)));
      await bothWays1((...t) => gelu(multiply(...t)), inputs);
    }
  });

  test('a relu that follows is fused, and keeps zero points and bias', () => {
    const packed = packInt8(tensor([[1], [1]], { dtype: 'i8' }));
    const options = { zeroPoint: tensor(100, { dtype: 'u8' }) };
    const fn = compile((a: Tensor) =>
      relu(matmulInt8(a, ones(1), packed, ones(1), tensor([-50, 90]), options)),
    );
    const a = tensor([[30], [200]], { dtype: 'u8' });
    expect([...(fn.runSync(a).toArray() as Float32Array)]).toEqual([0, 20, 50, 190]);
  });

  test('a scale of NaN, as a spoiled row has it, shows in that row alone', async () => {
    const inputs = [
      laidOut(fill(6, 1), [3, 2], 'i8'),
      tensor([1, NaN, 1]),
      laidOut(fill(4, 1), [2, 2], 'i8'),
      tensor([1, 1]),
    ];
    const y = await bothWays1((a, r, w, c) => matmulInt8(a!, r!, packInt8(w!), c!), inputs);
    expect(numbersOf(y)).toEqual([2, 2, NaN, NaN, 2, 2]);
  });
});

describe('linearInt8', () => {
  test('has the bits of quantizing rows first, for every shape and layout, both ways', async () => {
    const extent = fc.constantFrom(0, 1, 2, 5, 13, 31, 64, 67);
    await fc.assert(
      fc.asyncProperty(extent, extent, extent, seeds, layouts, async (m, k, n, seed, layout) => {
        const data = randomNumbers(m * k, seed, 'f32', 9);
        if (k > 0 && m > 2) data[k] = seed % 2 ? NaN : Infinity;
        const x = laidOut(data, [m, k], 'f32', layout);
        const packed = packInt8(laidOut(randomBytes(n * k, seed), [n, k], 'i8'));
        const [scale, bias] = [
          tensor(randomNumbers(n, seed + 1, 'f32')),
          tensor(randomNumbers(n, seed + 2, 'f32')),
        ];
        const y = await bothWays1((t) => linearInt8(t!, packed, scale, bias), [x]);
        const want = contentOf(matmulInt8(...quantizeRows(x), packed, scale, bias));
        expectSameBits(y, want);
      }),
      { numRuns: 40 },
    );
  });

  test('keeps the leading dimensions', () => {
    const packed = packInt8(laidOut(randomBytes(20, 1), [5, 4], 'i8'));
    expect(linearInt8(tensor(new Float32Array(24), { shape: [2, 3, 4] }), packed, ones(1)).shape).toEqual([
      2, 3, 5,
    ]);
    expect(linearInt8(tensor([1, 2, 3, 4]), packed, ones(5)).shape).toEqual([5]);
  });
});

describe('qlinearMatmul', () => {
  test('has the bits of quantizing what matmulInt8 gives, both ways', async () => {
    const extent = fc.constantFrom(0, 1, 3, 8, 17, 33, 64);
    await fc.assert(
      fc.asyncProperty(extent, extent, extent, kinds, kinds, seeds, async (m, k, n, type, output, seed) => {
        const packed = packInt8(laidOut(randomBytes(n * k, seed), [n, k], 'i8'));
        const zeroPoints = {
          zeroPoint: laidOut(randomBytes(1, seed + 1, type), [], type),
          weightZeroPoint: laidOut(randomBytes(n, seed + 2), [n], 'i8'),
        };
        const bias = tensor(randomNumbers(n, seed + 3, 'f32', 20));
        const [scale, weightScale] = [tensor(0.02), tensor(randomNumbers(n, seed + 4, 'f32'))];
        const [outputScale, zero] = [tensor(0.7), laidOut(randomBytes(1, seed + 5, output), [], output)];
        const activation = seed % 2 ? 'relu' : 'none';
        const a = laidOut(randomBytes(m * k, seed + 6, type), [m, k], type);
        const y = await bothWays1(
          (t) =>
            qlinearMatmul(t!, scale, packed, weightScale, outputScale, zero, {
              ...zeroPoints,
              bias,
              activation,
            }),
          [a],
        );
        const plain = matmulInt8(a, scale, packed, weightScale, bias, zeroPoints);
        const between = activation === 'relu' ? relu(plain) : plain;
        expectSameBits(y, contentOf(quantizeLinear(between, outputScale, zero)));
      }),
      { numRuns: 40 },
    );
  });
});

// It goes through all instruction sets by itself: once is enough.
const once = test.skipIf(process.env['DRIVETRAIN_ISA'] !== undefined);

once(
  'the bits depend neither on the instruction set nor on the number of threads',
  {
    timeout: 120_000,
  },
  async () => {
    const hashes = new Set<string>();
    for (const isa of device.info().isas) {
      for (const threads of [1, 3]) {
        const options = { args: [String(threads)], env: { DRIVETRAIN_ISA: isa } };
        const { code, stdout, stderr } = await runFixture('int8-products.mjs', options);
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        const { hash, ...ran } = JSON.parse(stdout);
        expect(ran).toEqual({ isa, threads });
        hashes.add(hash);
      }
    }
    expect(hashes.size).toBe(1);
  },
);

describe('a weight of other columns is refused, however it came here:', () => {
  const bytes = (shape: [number, number]) => tensor(new Int8Array(shape[0] * shape[1]), { shape });
  const zero = tensor(0, { dtype: 'i8' });
  const products: Record<string, (k: number, packed: Tensor) => Tensor> = {
    matmulInteger: (k, packed) => matmulInteger(bytes([2, k]), packed),
    matmulInt8: (k, packed) => matmulInt8(bytes([2, k]), ones(1), packed, ones(1)),
    linearInt8: (k, packed) =>
      linearInt8(tensor(new Float32Array(2 * k), { shape: [2, k] }), packed, ones(1)),
    qlinearMatmul: (k, packed) => qlinearMatmul(bytes([2, k]), ones(1), packed, ones(1), ones(1), zero),
  };

  test.each(Object.entries(products))('%s', (operation, multiply) => {
    // Around every multiple that kernels fill up to, for channels that fill their panels and that do not.
    for (const n of [0, 1, 3, 8, 16, 33, 48, 64, 97]) {
      for (const k of [0, 1, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 130]) {
        const packed = packInt8(bytes([n, k]));
        for (const weight of [packed, clone(packed)]) expect(multiply(k, weight).shape).toEqual([2, n]);
        for (const step of [1, 2, 4, 8, 15, 16, 17, 32, 64]) {
          for (const other of [k - step, k + step]) {
            if (other < 0) continue;
            const refusal = refusalOf(() => multiply(other, packed));
            expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
            expect(refusal.message).toBe(
              `Expected inner dimensions that agree for ${operation} but received ${other} columns and a packed weight [${n}, ${k}].`,
            );
          }
        }
      }
    }
  });

  test('while recording, and as an input of a program', () => {
    const [a, weight] = [bytes([2, 7]), bytes([3, 5])];
    const packing = compile((x: Tensor, w: Tensor) => matmulInteger(x, packInt8(w)));
    expect(refusalOf(() => packing.runSync(a, weight)).code).toBe('DT_SHAPE_MISMATCH');
    const packed = compile((x: Tensor, w: Tensor) => matmulInteger(x, w));
    expect(refusalOf(() => packed.runSync(a, packInt8(weight))).code).toBe('DT_SHAPE_MISMATCH');
  });

  test.each([1, 3, 48, 100])('no two depths of %d channels have packed weights of one size', (n) => {
    const sizes = Array.from({ length: 200 }, (_, k) => packInt8(bytes([n, k])).shape[1]);
    expect(new Set(sizes).size).toBe(200);
  });
});

describe('what does not fit is refused:', () => {
  const q = tensor([[1, 2]], { dtype: 'i8' });
  const one = tensor([1]);
  const weight = tensor(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    { dtype: 'i8' },
  );
  const packed = packInt8(weight);
  const three = tensor([1, 1, 1]);
  const u8 = tensor(1, { dtype: 'u8' });
  const floats = tensor([[1, 2]]);
  test.each<[string, string, () => unknown]>([
    ['packing a vector', 'DT_SHAPE_MISMATCH', () => packInt8(tensor([1], { dtype: 'i8' }))],
    ['packing floats', 'DT_DTYPE_MISMATCH', () => packInt8(tensor([[1]]))],
    ['multiplying floats', 'DT_DTYPE_MISMATCH', () => matmulInt8(floats, one, packed, three)],
    ['a vector', 'DT_SHAPE_MISMATCH', () => matmulInteger(tensor([1, 2], { dtype: 'i8' }), packed)],
    ['another depth', 'DT_SHAPE_MISMATCH', () => matmulInteger(laidOut(fill(99, 1), [1, 99], 'i8'), packed)],
    ['a weight that is not packed', 'DT_SHAPE_MISMATCH', () => matmulInteger(q, weight)],
    [
      'a packed weight of rank 1',
      'DT_SHAPE_MISMATCH',
      () => matmulInteger(q, reshape(packed, [packed.size])),
    ],
    ['a packed weight of rank 0', 'DT_SHAPE_MISMATCH', () => matmulInteger(q, tensor(1, { dtype: 'i8' }))],
    ['too many row scales', 'DT_SHAPE_MISMATCH', () => matmulInt8(q, tensor([1, 1]), packed, three)],
    ['too few channel scales', 'DT_SHAPE_MISMATCH', () => matmulInt8(q, one, packed, tensor([1, 1]))],
    [
      'channel scales of f64',
      'DT_DTYPE_MISMATCH',
      () => matmulInt8(q, one, packed, tensor(1, { dtype: 'f64' })),
    ],
    ['a bias of another length', 'DT_SHAPE_MISMATCH', () => matmulInt8(q, one, packed, three, one)],
    [
      'a bias of f64',
      'DT_DTYPE_MISMATCH',
      () => matmulInt8(q, one, packed, three, tensor(new Float64Array(3))),
    ],
    [
      'a zero point of the other dtype',
      'DT_DTYPE_MISMATCH',
      () => matmulInteger(q, packed, { zeroPoint: u8 }),
    ],
    [
      'a weight zero point of the other dtype',
      'DT_DTYPE_MISMATCH',
      () => matmulInteger(q, packed, { weightZeroPoint: u8 }),
    ],
    [
      'too many zero points',
      'DT_SHAPE_MISMATCH',
      () => matmulInteger(q, packed, { zeroPoint: tensor([1, 2], { dtype: 'i8' }) }),
    ],
    ['bytes for linearInt8', 'DT_DTYPE_MISMATCH', () => linearInt8(q, packed, three)],
    ['a scalar for linearInt8', 'DT_SHAPE_MISMATCH', () => linearInt8(tensor(1), packed, three)],
    [
      'an output zero point of f32',
      'DT_DTYPE_MISMATCH',
      () => qlinearMatmul(q, one, packed, three, one, one),
    ],
    [
      'an output scale for each channel',
      'DT_SHAPE_MISMATCH',
      () => qlinearMatmul(q, one, packed, three, three, u8),
    ],
    [
      'an activation that there is not',
      'DT_INVALID_ARGUMENT',
      () => qlinearMatmul(q, one, packed, three, one, u8, { activation: 'tanh' as never }),
    ],
  ])('%s', (_, code, attempt) => {
    expect(refusalOf(attempt).code).toBe(code);
  });
});
