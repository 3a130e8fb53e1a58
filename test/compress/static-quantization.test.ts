import {
  compile,
  DataLoader,
  defaultPool,
  GELU,
  LayerNorm,
  Linear,
  Module,
  QuantizedLinear,
  quantizationReport,
  quantize,
  ReLU,
  relu,
  reshape,
  Sequential,
  StaticQuantizedLinear,
  type Tensor,
  tensor,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bothWays1, contentOf, expectSameBits, expectWithin, refusalOf, UNIT } from '../ops/support.js';
import { Net, numbers, pytorch, random } from './support.js';

describe('a statically quantized Linear', () => {
  test('is off by no more than half a step of each scale makes, both ways, for inputs within its range', async () => {
    for (const [rows, width, out] of [
      [1, 1, 1],
      [5, 33, 17],
      [9, 300, 64],
    ] as const) {
      const layer = new Linear(width, out);
      const x = random(rows, width);
      const small = quantize(layer, { calibration: [x] }) as StaticQuantizedLinear;
      const [w, xs, channel, bias] = [layer.weight, x, small.scale, layer.bias!].map(numbers) as number[][];
      const step = small.inputScale.item();
      const y = await bothWays1((t) => small.forward(t!), [x]);
      const [want, bound] = [[] as number[], [] as number[]];
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < out; j++) {
          let [exact, error, size] = [bias![j]!, 0, 0];
          for (let p = 0; p < width; p++) {
            const [a, b] = [xs![i * width + p]!, w![j * width + p]!];
            // The zero point is rounded, so that one end of the range may be half a step further out.
            const [da, db] = [step * (1 + 2 ** -15), channel![j]! * (0.5 + 2 ** -15)];
            exact += a * b;
            error += Math.abs(a) * db + Math.abs(b) * da + da * db;
            size += Math.abs(a * b);
          }
          want.push(exact);
          bound.push(error + 8 * UNIT.f32 * (size + error + Math.abs(bias![j]!)));
        }
      }
      expectWithin(y, want, (i) => bound[i]!);
    }
  });

  test('clips what lies beyond its range', () => {
    const layer = StaticQuantizedLinear.from(tensor([[1]]), tensor([-1, 1]));
    const [low, high] = layer.inputRange;
    expect(numbers(layer.forward(tensor([[-50], [0], [50]])))).toEqual([
      Math.fround(low),
      0,
      Math.fround(high),
    ]);
  });

  test.each(pytorch.observers.ranges)('has PyTorch’s scale and zero point for [$low, $high]', (one) => {
    const layer = StaticQuantizedLinear.from(tensor([[1]]), tensor([one.low, one.high]));
    expect(layer.inputZeroPoint.item()).toBe(one.zeroPoint);
    // PyTorch divides as we do, in f32.
    expect(layer.inputScale.item()).toBe(one.scale);
  });

  test('takes any leading dimensions, and no other width or dtype', async () => {
    const x = random(2, 3, 8);
    const small = quantize(new Linear(8, 5), { calibration: [x] });
    const y = await bothWays1((t) => small.forward(t!), [x]);
    expect(y.shape).toEqual([2, 3, 5]);
    expectSameBits({ ...y, shape: [6, 5] }, contentOf(small.forward(reshape(x, [6, 8]))));
    expect(small.forward(random(8)).shape).toEqual([5]);
    expect(small.forward(random(0, 8)).shape).toEqual([0, 5]);
    expect(refusalOf(() => small.forward(random(2, 7))).code).toBe('DT_SHAPE_MISMATCH');
  });
});

