import { embedding, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  awkwardNumbers,
  bitsOf,
  bothWays1,
  floats,
  laidOut,
  layouts,
  randomSource,
  refusalOf,
  seeds,
  sizeOf,
} from './support.js';

const indexShapes = fc.array(fc.constantFrom(0, 1, 2, 5, 17), { maxLength: 3 });

test('gives the rows that the indices name, bit for bit, on any layout, both ways', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom(0, 1, 3, 16, 33),
      indexShapes,
      floats,
      fc.constantFrom('i32' as const, 'i64' as const),
      layouts,
      seeds,
      async (rows, width, shape, dtype, indexType, layout, seed) => {
        const table = awkwardNumbers(rows * width, seed, dtype);
        const next = randomSource(seed);
        const indices = Array.from({ length: sizeOf(shape) }, () => Math.floor(next() * rows));
        const kept = indexType === 'i64' ? indices.map(BigInt) : indices;
        const inputs = [
          laidOut(table, [rows, width], dtype, layout),
          laidOut(kept as number[], shape, indexType, layout),
        ];
        const y = await bothWays1(embedding as (...inputs: Tensor[]) => Tensor, inputs);
        expect(y).toMatchObject({ dtype, shape: [...shape, width] });
        const want = y.data.slice() as Float64Array;
        indices.forEach((row, i) => {
          for (let j = 0; j < width; j++) want[i * width + j] = table[row * width + j]!;
        });
        expect(bitsOf(y.data)).toBe(bitsOf(want));
        for (const input of inputs) input.dispose();
      },
    ),
    { numRuns: 60 },
  );
});

test('what does not fit is refused', () => {
  const indices = tensor([0], { dtype: 'i32' });
  expect(refusalOf(() => embedding(tensor([1, 2]), indices)).code).toBe('DT_SHAPE_MISMATCH');
  expect(refusalOf(() => embedding(tensor([[1]]), tensor([0]))).code).toBe('DT_DTYPE_MISMATCH');
  expect(refusalOf(() => embedding(tensor([[1]], { dtype: 'i32' }), indices)).code).toBe('DT_DTYPE_MISMATCH');
});
