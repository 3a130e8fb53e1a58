import { add, detach, mul, reshape, sum, type Tensor, tensor, valueAndGrad } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bothWays1, refusalOf } from '../ops/support.js';

const x = tensor([1, -2, 3]);
const gradientOf = (fn: (t: Tensor) => Tensor) =>
  Array.from(valueAndGrad((t: Tensor) => sum(fn(t)))(x).grads[0]!.toArray() as Float32Array);

describe('detach', () => {
  test('is the same elements, without a copy', async () => {
    expect(detach(x).storage).toBe(x.storage);
    expect(Array.from((await bothWays1((t) => add(detach(t!), 1), [x])).data as Float32Array)).toEqual([
      2, -1, 4,
    ]);
  });

  test('stops the gradient', () => {
    expect(gradientOf((t) => mul(t, detach(t)))).toEqual([1, -2, 3]);
    expect(gradientOf((t) => mul(t, t))).toEqual([2, -4, 6]);
    expect(gradientOf((t) => add(detach(mul(t, t)), mul(t, 0)))).toEqual([0, 0, 0]);
    expect(refusalOf(() => gradientOf((t) => detach(mul(t, t)))).code).toBe('DT_NOT_DIFFERENTIABLE');
    expect(gradientOf((t) => mul(t, detach(mul(t, t))))).toEqual([1, 4, 9]);
  });

  test('stops it for views of what it gave', () => {
    expect(gradientOf((t) => mul(t, reshape(reshape(detach(t), [3, 1]), [3])))).toEqual([1, -2, 3]);
  });

  test('refuses what is no tensor', () => {
    expect(refusalOf(() => detach([1] as never)).code).toBe('DT_INVALID_ARGUMENT');
  });
});