describe('between static layers, a compiled function keeps integers:', () => {
  const x = random(9, 12);
  const instructionsOf = async (model: Module) => {
    await bothWays1((t) => model.forward(t!), [x]);
    return compile((t: Tensor) => model.forward(t)).program(x).instructions;
  };
  const layers = () => [new Linear(12, 16), new Linear(16, 7)] as const;

  test.each<[string, () => Module, number]>([
    // The first input is quantized, then one product for each layer.
    ['with nothing between', () => new Sequential(...layers()), 3],
    [
      'with ReLU between',
      () => {
        const [a, b] = layers();
        return new Sequential(a, new ReLU(), b);
      },
      3,
    ],
    [
      'with GELU between',
      () => {
        const [a, b] = layers();
        return new Sequential(a, new GELU(), b);
      },
      3,
    ],
    ['in a model of one’s own', () => new Net(), 4],
    [
      'but not through a normalisation',
      () => {
        const [a, b] = layers();
        return new Sequential(a, new LayerNorm(16), b);
      },
      5,
    ],
  ])('%s, with the same bits', async (_, make, instructions) => {
    expect(await instructionsOf(quantize(make(), { calibration: [x] }))).toBe(instructions);
  });

  test('from a dynamic layer too', async () => {
    const [a, b] = layers();
    const model = new Sequential(QuantizedLinear.from(a.weight, a.bias), b);
    // Reshaping is no instruction: the dynamic product, which quantizes its result, and the static one.
    expect(await instructionsOf(quantize(model, { calibration: [x] }))).toBe(2);
  });

  test('not where something else reads the product', async () => {
    const [a, b] = layers();
    const small = quantize(new Sequential(a, b), { calibration: [x] }) as Sequential;
    const both = (t: Tensor) => {
      const hidden = small.layers[0]!.forward(t);
      return [relu(hidden), small.layers[1]!.forward(hidden)];
    };
    const got = (await compile(both)(x)).map(contentOf);
    for (const [i, t] of both(x).entries()) expectSameBits(got[i]!, contentOf(t));
  });
});

