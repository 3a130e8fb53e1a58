import {
  AdamW,
  compile,
  crossEntropy,
  FakeQuantizedLinear,
  fakeQuantize,
  grad,
  Linear,
  type Module,
  mul,
  prepareQat,
  quantize,
  quantizeLinear,
  ReLU,
  Sequential,
  StaticQuantizedLinear,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fakeQuantizeRows } from '../../dist/compress/fake-quantize.js';
import { unpack } from '../nn/support.js';
import {
  awkwardNumbers,
  bothWays1,
  contentOf,
  expectSameBits,
  expectWithin,
  numbersOf,
  refusalOf,
  UNIT,
} from '../ops/support.js';
import { Net, numbers, pytorch, random } from './support.js';

describe('fakeQuantize', () => {
  test.each(pytorch.fakeQuantize.tensors.map((one, i) => [i, one] as const))(
    'has PyTorch’s values and gradients, case %i',
    async (_, { scale, zeroPoint, min, max, x, y, dy, dx }) => {
      const fn = (t: Tensor) => fakeQuantize(t, scale, zeroPoint, { min, max });
      const input = unpack(x, 'f32');
      // One rounding, that of the product with the scale; the others are exact.
      expectWithin(await bothWays1((t) => fn(t!), [input]), y.data, (i) => UNIT.f32 * Math.abs(y.data[i]!));
      const { grads } = valueAndGrad((t: Tensor) => sum(mul(fn(t), unpack(dy, 'f32'))))(input);
      // Multiplied and divided by the scale.
      expectWithin(contentOf(grads[0]!), dx.data, (i) => 3 * UNIT.f32 * Math.abs(dx.data[i]!));
    },
  );

  test('by row has PyTorch’s values and gradients', async () => {
    const { x, scale, y, dy, dx } = pytorch.fakeQuantize.rows;
    const input = unpack(x, 'f32');
    const byScale = await bothWays1(
      (t) => fakeQuantize(t!, unpack({ ...scale, shape: [7, 1] }, 'f32'), 0, { min: -127, max: 127 }),
      [input],
    );
    expectWithin(byScale, y.data, (i) => UNIT.f32 * Math.abs(y.data[i]!));
    // Largest of a row was moved off the tie at most, so that its scale is the row's own.
    const rows = await bothWays1((t) => fakeQuantizeRows(t!), [input]);
    expectWithin(rows, y.data, (i) => 4 * UNIT.f32 * Math.abs(y.data[i]!));
    const { grads } = valueAndGrad((t: Tensor) => sum(mul(fakeQuantizeRows(t), unpack(dy, 'f32'))))(input);
    expect(numbersOf(contentOf(grads[0]!))).toEqual(dx.data);
  });

  test('gives the integers of quantizeLinear, for anything but NaN', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
        (seed, zeroPoint, step) => {
          const scale = Math.fround(step);
          const x = tensor(
            Float32Array.from(awkwardNumbers(200, seed, 'f32').filter((v) => !Number.isNaN(v))),
          );
          const q = numbers(
            quantizeLinear(x, tensor(scale), tensor(Uint8Array.of(zeroPoint), { shape: [] })),
          );
          const want = q.map((value) => Math.fround((value - zeroPoint) * scale));
          expect(numbers(fakeQuantize(x, scale, zeroPoint)).map((v) => v + 0)).toEqual(
            want.map((v) => v + 0),
          );
        },
      ),
    );
  });

  test.each<[string, () => unknown]>([
    ['min above max', () => fakeQuantize(tensor([1]), 1, 0, { min: 3, max: 2 })],
    ['a fraction', () => fakeQuantize(tensor([1]), 1, 0, { min: 0.5 })],
    ['more than 16 bits', () => fakeQuantize(tensor([1]), 1, 0, { min: 0, max: 2 ** 20 })],
    ['a misspelt option', () => fakeQuantize(tensor([1]), 1, 0, { low: 0 } as never)],
  ])('refuses %s', (_, run) => {
    expect(refusalOf(run).code).toBe('DT_INVALID_ARGUMENT');
  });

  test('refuses f64', () => {
    expect(refusalOf(() => fakeQuantize(tensor([1], { dtype: 'f64' }), 1, 0)).code).toBe('DT_DTYPE_MISMATCH');
  });
});

