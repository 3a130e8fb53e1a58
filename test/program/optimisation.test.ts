import { compile, mul, ones, sum, type Tensor, tanh } from 'drivetrain';
import { expect, test } from 'vitest';

test('steps on which nothing depends are not executed', () => {
  const f = compile((x: Tensor) => {
    tanh(mul(x, 3));
    sum(x);
    return mul(x, x);
  });
  expect(f.program(ones([4])).instructions).toBe(1);
});
