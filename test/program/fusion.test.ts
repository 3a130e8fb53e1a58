import {
  add,
  assign,
  broadcastTo,
  compile,
  crossEntropy,
  div,
  Generator,
  gelu,
  grad,
  linear,
  matmul,
  mul,
  QuantizedLinear,
  randn,
  relu,
  reshape,
  slice,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  transpose,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bothWays1, contentOf, expectSameBits, expectWithin, numbersOf, UNIT } from '../ops/support.js';
import { bits } from './support.js';

const generator = new Generator(5);
const random = (...shape: number[]) => randn(shape, { generator });

/** How many instructions a function takes, after it was checked to give what it gives eagerly, to the bit. */
async function instructionsOf(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Promise<number> {
  await bothWays1(fn, inputs);
  return compile((...symbols: Tensor[]) => fn(...symbols)).program(...inputs).instructions;
}

const [x, w, bias, residual] = [random(7, 16), random(33, 16), random(33), random(7, 33)];
const [q, k, mask] = [random(2, 3, 5, 8), random(2, 3, 5, 8), random(5, 5)];

describe('is one instruction with the product, and the same bits:', () => {
  test.each<[string, (...t: Tensor[]) => Tensor, Tensor[]]>([
    ['relu', (a, b, c) => relu(linear(a!, b!, c)), [x, w, bias]],
    ['gelu', (a, b, c) => gelu(linear(a!, b!, c)), [x, w, bias]],
    ['relu through another shape', (a, b) => relu(reshape(linear(a!, b!), [33, 7])), [x, w]],
    ['a bias added later', (a, b, c) => add(matmul(a!, transpose(b!)), c!), [x, w, bias]],
    ['a bias added from the left', (a, b, c) => add(c!, matmul(a!, transpose(b!))), [x, w, bias]],
    ['a residual', (a, b, c, d) => add(linear(a!, b!, c), d!), [x, w, bias, residual]],
    ['a residual from the left', (a, b, c, d) => add(d!, linear(a!, b!, c)), [x, w, bias, residual]],
    [
      'a residual after an activation',
      (a, b, c, d) => add(gelu(linear(a!, b!, c)), d!),
      [x, w, bias, residual],
    ],
    ['a row after an activation', (a, b, c) => add(relu(linear(a!, b!)), c!), [x, w, bias]],
    ['a second bias', (a, b, c) => add(linear(a!, b!, c), c!), [x, w, bias]],
    ['a column', (a, b, c) => add(linear(a!, b!), broadcastTo(reshape(c!, [33]), [7, 33])), [x, w, bias]],
    ['a scale', (a, b) => mul(linear(a!, b!), 0.3), [x, w]],
    ['an alpha', (a, b) => matmul(a!, transpose(b!), { alpha: 0.3 }), [x, w]],
    [
      'an alpha and a residual',
      (a, b, c) => add(matmul(a!, transpose(b!), { alpha: 0.3 }), c!),
      [x, w, residual],
    ],
    ['a scale from the left', (a, b) => mul(0.3, linear(a!, b!)), [x, w]],
    ['a division by a power of two', (a, b) => div(linear(a!, b!), 8), [x, w]],
    [
      'everything',
      (a, b, c, d) => add(d!, gelu(add(mul(matmul(a!, transpose(b!)), 0.3), c!))),
      [x, w, bias, residual],
    ],
    [
      'scale and mask of attention',
      (a, b, c) => add(div(matmul(a!, transpose(b!)), Math.sqrt(16)), c!),
      [q, k, mask],
    ],
    ['a residual that is one of the operands', (a) => add(matmul(a!, a!), a!), [random(9, 9)]],
    [
      'what is so small that vectors do not fill',
      (a, b) => gelu(mul(matmul(a!, b!), 3)),
      [random(1, 1), random(1, 1)],
    ],
    ['what has no elements', (a, b, c) => relu(linear(a!, b!, c)), [random(0, 16), w, bias]],
    ['what is a sum of nothing', (a, b, c) => gelu(linear(a!, b!, c)), [random(7, 0), random(33, 0), bias]],
  ])('%s', async (_, fn, inputs) => {
    expect(await instructionsOf(fn, ...inputs)).toBe(1);
  });

  test('in f64', async () => {
    const doubles = [x, w, bias, residual].map((t) =>
      tensor(Float64Array.from(numbersOf(contentOf(t))), { shape: t.shape }),
    );
    const fn = (...[a, b, c, d]: Tensor[]) => add(gelu(add(mul(linear(a!, b!), 0.3), c!)), d!);
    expect(await instructionsOf(fn, ...doubles)).toBe(1);
  });

  test('a sum of two products, the second of which takes the first', async () => {
    const fn = (a: Tensor, b: Tensor) => add(matmul(a, b), matmul(b, a));
    expect(await instructionsOf(fn as (...t: Tensor[]) => Tensor, random(6, 6), random(6, 6))).toBe(2);
  });

  test('a residual that is computed after the product', async () => {
    const fn = (...[a, b, d]: Tensor[]) => {
      const product = linear(a!, b!);
      return add(product, tanh(d!));
    };
    expect(await instructionsOf(fn, x, w, residual)).toBe(2);
  });

  test.each([
    ['relu', relu],
    ['gelu', gelu],
  ])('%s after a quantized product', async (_, active) => {
    const small = QuantizedLinear.from(w, bias);
    expect(await instructionsOf((a) => active(small.forward(a!)), x)).toBe(1);
  });
});

describe('stays an instruction of its own, and the same bits:', () => {
  test.each<[string, number, (...t: Tensor[]) => Tensor, Tensor[]]>([
    ['a second activation', 2, (a, b) => relu(gelu(linear(a!, b!))), [x, w]],
    [
      'an activation after a residual',
      2,
      (a, b, _, d) => relu(add(linear(a!, b!), d!)),
      [x, w, bias, residual],
    ],
    ['a second residual', 2, (a, b, c, d) => add(add(linear(a!, b!, c), d!), d!), [x, w, bias, residual]],
    ['a scale after a bias', 3, (a, b, c) => mul(linear(a!, b!, c), 0.3), [x, w, bias]],
    ['a second scale', 3, (a, b) => mul(mul(linear(a!, b!), 0.3), 0.3), [x, w]],
    ['a scale that is not constant', 2, (a, b, c) => mul(linear(a!, b!), slice(c!, 0, 0, 1)), [x, w, bias]],
    ['a scale for each column', 2, (a, b, c) => mul(linear(a!, b!), c!), [x, w, bias]],
    ['a division by the product', 3, (a, b) => div(0.3, linear(a!, b!)), [x, w]],
    ['a division whose reciprocal is a denormal', 3, (a, b) => div(linear(a!, b!), 2 ** 127), [x, w]],
    ['a difference', 2, (a, b, c) => sub(linear(a!, b!), c!), [x, w, bias]],
    [
      'a sum with itself',
      2,
      (a, b) => {
        const y = linear(a!, b!);
        return add(y, y);
      },
      [x, w],
    ],
    ['a scalar sum', 2, (a, b, c) => add(linear(a!, b!), slice(c!, 0, 0, 1)), [x, w, bias]],
    [
      'a residual that is transposed',
      2,
      (a, b, _, d) => add(linear(a!, b!), transpose(reshape(d!, [33, 7]))),
      [x, w, bias, residual],
    ],
    ['relu of a part', 2, (a, b) => relu(slice(linear(a!, b!), 0, 1, 3)), [x, w]],
    ['relu of the transpose', 2, (a, b) => relu(transpose(linear(a!, b!))), [x, w]],
    [
      'a sum that repeats the product',
      2,
      (a, b, _, d) => add(linear(slice(a!, 0, 0, 1), b!), d!),
      [x, w, bias, residual],
    ],
  ])('%s', async (_, count, fn, inputs) => {
    expect(await instructionsOf(fn, ...inputs)).toBe(count);
  });

  test('what is done to a product that is a result too', async () => {
    const f = compile((a: Tensor, b: Tensor) => {
      const product = matmul(a, b);
      return [relu(product), product] as const;
    });
    const inputs = [random(4, 3), random(3, 6)] as const;
    const [active, product] = await f(...inputs);
    expect(f.program(...inputs).instructions).toBe(2);
    expect(bits(product)).toBe(bits(matmul(...inputs)));
    expect(bits(active)).toBe(bits(relu(product)));
  });
});

test('relu of a part of a product leaves the memory beside its result alone', async () => {
  const [a, b] = [random(64, 3), random(3, 64)];
  const f = compile((s: Tensor, t: Tensor) => relu(slice(matmul(s, t), 0, 1, 2)));
  const result = await f(a, b);
  expect(result.shape).toEqual([1, 64]);
  expect(bits(result)).toBe(bits(relu(slice(matmul(a, b), 0, 1, 2))));
});

test('what is written between a product and what follows it is not what the product reads', async () => {
  for (const written of ['before', 'after'] as const) {
    const weight = random(16, 33);
    const before = contentOf(weight);
    const f = compile((a: Tensor) => {
      if (written === 'before') assign(weight, mul(weight, 2));
      const product = matmul(a, weight);
      if (written === 'after') assign(weight, mul(weight, 2));
      return gelu(product);
    });
    const y = await f(x);
    const old = tensor(before.data, { shape: [16, 33] });
    const read = written === 'before' ? mul(old, 2) : old;
    expect(bits(y)).toBe(bits(gelu(matmul(x, read))));
    expect(bits(weight)).toBe(bits(mul(old, 2)));
  }
});

test('a product that moved down to its residual is not moved on past a write', async () => {
  const weight = random(16, 33);
  const old = tensor(weight.toArray(), { shape: weight.shape });
  const f = compile((a: Tensor, d: Tensor) => {
    const biased = add(matmul(a, weight), slice(d, 0, 0, 1));
    assign(weight, zeros(weight.shape));
    return add(biased, d);
  });
  expect(bits(await f(x, residual))).toBe(bits(add(add(matmul(x, old), slice(residual, 0, 0, 1)), residual)));
});

test('sums beyond one block of the depth, and divisions, are scaled within their roundings', async () => {
  const [rows, depth, columns] = [9, 1000, 40];
  const [a, b] = [random(rows, depth), random(depth, columns)];
  for (const [scaled, factor] of [
    [(y: Tensor) => mul(y, 0.3), Math.fround(0.3)],
    [(y: Tensor) => div(y, 3), 1 / 3],
  ] as const) {
    const f = compile((s: Tensor, t: Tensor) => scaled(matmul(s, t)));
    expect(f.program(a, b).instructions).toBe(1);
    const [s, t] = [numbersOf(contentOf(a)), numbersOf(contentOf(b))];
    const want: number[] = [];
    const magnitudes: number[] = [];
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let [value, magnitude] = [0, 0];
        for (let p = 0; p < depth; p++) {
          const term = factor * s[i * depth + p]! * t[p * columns + j]!;
          value += term;
          magnitude += Math.abs(term);
        }
        want.push(value);
        magnitudes.push(magnitude);
      }
    }
    // The rounding of each term and sum, of the factor, and of its product.
    expectWithin(contentOf(await f(a, b)), want, (i) => (depth + 4) * UNIT.f32 * magnitudes[i]!);
  }
});