describe('a FakeQuantizedLinear', () => {
  test('has the moving averages of PyTorch’s observer, with 0 inside, eagerly and recorded', async () => {
    const make = () => new FakeQuantizedLinear(random(2, 4), undefined, 0.1);
    const [eager, recorded] = [make(), make()];
    const run = compile((t: Tensor) => recorded.forward(t));
    for (const { x, low, high } of pytorch.observers.moving) {
      const batch = unpack(x, 'f32');
      eager.forward(batch);
      await run(batch);
      const want = [Math.min(low, 0), Math.max(high, 0)];
      expectWithin(contentOf(eager.range), want, (i) => 8 * UNIT.f32 * Math.abs(want[i]!));
      expectSameBits(contentOf(recorded.range), contentOf(eager.range));
    }
  });

  test('leaves its range alone in evaluation mode, also in a program that was recorded before', async () => {
    const layer = new FakeQuantizedLinear(random(2, 4), random(2), 0.5);
    const run = compile((t: Tensor) => layer.forward(t));
    await run(random(3, 4));
    layer.eval();
    const before = contentOf(layer.range);
    await run(mul(random(3, 4), 100));
    layer.forward(mul(random(3, 4), 100));
    expectSameBits(contentOf(layer.range), before);
    layer.train();
    await run(mul(random(3, 4), 100));
    expect(numbers(layer.range)[1]).toBeGreaterThan(numbersOf(before)[1]!);
  });

  test('has the gradients of a linear layer of the rounded values', () => {
    const [weight, bias, x] = [random(5, 6), random(5), random(7, 6)];
    const layer = new FakeQuantizedLinear(weight, bias, 0.01);
    const dy = random(7, 5);
    const { grads } = valueAndGrad((t: Tensor) => sum(mul(layer.forward(t), dy)), [weight, bias])(x);
    const { inputScale, inputZeroPoint } = quantize(layer) as StaticQuantizedLinear;
    const [scale, zero] = [inputScale.item(), inputZeroPoint.item()];
    const rounded = numbers(quantizeLinear(x, inputScale, inputZeroPoint)).map((q) => (q - zero) * scale);
    const d = numbers(dy);
    const [want, size] = [new Array<number>(30).fill(0), new Array<number>(30).fill(0)];
    for (let j = 0; j < 5; j++) {
      for (let k = 0; k < 6; k++) {
        for (let i = 0; i < 7; i++) {
          want[j * 6 + k]! += d[i * 5 + j]! * rounded[i * 6 + k]!;
          size[j * 6 + k]! += Math.abs(d[i * 5 + j]! * rounded[i * 6 + k]!);
        }
      }
    }
    // Sums of 7 products.
    expectWithin(contentOf(grads[0]!), want, (i) => 9 * UNIT.f32 * size[i]!);
    expect(grads[1]!.shape).toEqual([5]);
  });

  test('names weight and bias as parameters, and its range as state', () => {
    const qat = prepareQat(new Net());
    expect([...qat.namedParameters().keys()]).toEqual([...new Net().namedParameters().keys()]);
    expect(Object.keys(qat.stateDict())).toContain('blocks.0.range');
    const other = prepareQat(new Net());
    qat.forward(random(4, 12));
    other.loadStateDict(qat.stateDict());
    other.eval();
    qat.eval();
    const x = random(5, 12);
    expectSameBits(contentOf(other.forward(x)), contentOf(qat.forward(x)));
  });
});

/**
 * How far a model of integers may be from one of fake quantization: both round the input to the same integers if it is the
 * same, and sum in other orders. From the second layer on, inputs that differ may be a step apart.
 */
function boundOf(fake: Module, small: Module, names: readonly string[], x: Tensor): number[] {
  let [input, before] = [x, new Array<number>(x.size).fill(0)];
  for (const name of names) {
    const at = (model: Module) =>
      (model as Sequential).layers[Number(name)] as FakeQuantizedLinear & StaticQuantizedLinear;
    const [one, other] = [at(fake), at(small)];
    const [out, width] = one.weight.shape as [number, number];
    const rows = input.shape[0]!;
    const step = other.inputScale.item();
    const [w, channel, xs] = [numbers(other.weight), numbers(other.scale), numbers(input)];
    const after: number[] = [];
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < out; j++) {
        let [moved, size] = [0, 0];
        for (let k = 0; k < width; k++) {
          const [weight, off] = [Math.abs(w[j * width + k]! * channel[j]!), before[i * width + k]!];
          moved += weight * (off === 0 ? 0 : off + step);
          size += weight * (Math.abs(xs[i * width + k]!) + step);
        }
        after.push(
          moved + (width + 8) * UNIT.f32 * (size + moved + Math.abs(one.bias ? numbers(one.bias)[j]! : 0)),
        );
      }
    }
    before = after;
    const y = one.forward(input);
    input = name === names.at(-1) ? y : new ReLU().forward(y);
  }
  return before;
}