describe('quantize', () => {
  test('takes a model of a user’s own, and leaves it as it was', () => {
    const net = new Net();
    const x = random(20, 12);
    const before = contentOf(net.forward(x));
    const names = Object.keys(net.stateDict());
    for (const calibration of [undefined, [x]]) {
      const small = quantize(net, calibration && { calibration }) as Net;
      expect(small).toBeInstanceOf(Net);
      expect(small.calls).toBeGreaterThan(0); // copied with the other fields
      expect(small.blocks[1]).toBe(net.blocks[1]);
      expect(small.first).toBeInstanceOf(calibration ? StaticQuantizedLinear : QuantizedLinear);
      const report = quantizationReport(net, small, [x]);
      expect(report.error).toBeGreaterThan(0);
      expect(report.error).toBeLessThan(0.03);
      // What a method of Module does, it does for the copy.
      expect([...small.namedParameters()]).toEqual([]);
      expect(Object.keys(small.stateDict())).toContain('last.scale');
    }
    expectSameBits(contentOf(net.forward(x)), before);
    expect(Object.keys(net.stateDict())).toEqual(names);
  });

  test('quantizes a layer that stands in two places once', () => {
    const shared = new Linear(6, 6);
    const small = quantize(new Sequential(shared, new Sequential(new ReLU(), shared))) as Sequential;
    expect((small.layers[1] as Sequential).layers[1]).toBe(small.layers[0]);
  });

  test('leaves excluded layers in f32, the very ones', () => {
    const net = new Net();
    const small = quantize(net, { exclude: ['first', 'blocks.0'] }) as Net;
    expect(small.first).toBe(net.first);
    expect(small.blocks[0]).toBe(net.blocks[0]);
    expect(Object.keys(small.stateDict())).toContain('last.scale');
  });

  test('leaves a subclass of Linear as it is', () => {
    class Doubled extends Linear {
      override forward(x: Tensor): Tensor {
        return super.forward(super.forward(x));
      }
    }
    const own = new Doubled(3, 3);
    const small = quantize(new Sequential(own, new Linear(3, 2))) as Sequential;
    expect(small.layers[0]).toBe(own);
  });

  test('takes a class that only speaks of private members', () => {
    class Spoken extends Module {
      inner = new Linear(2, 2);
      /**
       * #scale = 2
       */
      unit = '#scale';
      forward(x: Tensor): Tensor {
        return this.inner.forward(x);
      }
    }
    expect((quantize(new Spoken()) as Spoken).inner).toBeInstanceOf(QuantizedLinear);
  });

  test('takes a model of several inputs', () => {
    class Two extends Module {
      left = new Linear(3, 4);
      forward(a: Tensor, b: Tensor): Tensor {
        return this.left.forward(relu(a).size > 0 ? b : a);
      }
    }
    const small = quantize(new Two(), { calibration: [[random(2, 3), random(5, 3)]] });
    expect(small.forward(random(1, 3), random(4, 3)).shape).toEqual([4, 4]);
  });

  test('frees what it makes on the way', () => {
    const x = random(30, 12);
    const net = new Net();
    let calls = 0;
    // Falls short with all layers quantized and with the first one; good without it.
    const evaluate = (model: Module) => {
      calls++;
      return (model as Net).first instanceof QuantizedLinear ? 0.5 : 1;
    };
    for (const options of [{}, { calibration: [x] }, { preserveAccuracy: 0.9, evaluate }]) {
      const held = (make: () => Module) =>
        defaultPool.scope(() => {
          const before = defaultPool.statistics.current;
          const small = make();
          const after = defaultPool.statistics.current;
          expect(small).not.toBe(net);
          return after - before;
        });
      // A scope that returns the model frees all else: there must be nothing.
      const scoped = held(() => defaultPool.scope(() => quantize(net, options)));
      expect(held(() => quantize(net, options))).toBe(scoped);
    }
    expect(calls).toBeGreaterThan(4);
  });

  test('any range covers what was seen by min–max, within rounding', () => {
    fc.assert(
      fc.property(
        fc.float({ min: -1000, max: 1000, noNaN: true }),
        fc.float({ min: -1000, max: 1000, noNaN: true }),
        (a, b) => {
          const small = quantize(new Linear(1, 1), {
            calibration: [tensor([[a], [b]])],
          }) as StaticQuantizedLinear;
          const [low, high] = small.inputRange;
          const step = small.inputScale.item();
          expect(low).toBeLessThanOrEqual(Math.min(a, b, 0) + step / 2 + 1e-6 * step);
          expect(high).toBeGreaterThanOrEqual(Math.max(a, b, 0) - step / 2 - 1e-3 * step);
          expect(small.inputZeroPoint.item() * step).toBe(-low);
        },
      ),
      { numRuns: 60 },
    );
  });

  class Private extends Module {
    inner = new Linear(2, 2);
    #scale = 2;
    forward(x: Tensor): Tensor {
      return this.#scale > 1 ? this.inner.forward(x) : x;
    }
  }
  class Bound extends Module {
    inner = new Linear(2, 2);
    override forward = (x: Tensor): Tensor => this.inner.forward(x);
  }
  class Captured extends Module {
    inner = new Linear(2, 2);
    unused = new Linear(2, 2);
    forward(x: Tensor): Tensor {
      return this.inner.forward(x);
    }
  }
  const x = random(3, 2);
  const layer = () => new Linear(2, 2);
  test.each<[string, () => unknown, string]>([
    ['a misspelt option', () => quantize(layer(), { calibrate: [x] } as never), 'calibrate'],
    [
      'an unknown method',
      () => quantize(layer(), { calibration: [x], method: 'entropy' as never }),
      'entropy',
    ],
    ['a method without data', () => quantize(layer(), { method: 'mse' }), 'calibration'],
    [
      'a percentile of half',
      () => quantize(layer(), { calibration: [x], method: 'percentile', percentile: 50 }),
      '50',
    ],
    [
      'a percentile for another method',
      () => quantize(layer(), { calibration: [x], percentile: 99 }),
      'percentile',
    ],
    ['a name of no layer', () => quantize(new Sequential(layer()), { exclude: ['layers.1'] }), 'layers.1'],
    [
      'a name instead of names',
      () => quantize(new Sequential(layer()), { exclude: 'layers.0' as never }),
      'layers.0',
    ],
    ['all layers excluded', () => quantize(new Sequential(layer()), { exclude: ['layers.0'] }), 'excluded'],
    ['a tensor as a data set', () => quantize(layer(), { calibration: x as never }), 'a tensor'],
    [
      'a loader as a data set',
      () => quantize(layer(), { calibration: new DataLoader([1], { batchSize: 1 }) as never }),
      'collect some of its inputs',
    ],
    [
      'a model that is quantized',
      () => quantize(quantize(new Sequential(layer()))),
      'before it is quantized',
    ],
    ['no data set', () => quantize(layer(), { calibration: 5 as never }), 'number'],
    ['an empty data set', () => quantize(new Sequential(layer()), { calibration: [] }), 'layers.0'],
    ['a layer that no input reaches', () => quantize(new Captured(), { calibration: [x] }), 'unused'],
    ['inputs of NaN', () => quantize(new Sequential(layer()), { calibration: [tensor([[1, NaN]])] }), 'NaN'],
    ['a class with private members', () => quantize(new Private()), '#scale'],
    ['a forward that is a field', () => quantize(new Bound()), 'Bound'],
    ['a share without evaluate', () => quantize(layer(), { preserveAccuracy: 0.9 }), 'evaluate'],
    ['a share above 1', () => quantize(layer(), { preserveAccuracy: 1.1, evaluate: () => 1 }), '1.1'],
  ])('refuses %s', (_, run, part) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });
});
