import * as library from 'drivetrain';
import { compile, device, Linear, Optimizer, ReLU, Sequential, type Tensor, tensor, wrap } from 'drivetrain';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { bitsOf, FLOATS, randomNumbers } from '../ops/support.js';
import { arrayOf, EIGHT_BIT, type FloatArray, FULL, LAYERWISE, NAMES, OPTIMIZERS } from './support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const STEPS = 3;
const numbers = (n: number, seed: number) => arrayOf(randomNumbers(n, seed, 'f32'), 'f32') as Float32Array;

/** Takes some steps on copies of the arrays; their bits, and those of the state by name. */
function walk(
  name: string,
  arrays: Record<string, FloatArray>,
  gradients: (key: string, k: number) => FloatArray,
) {
  const params = new Map(Object.entries(arrays).map(([key, array]) => [key, array.slice()]));
  const optimizer = OPTIMIZERS[name]!(params, FULL[name]);
  for (let k = 0; k < STEPS; k++) optimizer.step([...params.keys()].map((key) => gradients(key, k)));
  const state = Object.entries(optimizer.stateDict()).map(([key, t]) => [key, bitsOf(t.toArray())] as const);
  return {
    params: Object.fromEntries([...params].map(([key, array]) => [key, bitsOf(array)])),
    state: Object.fromEntries(state),
  };
}