describe('quantize after prepareQat', () => {
  test.each([[['0']], [['0', '2', '4']]])(
    'gives what was trained, within roundings and steps: layers %j',
    async (names) => {
      const widths = [10, 24, 16, 5];
      const layers = names.flatMap((_, i) => [
        new Linear(widths[i]!, widths[i + 1]!),
        ...(i + 1 < names.length ? [new ReLU()] : []),
      ]);
      const qat = prepareQat(new Sequential(...layers));
      for (let i = 0; i < 5; i++) qat.forward(random(20, 10));
      qat.eval();
      const small = quantize(qat);
      for (const name of names)
        expect((small as Sequential).layers[Number(name)]).toBeInstanceOf(StaticQuantizedLinear);
      const x = random(30, 10);
      const bound = boundOf(qat, small, names, x);
      expectWithin(await bothWays1((t) => small.forward(t!), [x]), numbers(qat.forward(x)), (i) => bound[i]!);
    },
  );

  test('learns what quantizing afterwards spoils', async () => {
    // Weights of very different sizes in one row: rounding them costs much, unless it is trained against.
    const build = () => new Sequential(new Linear(8, 16), new ReLU(), new Linear(16, 3));
    const x = random(240, 8);
    const labels = tensor(
      numbers(x).reduce<number[]>((found, _, i, all) => {
        if (i % 8 === 0) found.push(all[i]! + 0.2 * all[i + 1]! > 0.4 ? 2 : all[i + 2]! > 0 ? 1 : 0);
        return found;
      }, []),
      { dtype: 'i32' },
    );
    const model = build();
    const qat = prepareQat(model);
    const optimizer = new AdamW(qat.namedParameters(), { lr: 0.02 });
    const step = compile((input: Tensor, target: Tensor) => {
      const loss = crossEntropy(qat.forward(input), target);
      optimizer.step(grad(loss, qat.parameters()));
      return loss;
    });
    const first = (await step(x, labels)).item();
    for (let i = 0; i < 150; i++) (await step(x, labels)).dispose();
    qat.eval();
    const small = quantize(qat);
    const loss = crossEntropy(small.forward(x), labels).item();
    expect(loss).toBeLessThan(first / 4);
    // And it is the loss that training saw.
    expect(Math.abs(loss - crossEntropy(qat.forward(x), labels).item())).toBeLessThan(1e-3);
    // The original's tensors were trained.
    expect(crossEntropy(model.forward(x), labels).item()).toBeLessThan(first / 4);
  });

  test('makes plain layers of those excluded, and refuses one that saw no batch', () => {
    const qat = prepareQat(new Sequential(new Linear(3, 4), new ReLU(), new Linear(4, 2)), {
      exclude: ['layers.0'],
    });
    expect(refusalOf(() => quantize(qat, { exclude: ['layers.0'] })).message).toContain('layers.2');
    qat.forward(random(2, 3));
    const small = quantize(qat, { exclude: ['layers.2'] }) as Sequential;
    expect(small.layers[2]).toBeInstanceOf(Linear);
    expect((small.layers[2] as Linear).weight).toBe(
      ((qat as Sequential).layers[2] as FakeQuantizedLinear).weight,
    );
    expect(refusalOf(() => quantize(qat, { exclude: ['layers.0'], calibration: [] })).message).toContain(
      'calibration',
    );
  });

  test.each([0, -1, 1.5, NaN, '0.1'])(
    'prepareQat refuses an averaging constant of %s',
    (averagingConstant) => {
      const options = { averagingConstant: averagingConstant as number };
      expect(refusalOf(() => prepareQat(new Linear(2, 2), options)).code).toBe('DT_INVALID_ARGUMENT');
    },
  );
});
