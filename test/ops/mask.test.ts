import { compile, type Tensor, tensor } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { maskInPlace } from '../../dist/ops/index.js';
import { awkwardNumbers, contentOf, expectSameBits, FLOATS, randomSource, refusalOf } from './support.js';

const floats = { f32: Float32Array, f64: Float64Array };

describe.each(FLOATS)('maskInPlace, %s', (dtype) => {
  test.each([0, 1, 17, 40_000])(
    'zeroes what is not kept and leaves the bits of the rest, of %i',
    async (n) => {
      const next = randomSource(n);
      const kept = Uint8Array.from({ length: n }, () => (next() < 0.5 ? 1 : 0));
      const values = floats[dtype].from(awkwardNumbers(n, n, dtype));
      const mask = tensor(kept, { shape: [n], dtype: 'bool' });
      const want = contentOf(tensor(values.map((value, i) => (kept[i] === 1 ? value : 0))));
      const eager = tensor(values);
      maskInPlace(eager, mask);
      expectSameBits(contentOf(eager), want);
      const recorded: Tensor = tensor(values);
      await compile(() => {
        maskInPlace(recorded, mask);
      })();
      expectSameBits(contentOf(recorded), want);
    },
  );
});

test.each<[string, () => void, string]>([
  ['another shape', () => maskInPlace(tensor([1, 2]), tensor([1], { dtype: 'bool' })), 'DT_SHAPE_MISMATCH'],
  ['a mask of floats', () => maskInPlace(tensor([1]), tensor([1])), 'DT_DTYPE_MISMATCH'],
  [
    'integers',
    () => maskInPlace(tensor([1], { dtype: 'i32' }), tensor([1], { dtype: 'bool' })),
    'DT_DTYPE_MISMATCH',
  ],
  ['a frozen tensor', () => maskInPlace(tensor([1]).freeze(), tensor([1], { dtype: 'bool' })), 'DT_FROZEN'],
])('maskInPlace refuses %s', (_, run, code) => {
  expect(refusalOf(run).code).toBe(code);
});