describe('in a training step', () => {
  const labels = tensor([0, 3, 5, 1, 2, 32, 7], { dtype: 'i32' });
  const second = random(33, 33);

  test.each([
    ['relu is fused, since its gradient reads its result', relu, 1],
    ['gelu is not, since its gradient reads the product', gelu, 2],
  ] as const)('%s', async (_, active, forward) => {
    const inputs = [x, w, bias] as const;
    const rows = (a: Tensor, weight: Tensor, c: Tensor) => active(linear(a, weight, c));
    const loss = (...given: readonly [Tensor, Tensor, Tensor]) =>
      crossEntropy(add(linear(rows(...given), second), tanh(residual)), labels);
    const { value, grads } = valueAndGrad(loss)(...inputs);
    const step = compile((...symbols: readonly [Tensor, Tensor, Tensor]) => {
      const y = loss(...symbols);
      return [y, ...grad(y, symbols)];
    });
    const outputs = await step(...inputs);
    [value, ...grads].forEach((want, i) => {
      expectSameBits(contentOf(outputs[i]!), contentOf(want), `output ${i}`);
    });
    // The gradient of the sum: ones, made and repeated, through the activation, times the transposed input.
    const backward = 4;
    const layer = compile((...symbols: readonly [Tensor, Tensor, Tensor]) => {
      const y = rows(...symbols);
      return [y, ...grad(sum(y), [symbols[1]])];
    });
    expect(layer.program(...inputs).instructions).toBe(forward + backward);
  });
});
