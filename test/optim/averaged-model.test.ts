import { AveragedModel, Linear, type Tensor, tensor } from 'drivetrain';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { refusalOf } from '../ops/support.js';

const numbers = (t: Tensor) => [...(t.toArray() as Float32Array)];
const weightOf = (model: Linear) => model.namedParameters().get('weight')!;

/** A layer of two weights, set to each of `values` in turn, with an update of the average after each. */
function averaged(
  values: readonly (readonly number[])[],
  decay?: number,
): { model: Linear; average: AveragedModel } {
  const model = new Linear(2, 1);
  const average = new AveragedModel(model, decay === undefined ? {} : { decay });
  for (const value of values) {
    (weightOf(model).borrow() as Float32Array).set(value);
    average.update();
  }
  return { model, average };
}

const value = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 2, maxLength: 2 });
const history = fc.array(value, { minLength: 1, maxLength: 20 });

test('is the mean of all updates, or an exponential one', () => {
  fc.assert(
    fc.property(
      history,
      fc.option(fc.double({ min: 0, max: 0.99, noNaN: true }), { nil: undefined }),
      (values, decay) => {
        const { average } = averaged(values, decay);
        const expected = [...values[0]!];
        values.forEach((one, n) => {
          if (n === 0) return;
          const weight = decay === undefined ? 1 / (n + 1) : 1 - decay;
          one.forEach((x, i) => {
            expected[i]! += weight * (x - expected[i]!);
          });
        });
        expect(average.updates).toBe(values.length);
        // Three roundings of values up to 8 at each update.
        numbers(average.stateDict().weight!).forEach((x, i) => {
          expect(Math.abs(x - expected[i]!)).toBeLessThanOrEqual(values.length * 3 * 8 * 2 ** -24);
        });
      },
    ),
    { numRuns: 50 },
  );
});

test('stands in for the parameters while it is used, also when the use fails', async () => {
  const { model, average } = averaged([
    [1, 2],
    [3, 6],
  ]);
  const seen = await average.use((used) => {
    expect(used).toBe(model);
    return numbers(weightOf(model));
  });
  expect(seen).toEqual([2, 4]);
  expect(numbers(weightOf(model))).toEqual([3, 6]);
  await expect(
    average.use(() => {
      throw new Error('no data');
    }),
  ).rejects.toThrow('no data');
  expect(numbers(weightOf(model))).toEqual([3, 6]);
});

test('goes on from its state', () => {
  const values = [
    [1, 2],
    [3, 1],
    [-2, 5],
  ];
  const { average: whole } = averaged(values);
  const { average: first } = averaged(values.slice(0, 2));
  const { model, average: second } = averaged([]);
  second.loadStateDict(first.stateDict());
  (weightOf(model).borrow() as Float32Array).set(values[2]!);
  second.update();
  expect(numbers(second.stateDict().weight!)).toEqual(numbers(whole.stateDict().weight!));
  expect(second.updates).toBe(3);
  const refusal = refusalOf(() => second.loadStateDict({ weight: tensor([[1, 2]]) }));
  expect(refusal.message).toContain('updates');
});

test.each([-0.1, 1, NaN, '0.9' as unknown as number])('a decay of %o is refused', (decay) => {
  expect(refusalOf(() => new AveragedModel(new Linear(1, 1), { decay })).code).toBe('DT_INVALID_ARGUMENT');
});
