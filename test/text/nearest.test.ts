import { expect, test } from 'vitest';
import { nearest } from '../../dist/text/index.js';

test('a slip of a letter or two finds the name that was meant', () => {
  const names = ['weightDecay', 'lr', 'betas', 'eps', 'amsgrad'];
  expect(nearest('weigthDecay', names)).toBe('weightDecay');
  expect(nearest('weight_decay', names)).toBe('weightDecay');
  expect(nearest('beta', names)).toBe('betas');
  expect(nearest('Lr', names)).toBe('lr');
});

test('what is like none of them finds none', () => {
  expect(nearest('momentum', ['lr', 'betas', 'eps'])).toBeUndefined();
  expect(nearest('x', ['lr', 'eps'])).toBeUndefined();
  expect(nearest('', [])).toBeUndefined();
});
