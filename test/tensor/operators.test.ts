import { compile, mean, mul, ones, tensor } from 'drivetrain';
import { expect, test } from 'vitest';
import { rejectionOf } from '../io/support.js';

test('an operator of JavaScript on a tensor is refused, with what there is instead', () => {
  const [a, b] = [tensor([1, 2]), tensor(3)] as unknown as [number, number];
  for (const operate of [
    () => a + b,
    () => a * 2,
    () => b < 4,
    () => -b,
    () => Math.max(a, 1),
    () => ['loss', b].reduce((x, y) => (x as string) + y),
  ])
    expect(operate).toThrow(/^Expected numbers or text for an operator .* add, mul, less .* item\(\)\.$/);
});

test('a tensor in a text is what console.log shows', () => {
  expect(`${tensor([1, 2.5])}`).toBe('Tensor f32 [2] [ 1, 2.5 ]');
  expect(String(tensor(3))).toBe('Tensor f32 [] 3');
});

test('comparing with null and with itself is no operation on numbers', () => {
  const x = tensor([1]);
  const y: unknown = x;
  expect([y == null, y === x, !x]).toEqual([false, true, false]);
});

test('a decision by a value that is not known yet is refused as reading it is', async () => {
  const step = compile((x) => ((mean(x) as unknown as number) > 0 ? x : mul(x, -1)));
  expect((await rejectionOf(step(ones([3])))).code).toBe('DT_SYMBOLIC_VALUE');
});
