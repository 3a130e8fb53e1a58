import {
  bceWithLogits,
  compile,
  cosineEmbeddingLoss,
  cosineSimilarity,
  crossEntropy,
  grad,
  huberLoss,
  klDiv,
  l1Loss,
  mseLoss,
  mul,
  ones,
  smoothL1Loss,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { contentOf, expectSameBits, FLOATS, golden, numbersOf, refusalOf } from '../ops/support.js';
import { unpack } from './support.js';
import { expectLike, type TorchCase } from './torch-support.js';

type Loss = (a: Tensor, b: Tensor, ...more: unknown[]) => Tensor;
const functions = {
  crossEntropy,
  mseLoss,
  l1Loss,
  huberLoss,
  smoothL1Loss,
  bceWithLogits,
  klDiv,
  cosineSimilarity,
  cosineEmbeddingLoss,
} as unknown as Record<string, Loss>;

const cases = golden<Record<string, TorchCase & { options: object }>>('nn/losses.json');

describe.each(Object.entries(cases))('%s', (name, one) => {
  test.each(FLOATS)('has PyTorch’s value and gradients in %s, eagerly and recorded', (dtype) => {
    const loss = functions[name.split(' ')[0]!]!;
    const integer = (i: number) => name.startsWith('crossEntropy') && i === 1;
    const inputs = one.inputs.map((input, i) =>
      integer(i) ? tensor([...input.data], { shape: input.shape, dtype: 'i64' }) : unpack(input, dtype),
    );
    const run = (...given: Tensor[]) => loss(...([...given, one.options] as unknown as [Tensor, Tensor]));
    const wanted = inputs.map((_, i) => i).filter((i) => one.inputGradients[i] !== null);
    const weights = unpack(one.weights, dtype);
    const value = run(...inputs);
    const { grads } = valueAndGrad(
      () => sum(mul(run(...inputs), weights)),
      wanted.map((i) => inputs[i]!),
    )();
    const recorded = compile((...given: Tensor[]) => {
      const made = run(...given);
      return [
        made,
        ...grad(
          sum(mul(made, weights)),
          wanted.map((i) => given[i]!),
        ),
      ];
    }).runSync(...inputs);
    expectLike(value, one.output, dtype, 'value');
    grads.forEach((gradient, i) => {
      expectLike(gradient, one.inputGradients[wanted[i]!]!, dtype, `gradient ${wanted[i]}`);
    });
    [value, ...grads].forEach((eager, i) => {
      expectSameBits(contentOf(recorded[i]!), contentOf(eager));
    });
  });
});

test('every loss has a golden', () => {
  expect(new Set(Object.keys(cases).map((name) => name.split(' ')[0]))).toEqual(
    new Set(Object.keys(functions)),
  );
});

describe('crossEntropy', () => {
  const logits = tensor([
    [1, 2],
    [3, 4],
  ]);

  test('of rows that are all ignored is NaN, their sum 0, and their gradient 0 in the sum', () => {
    const labels = tensor([-100, -100], { dtype: 'i64' });
    expect(crossEntropy(logits, labels, { ignoreIndex: -100 }).item()).toBeNaN();
    const { value, grads } = valueAndGrad((x: Tensor) =>
      crossEntropy(x, labels, { ignoreIndex: -100, reduction: 'sum' }),
    )(logits);
    expect(value.item()).toBe(0);
    expect(numbersOf(contentOf(grads[0]!))).toEqual([0, 0, 0, 0]);
  });

  test('ignores nothing unless told to', () => {
    const refusal = refusalOf(() => crossEntropy(logits, tensor([-100, 0], { dtype: 'i32' })));
    expect(refusal.code).toBe('DT_INDEX_OUT_OF_RANGE');
    expect(refusal.message).toContain('-100 at [0]');
    expect(refusal.message).toContain('the option ignoreIndex');
  });
});

describe('where a logit is huge', () => {
  test('bceWithLogits stays finite, and its gradient is that of the sigmoid', () => {
    const x = tensor([-1e4, -100, 0, 100, 1e4]);
    const t = tensor([0, 0, 0.5, 1, 0]);
    const { value, grads } = valueAndGrad((a: Tensor) => bceWithLogits(a, t, { reduction: 'sum' }), [x])(x);
    // log 2 at 0, and 10⁴ where the largest logit is wrong.
    expect(Math.abs(value.item() - (1e4 + Math.LN2))).toBeLessThan(1e4 * 2 ** -23);
    const got = numbersOf(contentOf(grads[0]!));
    [0, 0, 0, 0, 1].forEach((want, i) => {
      expect(Math.abs(got[i]! - want)).toBeLessThan(2 ** -60);
    });
  });
});

test('cosineSimilarity of a vector of zeros is 0, with finite gradients', () => {
  const [a, b] = [zeros([1, 3]), ones([1, 3])];
  const { value, grads } = valueAndGrad((x: Tensor, y: Tensor) => sum(cosineSimilarity(x, y)))(a, b);
  expect(value.item()).toBe(0);
  for (const gradient of grads) expect(numbersOf(contentOf(gradient)).every(Number.isFinite)).toBe(true);
});

describe('losses refuse', () => {
  const [x, y] = [zeros([2, 3]), zeros([3, 2])];
  const labels = zeros([2], { dtype: 'i32' });

  test.each(Object.keys(functions).filter((name) => name !== 'crossEntropy'))(
    '%s: shapes that differ',
    (name) => {
      const refusal = refusalOf(() => functions[name]!(x, y, ...(name.startsWith('cosineE') ? [x] : [])));
      expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
      expect(refusal.message).toContain('[2, 3]');
      expect(refusal.message).toContain('[3, 2]');
    },
  );

  test.each<[string, () => unknown, string]>([
    ['a misspelt option', () => crossEntropy(x, labels, { labelSmooth: 0.1 } as never), 'labelSmooth'],
    ['a misspelt option', () => mseLoss(x, x, { reduce: 'sum' } as never), 'reduce'],
    ['another loss’s option', () => l1Loss(x, x, { delta: 2 } as never), 'delta'],
    ['an unknown reduction', () => bceWithLogits(x, x, { reduction: 'average' } as never), 'average'],
    ['an unknown reduction', () => crossEntropy(x, labels, { reduction: 'avg' } as never), 'avg'],
    ['an unknown reduction', () => klDiv(x, x, { reduction: 'batchmean' } as never), 'batchmean'],
    ['a smoothing above 1', () => crossEntropy(x, labels, { labelSmoothing: 1.5 }), '1.5'],
    ['an ignored index of ½', () => crossEntropy(x, labels, { ignoreIndex: 0.5 }), '0.5'],
    ['a delta of 0', () => huberLoss(x, x, { delta: 0 }), '0'],
    ['a beta of NaN', () => smoothL1Loss(x, x, { beta: NaN }), 'NaN'],
    ['a margin of 2', () => cosineEmbeddingLoss(x, x, zeros([2]), { margin: 2 }), '2'],
  ])('%s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });

  test('a target that is not one for each row', () => {
    expect(refusalOf(() => cosineEmbeddingLoss(x, x, zeros([3]))).code).toBe('DT_SHAPE_MISMATCH');
  });
});
