import { AdamW, SGD, tensor } from 'drivetrain';
import { expect, test } from 'vitest';
import { bitsOf } from '../ops/support.js';

const one = () => new Float32Array(1);

test('a group reads back what was given: by itself, for all, by default', () => {
  const adam = new AdamW(
    [
      { params: [one()], lr: 0.5, maximize: true },
      { params: [one()], betas: [0.5, 0.25] },
    ],
    {
      lr: 0.1,
      weightDecay: 0,
    },
  );
  expect(adam.paramGroups.map(({ params: _, names: __, ...options }) => options)).toEqual([
    { lr: 0.5, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, amsgrad: false, maximize: true },
    { lr: 0.1, betas: [0.5, 0.25], eps: 1e-8, weightDecay: 0, amsgrad: false, maximize: false },
  ]);
  const sgd = new SGD([one()], { lr: 1, momentum: 0.9, nesterov: true });
  const { params, names, ...options } = sgd.paramGroups[0]!;
  expect(options).toEqual({
    lr: 1,
    momentum: 0.9,
    dampening: 0,
    weightDecay: 0,
    nesterov: true,
    maximize: false,
  });
  expect(params.map(({ shape }) => shape)).toEqual([[1]]);
  expect(names).toEqual(['0']);
});

test('betas come as an array of their own, that changes nothing', () => {
  const given: [number, number] = [0.5, 0.25];
  const group = new AdamW([one()], { betas: given }).paramGroups[0]!;
  given[0] = 0;
  (group.betas as [number, number])[0] = 0;
  expect(group.betas).toEqual([0.5, 0.25]);
  expect(group.betas).not.toBe(group.betas);
});

test('what is assigned to a group counts from the next step on', () => {
  const options = { lr: 0.25, betas: [0.5, 0.75], eps: 1e-3, weightDecay: 0.5, maximize: true } as const;
  const [changed, made] = [tensor([1, 2, 3]), tensor([1, 2, 3])];
  const optimizer = new AdamW([changed]);
  Object.assign(optimizer.paramGroups[0]!, options);
  optimizer.step([tensor([1, -2, 3])]);
  new AdamW([made], options).step([tensor([1, -2, 3])]);
  expect(bitsOf(changed.toArray())).toBe(bitsOf(made.toArray()));
});
