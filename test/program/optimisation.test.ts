import { compile, matmul, mul, ones, relu, reshape, slice, sum, type Tensor, tanh, tensor } from 'drivetrain';
import { expect, test } from 'vitest';
import { bits } from './support.js';

const random = (rows: number, columns: number, at = 0) =>
  tensor(
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 1.7 + at)),
    {
      shape: [rows, columns],
    },
  );

test('steps on which nothing depends are not executed', () => {
  const f = compile((x: Tensor) => {
    tanh(mul(x, 3));
    sum(x);
    return mul(x, x);
  });
  expect(f.program(ones([4])).instructions).toBe(1);
});

for (const [rows, inner, columns] of [
  [1, 3, 5],
  [7, 16, 33],
  [64, 48, 40],
] as const) {
  test(`relu fused into a product of ${rows}×${inner}×${columns} gives the same bits`, async () => {
    const [a, b] = [random(rows, inner), random(inner, columns, 2)];
    const f = compile((x: Tensor, y: Tensor) => relu(matmul(x, y)));
    expect(f.program(a, b).instructions).toBe(1);
    expect(bits(await f(a, b))).toBe(bits(relu(matmul(a, b))));
  });
}

test('relu through another shape of the product is fused too', async () => {
  const [a, b] = [random(4, 3), random(3, 6, 2)];
  const f = compile((x: Tensor, y: Tensor) => relu(reshape(matmul(x, y), [24])));
  const result = await f(a, b);
  expect(result.shape).toEqual([24]);
  expect(bits(result)).toBe(bits(relu(matmul(a, b))));
});

test('a product that is read elsewhere as well keeps its own value', async () => {
  const [a, b] = [random(4, 3), random(3, 6, 2)];
  const f = compile((x: Tensor, y: Tensor) => {
    const product = matmul(x, y);
    return [relu(product), product] as const;
  });
  const [active, product] = await f(a, b);
  expect(bits(product)).toBe(bits(matmul(a, b)));
  expect(bits(active)).toBe(bits(relu(product)));
});

test('relu of a part of a product leaves the memory beside its result alone', async () => {
  const [a, b] = [random(64, 3), random(3, 64, 2)];
  const f = compile((x: Tensor, y: Tensor) => relu(slice(matmul(x, y), 0, 1, 2)));
  const result = await f(a, b);
  expect(result.shape).toEqual([1, 64]);
  expect(bits(result)).toBe(bits(relu(slice(matmul(a, b), 0, 1, 2))));
});
