import { add, compile, defaultPool, Generator, mul, rand, randn, seed, type Tensor } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { philox, uniforms } from './philox.js';
import {
  contentOf,
  expectSameBits,
  expectWithin,
  FLOATS,
  floats,
  numbersOf,
  refusalOf,
  shapes,
  sizeOf,
  UNIT,
  type Value,
} from './support.js';

/** Draws from a fresh generator eagerly, by runSync and by an awaited run: the same numbers and the same state after. */
async function drawn(start: number, draw: (generator: Generator) => readonly Tensor[]): Promise<Value[]> {
  const eager = new Generator(start);
  const want = defaultPool.scope(() => draw(eager).map(contentOf));
  for (const wait of [true, false]) {
    const generator = new Generator(start);
    const compiled = compile(() => draw(generator));
    const outputs = wait ? await compiled() : compiled.runSync();
    outputs.forEach((output, i) => {
      expectSameBits(contentOf(output), want[i]!);
    });
    expect(generator.state.toArray()).toEqual(eager.state.toArray());
    for (const output of outputs) output.dispose();
  }
  return want;
}

test('the reference gives the known answers of the paper’s authors (Random123, kat_vectors)', () => {
  const ones = 0xffffffff;
  expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([
    0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
  ]);
  expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

describe('rand', () => {
  test('is the stream of Philox for every seed, shape and dtype, both ways', async () => {
    const starts = fc.oneof(fc.nat(100), fc.constantFrom(2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER));
    await fc.assert(
      fc.asyncProperty(starts, shapes, floats, async (start, shape, dtype) => {
        const [y] = await drawn(start, (generator) => [rand(shape, { dtype, generator })]);
        expect(y).toMatchObject({ dtype, shape });
        expectWithin(y!, uniforms(start, 0, sizeOf(shape), dtype), 0);
      }),
      { numRuns: 25 },
    );
  });

  test.each(FLOATS)('draws of %s follow one another without overlap or gap', async (dtype) => {
    const perBlock = dtype === 'f32' ? 4 : 2;
    const [first, nothing, second, third] = await drawn(9, (generator) => [
      rand([7], { dtype, generator }),
      rand([0], { dtype, generator }),
      rand([3], { dtype, generator }),
      rand([2], { dtype, generator }),
    ]);
    const blocks = (n: number) => Math.ceil(n / perBlock);
    expectWithin(first!, uniforms(9, 0, 7, dtype), 0);
    expect(nothing!.data).toHaveLength(0);
    expectWithin(second!, uniforms(9, blocks(7), 3, dtype), 0);
    expectWithin(third!, uniforms(9, blocks(7) + blocks(3), 2, dtype), 0);
  });

  test('a program that draws nothing first advances by what it draws, once', async () => {
    await drawn(3, (generator) => [rand([0], { generator }), rand([8], { generator })]);
  });

  test('every run of a program draws anew, from where eager draws left off', async () => {
    const generator = new Generator(5);
    rand([4], { generator });
    const draw = compile(() => rand([6], { generator }));
    const first = contentOf(await draw());
    const second = contentOf(draw.runSync());
    expectWithin(first, uniforms(5, 1, 6, 'f32'), 0);
    expectWithin(second, uniforms(5, 3, 6, 'f32'), 0);
    expectWithin(contentOf(rand([1], { generator })), uniforms(5, 5, 1, 'f32'), 0);
  });

  test('two generators of one program keep to their own streams', async () => {
    const [a, b] = [new Generator(1), new Generator(2)];
    const outputs = await compile(() => [
      rand([5], { generator: a }),
      rand([5], { generator: b }),
      rand([5], { generator: a }),
    ])();
    expectWithin(contentOf(outputs[0]!), uniforms(1, 0, 5, 'f32'), 0);
    expectWithin(contentOf(outputs[1]!), uniforms(2, 0, 5, 'f32'), 0);
    expectWithin(contentOf(outputs[2]!), uniforms(1, 2, 5, 'f32'), 0);
  });

  test('recording alone draws nothing', () => {
    const generator = new Generator(1);
    compile(() => rand([100], { generator })).program();
    expect(generator.state.toArray()).toEqual(BigInt64Array.of(1n, 0n));
  });

  test('a large draw is the same stream, however many threads share it', async () => {
    const n = 50_000;
    const [y] = await drawn(77, (generator) => [rand([n], { generator })]);
    const got = numbersOf(y!);
    for (const at of [0, 16_383, 16_384, 32_768, n - 1]) {
      expect(got[at]).toBe(uniforms(77, Math.floor(at / 4), 4, 'f32')[at % 4]);
    }
  });
});

describe('randn', () => {
  test.each(FLOATS)('is Box and Muller on the pairs of the stream, in %s, both ways', async (dtype) => {
    for (const n of [1, 2, 3, 7, 64, 257, 1000]) {
      const [y] = await drawn(42, (generator) => [randn([n], { dtype, generator })]);
      const u = uniforms(42, 0, n + (n % 2), dtype);
      const radius = (i: number) => Math.sqrt(-2 * Math.log(1 - u[i - (i % 2)]!));
      const want = Array.from({ length: n }, (_, i) => {
        const angle = 2 * Math.PI * u[i - (i % 2) + 1]!;
        return radius(i) * (i % 2 ? Math.sin(angle) : Math.cos(angle));
      });
      // The logarithm and the root are good to 2 u; sine and cosine to 2 u, and in f64 their argument of up to 2π is
      // rounded here and there: 2π u each.
      expectWithin(y!, want, (i) => (dtype === 'f32' ? 6 : 20) * UNIT[dtype] * radius(i));
    }
  });
});

describe('in a large draw', () => {
  const n = 200_000;
  const five = 5 / Math.sqrt(n); // standard errors of a mean, for variance 1

  test.each(FLOATS)('uniforms of %s have the moments of [0, 1) and stay inside it', (dtype) => {
    const values = Array.from(rand([n], { dtype, generator: new Generator(1) }).toArray() as Float64Array);
    const mean = values.reduce((a, b) => a + b, 0) / n;
    const variance = values.reduce((total, x) => total + (x - 0.5) ** 2, 0) / n;
    expect(Math.abs(mean - 0.5)).toBeLessThan(five * Math.sqrt(1 / 12));
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(five * Math.sqrt(1 / 180)); // E(x−½)⁴ − (1/12)² = 1/180
    expect(values.every((x) => x >= 0 && x < 1)).toBe(true);
  });

  test.each(FLOATS)('normals of %s have the first four moments of the distribution', (dtype) => {
    const values = Array.from(randn([n], { dtype, generator: new Generator(2) }).toArray() as Float64Array);
    const moment = (k: number) => values.reduce((total, x) => total + x ** k, 0) / n;
    // The variance of x^k is E x^2k − (E x^k)²: 1, 2, 15, 96.
    expect(Math.abs(moment(1))).toBeLessThan(five);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(five * Math.sqrt(2));
    expect(Math.abs(moment(3))).toBeLessThan(five * Math.sqrt(15));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(five * Math.sqrt(96));
    const pairs = values.filter((_, i) => i % 2 === 0).map((x, i) => x * values[2 * i + 1]!);
    expect(Math.abs(pairs.reduce((a, b) => a + b, 0) / pairs.length)).toBeLessThan(five * Math.SQRT2);
  });
});

test('seed starts the default generator anew', () => {
  seed(123);
  const first = contentOf(rand([5]));
  expectSameBits(first, contentOf(rand([5], { generator: new Generator(123) })));
  const second = contentOf(rand([5]));
  expect(second.data).not.toEqual(first.data);
  seed(123);
  expectSameBits(contentOf(rand([5])), first);
});

test('a scope does not end the default generator that was made in it', () => {
  defaultPool.scope(() => seed(4));
  const y = defaultPool.scope(() => contentOf(mul(add(rand([4]), 0), 1)));
  expectWithin(y, uniforms(4, 0, 4, 'f32'), 0);
});

test.each([-1, 0.5, NaN, 2 ** 53])('%d is refused as a seed', (value) => {
  expect(refusalOf(() => new Generator(value)).code).toBe('DT_INVALID_ARGUMENT');
});
