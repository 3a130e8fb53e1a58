import { AdamW, add, clone, compile, exp, Linear, ones, sum } from 'drivetrain';
import { expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';

/** What types forbid and JavaScript does not. */
const writable = (list: readonly number[]) => list as number[];

test.each<[string, () => unknown]>([
  [
    'an operand',
    () => {
      const a = ones([2]);
      writable(a.shape)[0] = 1e7;
      return add(a, a);
    },
  ],
  [
    'a copy',
    () => {
      const a = ones([2]);
      writable(a.shape)[0] = 1e7;
      return clone(a);
    },
  ],
  [
    'strides',
    () => {
      const a = ones([2, 2]);
      writable(a.strides)[0] = 1e8;
      return sum(a);
    },
  ],
  [
    'a dimension taken away',
    () => {
      const a = ones([3, 4]);
      writable(a.shape).shift();
      return sum(a);
    },
  ],
  [
    'a parameter',
    () => {
      const a = ones([2]);
      const optimizer = new AdamW([a]);
      writable(a.shape)[0] = 1e7;
      return optimizer.step([ones([1e7])]);
    },
  ],
  [
    'a weight',
    () => {
      const model = new Linear(2, 2);
      writable(model.parameters()[0]!.shape)[1] = 1e6;
      return model.forward(ones([1, 1e6]));
    },
  ],
  [
    'a tensor that is being recorded',
    () =>
      compile((x) => {
        const y = exp(x);
        writable(y.shape)[0] = 1e8;
        return sum(exp(y));
      }).runSync(ones([2])),
  ],
  [
    'an input',
    () => {
      const a = ones([2]);
      writable(a.shape)[0] = 1e7;
      return compile((x) => sum(exp(x))).runSync(a);
    },
  ],
])('%s whose shape was written to is refused, and read nowhere', (_, run) => {
  const refusal = refusalOf(run);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain('were written to');
});

test('what else a tensor is made of cannot be written', () => {
  const a = ones([2]) as unknown as Record<string, unknown>;
  for (const [key, value] of [
    ['offset', 1e8],
    ['dtype', 'f64'],
    ['shape', [1e8]],
    ['storage', {}],
  ] as const) {
    expect(() => {
      a[key] = value;
    }).toThrow(TypeError);
  }
});
