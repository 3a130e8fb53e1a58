import {
  assign,
  compile,
  device,
  GELU,
  Generator,
  LayerNorm,
  Linear,
  type Module,
  QuantizedLinear,
  quantize,
  ReLU,
  randn,
  Sequential,
  type Tensor,
  tensor,
  wrap,
} from 'drivetrain';
import { afterAll, describe, expect, test } from 'vitest';
import {
  bitsOf,
  bothWays1,
  contentOf,
  expectSameBits,
  expectWithin,
  numbersOf,
  refusalOf,
  UNIT,
} from '../ops/support.js';

const { threads } = device.info();
afterAll(() => device.setThreads(threads));

const generator = new Generator(21);
const network = () =>
  new Sequential(
    new Linear(40, 65, { generator }),
    new Sequential(new ReLU(), new LayerNorm(65), new Linear(65, 33, { bias: false, generator })),
    new GELU(),
    new Linear(33, 10, { generator }),
  );

const numbers = (t: Tensor) => numbersOf(contentOf(t));

describe('a quantized Linear', () => {
  test('is off by no more than half a step of each scale makes, both ways', async () => {
    for (const [width, out, rows] of [
      [1, 1, 1],
      [33, 17, 5],
      [300, 64, 9],
    ] as const) {
      const layer = new Linear(width, out, { generator });
      const small = quantize(layer) as QuantizedLinear;
      const x = randn([rows, width], { generator });
      const [w, xs, channel] = [numbers(layer.weight), numbers(x), numbers(small.scale)];
      const bias = numbers(layer.bias!);
      const y = await bothWays1((t) => small.forward(t!), [x]);
      const want: number[] = [];
      const bound: number[] = [];
      for (let i = 0; i < rows; i++) {
        const row = xs.slice(i * width, (i + 1) * width);
        const step = Math.max(...row.map(Math.abs)) / 127;
        for (let j = 0; j < out; j++) {
          const weight = w.slice(j * width, (j + 1) * width);
          const exact = row.reduce((sum, value, p) => sum + value * weight[p]!, 0) + bias[j]!;
          want.push(exact);
          // (x + dx)(w + dw) − xw with |dx| ≤ step/2, |dw| ≤ scale/2; f32 rounds the quotients, the scales and the result.
          const error = row.reduce((sum, value, p) => {
            const [dx, dw] = [step * (0.5 + 2 ** -15), channel[j]! * (0.5 + 2 ** -15)];
            return sum + Math.abs(value) * dw + Math.abs(weight[p]!) * dx + dx * dw;
          }, 0);
          const size = row.reduce((sum, value, p) => sum + Math.abs(value * weight[p]!), 0) + error;
          bound.push(error + 8 * UNIT.f32 * (size + Math.abs(bias[j]!)));
        }
      }
      expectWithin(y, want, (i) => bound[i]!);
    }
  });

  test('keeps rows whose elements are whole multiples of their scale exactly', () => {
    const small = QuantizedLinear.from(
      tensor([
        [127, -64, 3],
        [0, 0, 0],
        [-127, 1, 2],
      ]),
      tensor([0.5, 7, -1]),
    );
    const y = small.forward(
      tensor([
        [127, 5, -9],
        [0, 0, 0],
      ]),
    );
    expect(numbers(y)).toEqual([127 * 127 - 320 - 27 + 0.5, 7, -127 * 127 + 5 - 18 - 1, 0.5, 7, -1]);
  });

  test('takes any leading dimensions', async () => {
    const small = quantize(new Linear(8, 3, { generator }));
    const x = randn([2, 3, 8], { generator });
    const flat = await bothWays1((t) => small.forward(t!), [x.viewAs([6, 8])]);
    const y = await bothWays1((t) => small.forward(t!), [x]);
    expect(y.shape).toEqual([2, 3, 3]);
    expect(bitsOf(y.data)).toBe(bitsOf(flat.data));
    expect((await bothWays1((t) => small.forward(t!), [x.viewAs([0, 8])])).shape).toEqual([0, 3]);
    expect((await bothWays1((t) => small.forward(t!), [randn([8], { generator })])).shape).toEqual([3]);
  });

  test('shows a spoiled row and no other', () => {
    const small = quantize(new Linear(4, 2, { generator }));
    const x = tensor([
      [1, 2, 3, 4],
      [1, NaN, 3, 4],
      [1, 2, Infinity, 4],
      [4, 3, 2, 1],
    ]);
    expect(numbers(small.forward(x)).map(Number.isNaN)).toEqual([
      false,
      false,
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  test.each([
    ['array', new ArrayBuffer(4)],
    ['array on shared memory', new SharedArrayBuffer(4)],
  ])('does not follow a caller’s %s that it was made from', (_, buffer) => {
    const array = new Int8Array(buffer);
    array.set([1, 2, 3, 4]);
    const small = new QuantizedLinear(wrap(array, [2, 2]), tensor([1, 1]));
    array.fill(9);
    expect(numbers(small.weight)).toEqual([1, 2, 3, 4]);
    expect(numbers(small.forward(tensor([[127, 0]])))).toEqual([127, 381]);
    // The caller's own tensor stays one that may be written.
    assign(wrap(array), tensor(Int8Array.of(5, 6, 7, 8)));
  });

  test('does not follow the layer that it was made from', () => {
    const layer = new Linear(4, 2, { generator });
    const small = quantize(layer);
    const x = randn([3, 4], { generator });
    const before = contentOf(small.forward(x));
    for (const p of layer.parameters()) assign(p, tensor(new Float32Array(p.size), { shape: p.shape }));
    expectSameBits(contentOf(small.forward(x)), before);
    for (const p of layer.parameters()) p.dispose();
    expectSameBits(contentOf(small.forward(x)), before);
  });
});

describe('a quantized model', () => {
  const x = randn([150, 40], { generator });

  test('is near the original, by the steps of its scales', () => {
    const model = network();
    const [exact, small] = [numbers(model.forward(x)), numbers(quantize(model).forward(x))];
    // 1/254 of the largest element at each rounding, of which 2 · 65 add up at random signs in each of three layers.
    const largest = Math.max(...exact.map(Math.abs));
    const worst = Math.max(...exact.map((value, i) => Math.abs(value - small[i]!)));
    expect(worst).toBeLessThan((largest * 3 * Math.sqrt(130) * 3) / 254);
    expect(worst).toBeGreaterThan(0); // it is not the original
  });

  test('has the same bits under every thread count, eagerly and recorded', async () => {
    const small = quantize(network());
    const results = [1, 2, 3].map((count) => {
      device.setThreads(count);
      return contentOf(small.forward(x));
    });
    for (const result of results.slice(1)) expectSameBits(result, results[0]!);
    expectSameBits(contentOf(await compile((t: Tensor) => small.forward(t))(x)), results[0]!);
  });

  test('has nothing to train, and shares the layers that are not Linear', () => {
    const model = network();
    const small = quantize(model) as Sequential;
    expect((small.layers[0] as Module).parameters()).toEqual([]);
    const inner = small.layers[1] as Sequential;
    expect(inner.layers[1]).toBe((model.layers[1] as Sequential).layers[1]);
    expect(small.parameters()).toEqual((inner.layers[1] as Module).parameters());
  });

  test('comes back from its state dict, also in a program that was recorded before', async () => {
    const [small, other] = [quantize(network()), quantize(network())];
    const run = compile((t: Tensor) => other.forward(t));
    const [want, before] = [contentOf(small.forward(x)), contentOf(await run(x))];
    expect(bitsOf(before.data)).not.toBe(bitsOf(want.data));
    other.loadStateDict(small.stateDict());
    expectSameBits(contentOf(other.forward(x)), want);
    expectSameBits(contentOf(await run(x)), want);
    expect(Object.keys(small.stateDict())).toEqual([
      'layers.0.weight',
      'layers.0.scale',
      'layers.0.bias',
      'layers.1.layers.1.weight',
      'layers.1.layers.1.bias',
      'layers.1.layers.2.weight',
      'layers.1.layers.2.scale',
      'layers.3.weight',
      'layers.3.scale',
      'layers.3.bias',
    ]);
  });

  test('refuses a state that does not fit, and stays as it was', () => {
    const small = quantize(network());
    const before = contentOf(small.forward(x));
    for (const state of [quantize(new Linear(40, 65)).stateDict(), network().stateDict()]) {
      expect(refusalOf(() => small.loadStateDict(state)).code).toBe('DT_INVALID_ARGUMENT');
    }
    const gone = quantize(network()).stateDict();
    gone['layers.3.scale']!.dispose();
    expect(refusalOf(() => small.loadStateDict(gone)).code).toBe('DT_DISPOSED');
    expectSameBits(contentOf(small.forward(x)), before);
  });

  test('has frozen weights, which stay so after loading', () => {
    const small = quantize(new Linear(3, 2)) as QuantizedLinear;
    const write = () => assign(small.weight, tensor(new Int8Array(6), { shape: [2, 3] }));
    expect(refusalOf(write).code).toBe('DT_FROZEN');
    small.loadStateDict(quantize(new Linear(3, 2)).stateDict());
    const bits = bitsOf(small.weight.toArray());
    expect(refusalOf(write).code).toBe('DT_FROZEN');
    expect(bitsOf(small.weight.toArray())).toBe(bits);
  });
});

describe('quantize refuses', () => {
  test.each<[string, () => unknown, string]>([
    ['a model without Linear', () => quantize(new Sequential(new ReLU(), new LayerNorm(3))), 'Sequential'],
    ['a layer of another kind', () => quantize(new GELU()), 'GELU'],
    ['what is already quantized', () => quantize(quantize(new Linear(2, 2))), 'QuantizedLinear'],
    ['nothing', () => quantize(undefined as never), 'undefined'],
  ])('%s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });
});

describe('QuantizedLinear refuses', () => {
  const weight = () => tensor(new Int8Array(6), { shape: [2, 3] });
  const two = tensor([1, 1]);
  test.each<[string, () => unknown]>([
    [
      'a weight of floats',
      () =>
        new QuantizedLinear(
          tensor([
            [1, 2, 3],
            [4, 5, 6],
          ]),
          two,
        ),
    ],
    ['a weight of one dimension', () => new QuantizedLinear(tensor(new Int8Array(2)), two)],
    ['too few scales', () => new QuantizedLinear(weight(), tensor([1]))],
    ['scales of f64', () => new QuantizedLinear(weight(), tensor([1, 1], { dtype: 'f64' }))],
    ['a bias of another length', () => new QuantizedLinear(weight(), two, tensor([1]))],
    ['a bias of f64', () => new QuantizedLinear(weight(), two, tensor([1, 1], { dtype: 'f64' }))],
    ['an input of another width', () => new QuantizedLinear(weight(), two).forward(tensor([[1, 2]]))],
    [
      'an input of f64',
      () => new QuantizedLinear(weight(), two).forward(tensor([[1, 2, 3]], { dtype: 'f64' })),
    ],
    ['a scalar', () => new QuantizedLinear(weight(), two).forward(tensor(1))],
  ])('%s', (_, run) => {
    expect(refusalOf(run).code).toBe('DT_SHAPE_MISMATCH');
  });
});
