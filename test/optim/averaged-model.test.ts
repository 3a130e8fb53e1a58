import { AveragedModel, compile, full, Linear, Module, SGD, seed, type Tensor, tensor } from 'drivetrain';
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

test('inside of a compiled step it takes the parameters as the step leaves them, with the bits of eager updates', async () => {
  for (const options of [{}, { decay: 0.9 }]) {
    const make = () => {
      seed(3);
      const model = new Linear(3, 2);
      return {
        model,
        optimizer: new SGD(model.parameters(), { lr: 0.1 }),
        average: new AveragedModel(model, options),
      };
    };
    const [eager, recorded] = [make(), make()];
    const step = compile((...g: Tensor[]) => {
      recorded.optimizer.step(g);
      recorded.average.update();
    });
    for (let k = 0; k < 4; k++) {
      const g = [full([2, 3], k + 1), full([2], -k)];
      eager.optimizer.step(g);
      eager.average.update();
      await step(...g);
    }
    const bits = ({ average }: typeof eager) =>
      Object.values(average.stateDict()).map((t) => [...t.toArray()]);
    expect(bits(recorded)).toEqual(bits(eager));
    expect(recorded.average.updates).toBe(4);
  }
});

test('refuses misspelt options, and a model whose parameter would have the name of its count', () => {
  class Odd extends Module {
    updates = full([1], 0);
    forward(x: Tensor): Tensor {
      return x;
    }
  }
  expect(refusalOf(() => new AveragedModel(new Linear(1, 1), { decya: 0.9 } as never)).message).toContain(
    'decya',
  );
  expect(refusalOf(() => new AveragedModel(new Odd())).message).toContain('updates');
});
