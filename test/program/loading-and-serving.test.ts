import {
  AdamW,
  compile,
  crossEntropy,
  grad,
  Linear,
  type Module,
  quantize,
  ReLU,
  randn,
  Sequential,
  type Tensor,
  tensor,
  wrap,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { randomNumbers, refusalOf, rejectionOf } from '../ops/support.js';
import { askedUntil, big, bits, slowly, turn } from './support.js';

const [FEATURES, HIDDEN, CLASSES, LOADS] = [64, 256, 10, 40];

/** From −4 to 4: sums of their products are exact in any order, whether weights are packed or not. */
const wholeNumbers = (count: number, seed: number) =>
  Float32Array.from(randomNumbers(count, seed), (value) => Math.round(2 * value));

const request = tensor(wholeNumbers(3 * FEATURES, 7), { shape: [3, FEATURES] });

function network(seed: number): Sequential {
  const model = new Sequential(new Linear(FEATURES, HIDDEN), new ReLU(), new Linear(HIDDEN, CLASSES));
  model.parameters().forEach((parameter, i) => {
    (parameter.borrow() as Float32Array).set(wholeNumbers(parameter.size, 10 * seed + i));
  });
  return model;
}

const stateBits = (model: Module) =>
  Object.entries(model.stateDict()).map(([name, one]) => `${name} ${bits(one)}`);

/** Loads `models` one after the other by `load` while clients ask without a pause; what they saw, by the number of the model. */
async function underLoad(
  served: Module,
  models: readonly Module[],
  load: (state: Record<string, Tensor>) => Promise<void>,
): Promise<Set<number>> {
  const serve = compile((x: Tensor) => served.forward(x));
  const answers = [bits(await serve(request))];
  for (const model of models) answers.push(bits(await compile((x: Tensor) => model.forward(x))(request)));
  expect(new Set(answers).size).toBe(models.length + 1);
  let loading = true;
  const seen = askedUntil(
    () => !loading,
    () => serve(request),
    answers,
  );
  try {
    for (const model of models) {
      await load(model.stateDict());
      for (let i = 0; i < 3; i++) await turn();
    }
  } finally {
    loading = false;
  }
  await seen;
  expect(bits(await serve(request))).toBe(answers.at(-1));
  expect(stateBits(served)).toEqual(stateBits(models.at(-1)!));
  return seen;
}

describe('a model that clients use all the time takes new weights', () => {
  test('as it is: every answer is of one model, and none is older than one before', async () => {
    const models = Array.from({ length: LOADS }, (_, i) => network(100 + i));
    const served = network(1);
    const seen = await underLoad(served, models, (state) => served.loadStateDictAsync(state));
    expect(seen.size).toBeGreaterThan(LOADS / 10);
  });

  test('frozen, which it is again at once', async () => {
    const models = Array.from({ length: LOADS }, (_, i) => network(200 + i).freeze());
    const served = network(1).freeze();
    await underLoad(served, models, async (state) => {
      await served.unfreeze().loadStateDictAsync(state);
      served.freeze();
    });
  });

  test('quantized, its packed weights with them', async () => {
    const models = Array.from({ length: LOADS }, (_, i) => quantize(network(300 + i)));
    const served = quantize(network(1));
    await underLoad(served, models, (state) => served.loadStateDictAsync(state));
  });
});

test('a load takes its turn: runs called before see the old weights, runs called after it the new', async () => {
  const [served, next] = [network(1), network(2)];
  const [old, fresh] = [bits(served.forward(request)), bits(next.forward(request))];
  const slow = big();
  const run = compile((x: Tensor) => [served.forward(x), slowly(slow, 100)]);
  const serve = async () => {
    const [answer, other] = await run(request);
    other!.dispose();
    return bits(answer!);
  };
  const before = [serve(), serve()];
  expect(refusalOf(() => served.loadStateDict(next.stateDict())).code).toBe('DT_TENSOR_BUSY');
  const loaded = served.loadStateDictAsync(next.stateDict());
  const after = [serve(), serve()];
  expect(await Promise.all(before)).toEqual([old, old]);
  expect(await Promise.all(after)).toEqual([fresh, fresh]);
  await loaded;
  slow.dispose();
});

test('a load stands between two training steps', async () => {
  const train = (model: Module) => {
    const optimizer = new AdamW(model.namedParameters(), { lr: 0.01 });
    const labels = tensor(Int32Array.from({ length: 3 }, (_, i) => i));
    return compile((x: Tensor) => {
      const loss = crossEntropy(model.forward(x), labels);
      optimizer.step(grad(loss, model.parameters()));
      return loss;
    });
  };
  const [together, apart, start] = [network(1), network(1), network(2).stateDict()];
  const [step, alone] = [train(together), train(apart)];
  const losses = await Promise.all([
    step(request),
    step(request),
    together.loadStateDictAsync(start),
    step(request),
  ]);
  const want = [await alone(request), await alone(request)];
  apart.loadStateDict(start);
  want.push(await alone(request));
  expect(losses.filter((loss) => loss !== undefined).map(bits)).toEqual(want.map(bits));
  expect(stateBits(together)).toEqual(stateBits(apart));
});

test('what does not fit is refused, and nothing is loaded of it', async () => {
  const [model, other] = [network(1), network(2)];
  const before = stateBits(model);
  const { 'layers.0.weight': weight, ...rest } = other.stateDict();
  for (const [state, code] of [
    [rest, 'DT_INVALID_ARGUMENT'],
    [{ ...rest, 'layers.0.weight': randn([2, 2]) }, 'DT_SHAPE_MISMATCH'],
    [{ ...other.stateDict(), more: weight }, 'DT_INVALID_ARGUMENT'],
    ['model.safetensors', 'DT_INVALID_ARGUMENT'],
  ] as const) {
    expect((await rejectionOf(model.loadStateDictAsync(state as never))).code).toBe(code);
  }
  const gone = network(3).stateDict();
  gone['layers.2.bias']!.dispose();
  expect((await rejectionOf(model.loadStateDictAsync(gone))).code).toBe('DT_DISPOSED');
  model.layers[2]!.freeze();
  expect((await rejectionOf(model.loadStateDictAsync(other.stateDict()))).code).toBe('DT_FROZEN');
  expect(stateBits(model)).toEqual(before);
});

test('a state may lie in arrays of a caller’s, be the model’s own, or be nothing', async () => {
  const [model, other] = [network(1), network(2)];
  const arrays = Object.entries(other.stateDict()).map(([name, one]) => {
    return [name, wrap(one.toArray(), one.shape)] as const;
  });
  await model.loadStateDictAsync(Object.fromEntries(arrays));
  expect(stateBits(model)).toEqual(stateBits(other));
  await model.loadStateDictAsync(model.stateDict());
  expect(stateBits(model)).toEqual(stateBits(other));
  await new ReLU().loadStateDictAsync({});
});