describe.each(NAMES)('%s', (name) => {
  test('takes the same steps for an element wherever it stands, and however many threads there are', () => {
    const n = 100_003;
    const cut = [0, 1, 6, 6, 33, 70_000, n];
    const [start, gradient] = [numbers(n, 1), (k: number) => numbers(n, 10 + k)];
    const gradients = Array.from({ length: STEPS }, (_, k) => gradient(k));
    const whole = () => walk(name, { all: start }, (_, k) => gradients[k]!);
    device.setThreads(threads);
    const many = whole();
    device.setThreads(1);
    expect(whole()).toEqual(many);
    device.setThreads(threads);
    if (LAYERWISE.has(name)) return;
    const part = (array: FloatArray, i: number) => array.subarray(cut[i]!, cut[i + 1]);
    const parts = Object.fromEntries(cut.slice(1).map((_, i) => [`${i}`, part(start, i)]));
    const inParts = walk(name, parts, (key, k) => part(gradients[k]!, Number(key)));
    expect(Object.values(inParts.params).join('')).toBe(many.params.all);
    for (const kind of ['m', 'momentum', 'squareAvg', 'sum']) {
      const pieces = Object.keys(parts).map((key) => inParts.state[`${key}.${kind}`]);
      if (many.state[`all.${kind}`] !== undefined) expect(pieces.join('')).toBe(many.state[`all.${kind}`]);
    }
  });

  test('keeps state by name: in another order and grouping it goes on with the same bits', () => {
    const keys = ['weight', 'bias', 'scale', 'empty'];
    const arrays = Object.fromEntries(
      keys.map((key, i) => [key, numbers(key === 'empty' ? 0 : 5 + 20 * i, i)]),
    );
    const gradient = (key: string, k: number) =>
      numbers(arrays[key]!.length, 100 + 7 * k + keys.indexOf(key));
    const [straight, turned] = [structuredClone(arrays), structuredClone(arrays)];
    const first = OPTIMIZERS[name]!(new Map(keys.map((key) => [key, straight[key]!])), FULL[name]);
    const before = OPTIMIZERS[name]!(new Map(keys.map((key) => [key, turned[key]!])), FULL[name]);
    for (let k = 0; k < 2; k++) {
      for (const optimizer of [first, before]) optimizer.step(keys.map((key) => gradient(key, k)));
    }
    const order = ['empty', 'scale', 'weight', 'bias'];
    const groups = [order.slice(0, 2), order.slice(2)].map((part) => ({
      params: new Map(part.map((key) => [key, turned[key]!])),
    }));
    const second = OPTIMIZERS[name]!(groups, FULL[name]);
    second.loadStateDict(before.stateDict());
    expect(second.paramGroups.map((group) => group.names)).toEqual([order.slice(0, 2), order.slice(2)]);
    first.step(keys.map((key) => gradient(key, 2)));
    second.step(order.map((key) => gradient(key, 2)));
    for (const key of keys) expect(bitsOf(turned[key]!)).toBe(bitsOf(straight[key]!));
    const bits = (state: Record<string, Tensor>) =>
      Object.fromEntries(Object.entries(state).map(([key, t]) => [key, bitsOf(t.toArray())]));
    expect(bits(second.stateDict())).toEqual(bits(first.stateDict()));
  });

  test('works on views at any place, of any length, and touches nothing beside them', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(40), fc.nat(5)), { minLength: 1, maxLength: 6 }),
        fc.constantFrom(...FLOATS),
        (views, dtype) => {
          const whole = views.map(([n, before], i) =>
            arrayOf(randomNumbers(n + before + 3, i, 'f32'), dtype),
          );
          const inside = (arrays: FloatArray[]) =>
            arrays.map((a, i) => a.subarray(views[i]![1], a.length - 3));
          const [viewed, plain] = [whole.map((a) => a.slice()), inside(whole).map((a) => a.slice())];
          const gradients = plain.map((a, i) => arrayOf(randomNumbers(a.length, 50 + i, 'f32'), dtype));
          OPTIMIZERS[name]!(inside(viewed), FULL[name]).step(gradients);
          OPTIMIZERS[name]!(plain, FULL[name]).step(gradients);
          viewed.forEach((array, i) => {
            expect(bitsOf(inside(viewed)[i]!.slice())).toBe(bitsOf(plain[i]!));
            const edges = (a: FloatArray) => [...a.subarray(0, views[i]![1]), ...a.subarray(a.length - 3)];
            expect(edges(array)).toEqual(edges(whole[i]!));
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  test('leaves parameters where they are at a learning rate of 0, unless they are not finite', () => {
    const array = Float32Array.of(1, -2, 0.5);
    const optimizer = OPTIMIZERS[name]!([array], { lr: 0 });
    optimizer.step([Float32Array.of(3, 0, -1)]);
    expect([...array]).toEqual([1, -2, 0.5]);
    if (LAYERWISE.has(name)) return;
    optimizer.step([Float32Array.of(NaN, 0, Infinity)]);
    expect([array[0], array[1]]).toEqual([NaN, -2]);
  });

  test('steps a model, recorded as a whole, with the bits of eager steps', () => {
    const make = () => {
      const model = new Sequential(new Linear(5, 8), new ReLU(), new Linear(8, 2));
      for (const [i, p] of model.parameters().entries()) {
        (p.borrow() as Float32Array).set(numbers(p.size, i));
      }
      return { model, optimizer: OPTIMIZERS[name]!(model.namedParameters(), FULL[name]) };
    };
    const [eager, recorded] = [make(), make()];
    const gradients = (k: number) =>
      eager.model.parameters().map((p, i) => tensor(numbers(p.size, 60 + i + 10 * k), { shape: p.shape }));
    const step = compile((...g: Tensor[]) => recorded.optimizer.step(g));
    for (let k = 0; k < STEPS; k++) {
      eager.optimizer.step(gradients(k));
      step.runSync(...gradients(k));
    }
    const bits = ({ model }: typeof eager) => model.parameters().map((p) => bitsOf(p.toArray()));
    expect(bits(recorded)).toEqual(bits(eager));
    expect(Object.keys(eager.optimizer.stateDict())[0]).toBe('layers.0.weight.step');
  });
});

/** In tests of their own: their parameters or their steps are of another kind. */
const APART = ['CustomOptimizer', 'LBFGS', 'Muon', 'SparseAdam'];

test('every optimizer there is has these properties, or tests of its own', () => {
  const exported = Object.entries(library)
    .filter(([, value]) => (value as { prototype?: unknown }).prototype instanceof Optimizer)
    .map(([name]) => name);
  const known = [...NAMES, 'Adam8bit', 'AdamW8bit', ...APART];
  expect(exported.filter((name) => !known.includes(name))).toEqual([]);
  expect(exported).toEqual(expect.arrayContaining(NAMES));
});

// Moments of eight bits are those of a block from the parameter's own beginning on: its neighbours have no say, nor has
// its place in memory or among the others.
describe.each(EIGHT_BIT.map(([make], i) => [['Adam8bit', 'AdamW8bit'][i]!, make] as const))(
  '%s',
  (_, make) => {
    const options = { lr: 0.01, weightDecay: 0.1 };
    const sizes = { matrix: 9001, bias: 10, empty: 0, edge: 4096, vector: 5000 };
    const keys = Object.keys(sizes) as (keyof typeof sizes)[];
    const start = (key: keyof typeof sizes) => numbers(sizes[key], keys.indexOf(key));
    const gradient = (key: keyof typeof sizes, k: number) =>
      numbers(sizes[key], 100 + 7 * k + keys.indexOf(key));
    /** The parameters as views that begin `before` elements into arrays of their own. */
    const views = (before: number) =>
      Object.fromEntries(
        keys.map((key) => {
          const whole = new Float32Array(before + sizes[key] + 3);
          whole.set(start(key), before);
          return [key, whole.subarray(before, before + sizes[key])];
        }),
      ) as Record<keyof typeof sizes, Float32Array>;
    const stateOf = (state: Record<string, Tensor>) =>
      Object.fromEntries(Object.entries(state).map(([key, t]) => [key, bitsOf(t.toArray())]));

    test('gives the same bits alone, at any place in memory, in any order and grouping, and with any threads', () => {
      const straight = views(0);
      const together = make(new Map(keys.map((key) => [key, straight[key]])), options);
      for (let k = 0; k < STEPS; k++) together.step(keys.map((key) => gradient(key, k)));
      const order = [...keys].reverse();
      const moved = views(3);
      const groups = [order.slice(0, 2), order.slice(2)].map((part) => ({
        params: new Map(part.map((key) => [key, moved[key]])),
      }));
      const grouped = make(groups, options);
      device.setThreads(1);
      for (let k = 0; k < STEPS; k++) {
        grouped.step(order.map((key) => gradient(key, k)));
      }
      device.setThreads(threads);
      const alone = start('vector');
      const single = make(new Map([['vector', alone]]), options);
      for (let k = 0; k < STEPS; k++) single.step([gradient('vector', k)]);
      for (const key of keys) expect(bitsOf(moved[key].slice())).toBe(bitsOf(straight[key]));
      expect(bitsOf(alone)).toBe(bitsOf(straight.vector));
      expect(stateOf(grouped.stateDict())).toEqual(stateOf(together.stateDict()));
      expect(stateOf(together.stateDict())).toMatchObject(stateOf(single.stateDict()));
      for (const key of keys) {
        expect([...new Float32Array(moved[key].buffer, 0, 3)]).toEqual([0, 0, 0]);
        expect([...new Float32Array(moved[key].buffer).slice(-3)]).toEqual([0, 0, 0]);
      }
    });

    test('goes on with the same bits from state that is loaded into another order', () => {
      const [through, half] = [views(0), views(1)];
      const [a, b] = [through, half].map((own) => make(new Map(keys.map((key) => [key, own[key]])), options));
      for (let k = 0; k < STEPS; k++) {
        a!.step(keys.map((key) => gradient(key, k)));
        if (k < 2) b!.step(keys.map((key) => gradient(key, k)));
      }
      const order = [...keys].reverse();
      const resumed = make(new Map(order.map((key) => [key, half[key]])), options);
      resumed.loadStateDict(b!.stateDict());
      for (let k = 2; k < STEPS; k++) resumed.step(order.map((key) => gradient(key, k)));
      for (const key of keys) expect(bitsOf(half[key].slice())).toBe(bitsOf(through[key]));
      expect(stateOf(resumed.stateDict())).toEqual(stateOf(a!.stateDict()));
    });
  },
);

test('a state whose parameters took different numbers of steps is refused for one group', () => {
  const [a, b] = [new Float32Array(3), new Float32Array(4)];
  const apart = OPTIMIZERS.Adam!([{ params: new Map([['a', a]]) }, { params: new Map([['b', b]]) }]);
  const together = OPTIMIZERS.Adam!(
    new Map([
      ['a', a.slice()],
      ['b', b.slice()],
    ]),
  );
  apart.step([a, b]);
  const state = apart.stateDict();
  together.loadStateDict(state);
  expect(together.steps).toBe(1);
  for (const wrong of [2, -1, 0.5, NaN]) {
    const bad = { ...state, 'b.step': wrap(Float64Array.of(wrong), []) };
    expect(() => together.loadStateDict(bad)).toThrow(
      expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }),
    );
  }
  expect(together.steps).toBe(1);
});
