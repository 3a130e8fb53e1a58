import {
  Adam8bit,
  AdamW,
  assign,
  CustomOptimizer,
  compile,
  cubicSparsity,
  Dropout,
  defaultPool,
  GELU,
  GradScaler,
  grad,
  hyperparameter,
  LayerNorm,
  Linear,
  Lookahead,
  Module,
  Muon,
  mseLoss,
  mul,
  PrunedOptimizer,
  Pruner,
  prepareQat,
  pruneUnits,
  ReLU,
  relu,
  Sequential,
  SGD,
  type Stateful,
  type Stepper,
  sub,
  type Tensor,
  tensor,
  valueAndGrad,
} from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { unpack } from '../nn/support.js';
import { bitsOf, contentOf, expectSameBits, expectWithin, refusalOf, UNIT } from '../ops/support.js';
import { OPTIMIZERS } from '../optim/support.js';
import { Net, numbers, pytorch, random } from './support.js';

const chain = () => {
  const [first, second] = [new Linear(9, 7), new Linear(7, 5)];
  assign(first.weight, unpack(pytorch.pruning.weights[0]!, 'f32'));
  assign(second.weight, unpack(pytorch.pruning.weights[1]!, 'f32'));
  return new Sequential(first, new ReLU(), second);
};
const masksOf = (pruner: Pruner) => Object.values(pruner.stateDict()).map(numbers);
const zerosIn = (t: Tensor) =>
  numbers(t)
    .map((value, i) => (value === 0 ? i : -1))
    .filter((i) => i >= 0);

describe('Pruner', () => {
  test.each(['global', 'layer'] as const)('prunes the weights that PyTorch prunes, %s', (scope) => {
    const { amount, masks } = pytorch.pruning[scope];
    const model = chain();
    const pruner = new Pruner(model, { scope });
    pruner.prune(amount);
    expect(masksOf(pruner)).toEqual(masks);
    const weights = model.parameters().filter(({ rank }) => rank === 2);
    weights.forEach((weight, i) => {
      const original = pytorch.pruning.weights[i]!.data;
      expect(numbers(weight)).toEqual(original.map((value, k) => (masks[i]![k] ? Math.fround(value) : 0)));
    });
  });

  test('prunes exactly the share asked for, and the smallest', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3), { minLength: 12, maxLength: 12 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, sparsity) => {
          const layer = new Linear(4, 3);
          assign(layer.weight, tensor(Float32Array.from(values), { shape: [3, 4] }));
          const pruner = new Pruner(layer);
          pruner.prune(sparsity);
          const [mask] = masksOf(pruner) as [number[]];
          expect(mask.filter((one) => one === 0)).toHaveLength(Math.round(sparsity * 12));
          expect(pruner.sparsity).toBeCloseTo(Math.round(sparsity * 12) / 12, 12);
          const size = (i: number) => Math.abs(values[i]!);
          const kept = values
            .map((_, i) => i)
            .filter((i) => mask[i] === 1)
            .map(size);
          const pruned = values
            .map((_, i) => i)
            .filter((i) => mask[i] === 0)
            .map(size);
          expect(Math.max(-1, ...pruned)).toBeLessThanOrEqual(Math.min(4, ...kept));
        },
      ),
    );
  });

  test('takes the layers of a model of one’s own, by name, and leaves biases alone', () => {
    const net = new Net();
    const pruner = new Pruner(net, { exclude: ['last'] });
    const before = contentOf(net.first.bias!);
    pruner.prune(0.5);
    expect(Object.keys(pruner.stateDict())).toEqual(['first.weight', 'blocks.0.weight']);
    expectSameBits(contentOf(net.first.bias!), before);
    expect(pruner.sparsity).toBe(0.5);
  });

  test('lets weights come back where less is pruned, and prunes NaN from nothing', () => {
    const layer = new Linear(4, 4);
    const pruner = new Pruner(layer);
    pruner.prune(1);
    expect(zerosIn(layer.weight)).toHaveLength(16);
    pruner.prune(0);
    assign(layer.weight, random(4, 4));
    pruner.apply();
    expect(zerosIn(layer.weight)).toHaveLength(0);
    assign(layer.weight, tensor(new Float32Array(16).fill(NaN), { shape: [4, 4] }));
    const masks = masksOf(pruner);
    expect(refusalOf(() => pruner.prune(0.5)).message).toContain('NaN');
    expect(masksOf(pruner)).toEqual(masks);
  });

  test('comes back from its state, and makes the weights 0', () => {
    const [one, other] = [chain(), chain()];
    const [pruner, again] = [new Pruner(one), new Pruner(other)];
    pruner.prune(0.6);
    again.loadStateDict(pruner.stateDict());
    expectSameBits(contentOf(other.parameters()[0]!), contentOf(one.parameters()[0]!));
    const before = masksOf(again);
    expect(refusalOf(() => again.loadStateDict({})).code).toBe('DT_INVALID_ARGUMENT');
    expect(masksOf(again)).toEqual(before);
  });

  test('refuses frozen weights before it changes a mask', () => {
    const layer = new Linear(3, 3);
    const pruner = new Pruner(layer);
    layer.freeze();
    expect(refusalOf(() => pruner.prune(0.5)).code).toBe('DT_FROZEN');
    expect(pruner.sparsity).toBe(0);
  });

  test.each<[string, () => unknown]>([
    ['a share above 1', () => new Pruner(new Linear(2, 2)).prune(1.5)],
    ['NaN', () => new Pruner(new Linear(2, 2)).prune(NaN)],
    ['another scope', () => new Pruner(new Linear(2, 2), { scope: 'model' as never })],
    ['a misspelt option', () => new Pruner(new Linear(2, 2), { skip: [] } as never)],
    ['a model without Linear', () => new Pruner(new ReLU())],
    ['a name of no layer', () => new Pruner(new Net(), { exclude: ['second'] })],
  ])('refuses %s', (_, run) => {
    expect(refusalOf(run).code).toBe('DT_INVALID_ARGUMENT');
  });
});

describe('what is pruned stays 0 through steps of', () => {
  class Own extends CustomOptimizer<{ lr: number }> {
    constructor(params: Tensor[]) {
      super(
        {
          name: 'Own',
          options: { lr: hyperparameter.nonNegative(0.1) },
          update: ({ parameter, gradient, options: { lr } }) => ({
            parameter: sub(parameter, mul(gradient, lr)),
          }),
        },
        params,
      );
    }
  }
  const others: Record<string, (params: Tensor[]) => Stepper & Stateful> = {
    'SGD with momentum and decay': (params) => new SGD(params, { lr: 0.1, momentum: 0.9, weightDecay: 0.1 }),
    Lookahead: (params) => new Lookahead(new AdamW(params), { k: 2 }),
    Muon: (params) => new Muon(params.filter(({ rank }) => rank === 2)),
    Adam8bit: (params) => new Adam8bit(params),
    'one’s own': (params) => new Own(params),
  };
  const all = { ...OPTIMIZERS, ...others } as Record<string, (params: Tensor[]) => Stepper & Stateful>;

  test.each(Object.entries(all))('%s, eagerly and recorded, which agree to the bit', async (_, make) => {
    // Large enough for 8-bit state.
    const results = await Promise.all(
      ['eager', 'recorded'].map(async (way) => {
        const model = new Sequential(new Linear(70, 64), new ReLU(), new Linear(64, 3));
        const values = fixed(model);
        const pruner = new Pruner(model);
        pruner.prune(0.7);
        const weights = model.parameters().filter(({ rank }) => rank === 2);
        const zeros = weights.map(zerosIn);
        const optimizer = new PrunedOptimizer(make(model.parameters()), pruner);
        const params = optimizer.paramGroups.flatMap((group) => group.params);
        const lossOf = (x: Tensor, y: Tensor) => mseLoss(model.forward(x), y);
        const step = compile((x: Tensor, y: Tensor) => optimizer.step(grad(lossOf(x, y), params)));
        for (let i = 0; i < 5; i++) {
          if (way === 'recorded') await step(values.x, values.y);
          else optimizer.step(valueAndGrad(lossOf, params)(values.x, values.y).grads);
          expect(weights.map(zerosIn)).toEqual(zeros);
        }
        // And the others moved.
        expect(bitsOf(weights[1]!.toArray())).not.toBe(values.before);
        return weights.map(contentOf);
      }),
    );
    for (const [i, weight] of results[0]!.entries()) expectSameBits(results[1]![i]!, weight);
  });

  test('a scaler round it, and a pruner that prunes more between runs of one program', async () => {
    const model = new Sequential(new Linear(6, 5), new ReLU(), new Linear(5, 3));
    const pruner = new Pruner(model);
    const optimizer = new PrunedOptimizer(new AdamW(model.parameters(), { lr: 0.01 }), pruner);
    const scaler = new GradScaler();
    const step = compile((x: Tensor, y: Tensor) => {
      scaler.step(optimizer, grad(scaler.scale(mseLoss(model.forward(x), y)), model.parameters()));
      scaler.update();
    });
    const schedule = cubicSparsity({ final: 0.8, steps: 8 });
    for (let i = 0; i < 10; i++) {
      pruner.prune(schedule(i));
      await step(random(4, 6), random(4, 3));
      expect(zerosIn(model.parameters()[0]!).length + zerosIn(model.parameters()[2]!).length).toBe(
        Math.round(schedule(i) * 45),
      );
    }
  });

  test('costs a program one instruction a layer, and no copy of what the step works on', () => {
    const model = new Sequential(new Linear(60, 50), new ReLU(), new Linear(50, 30));
    const adam = new AdamW(model.parameters());
    const pruned = new PrunedOptimizer(adam, new Pruner(model));
    const program = (optimizer: Stepper) =>
      compile((x: Tensor, y: Tensor) =>
        optimizer.step(grad(mseLoss(model.forward(x), y), model.parameters())),
      ).program(random(4, 60), random(4, 30));
    const [plain, masked] = [program(adam), program(pruned)];
    expect(masked.instructions).toBe(plain.instructions + 2);
    expect(masked.memory).toEqual(plain.memory);
  });

  test('training with fake quantization: the integers of pruned weights are 0', () => {
    const qat = prepareQat(new Net());
    const pruner = new Pruner(qat);
    pruner.prune(0.5);
    expect(Object.keys(pruner.stateDict())).toEqual(['first.weight', 'blocks.0.weight', 'last.weight']);
  });
});

/** Gives a model the same values each time, and inputs. */
function fixed(model: Module): { x: Tensor; y: Tensor; before: string } {
  const wave = (shape: readonly number[], at: number) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return tensor(
      Float32Array.from({ length: size }, (_, i) => 0.3 * Math.sin(at + 1.7 * i)),
      { shape },
    );
  };
  for (const [i, p] of model.parameters().entries()) assign(p, wave(p.shape, i));
  return { x: wave([8, 70], 5), y: wave([8, 3], 6), before: bitsOf(model.parameters()[2]!.toArray()) };
}

test('PrunedOptimizer refuses what is no optimizer, no pruner, or one of another model', () => {
  const model = chain();
  const optimizer = new SGD(model.parameters(), { lr: 0.1 });
  const pruner = new Pruner(model);
  for (const make of [
    () => new PrunedOptimizer(pruner as never, optimizer as never),
    () => new PrunedOptimizer(optimizer, undefined as never),
    () => new PrunedOptimizer(optimizer, new Pruner(chain())),
  ]) {
    const { code, message } = refusalOf(make);
    expect(code).toBe('DT_INVALID_ARGUMENT');
    expect(message).toContain('for PrunedOptimizer but received');
  }
});

describe('cubicSparsity', () => {
  test('is Zhu and Gupta’s equation 1', () => {
    const at = cubicSparsity({ initial: 0.1, final: 0.9, begin: 100, steps: 400 });
    const want = {
      0: 0.1,
      100: 0.1,
      200: 0.9 - 0.8 * 0.75 ** 3,
      300: 0.9 - 0.8 * 0.5 ** 3,
      500: 0.9,
      9999: 0.9,
    };
    for (const [step, share] of Object.entries(want)) expect(at(Number(step))).toBeCloseTo(share, 14);
    expect(cubicSparsity({ final: 0.5, steps: 1 })(0)).toBe(0);
  });

  test('only rises where the final share is above the initial one', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 50 }),
        (a, b, steps) => {
          const at = cubicSparsity({ initial: Math.min(a, b), final: Math.max(a, b), steps });
          for (let i = 0; i < steps; i++) expect(at(i + 1)).toBeGreaterThanOrEqual(at(i) - 1e-15);
          expect(at(steps)).toBe(Math.max(a, b));
        },
      ),
    );
  });

  test.each([
    { final: 1.2, steps: 3 },
    { final: 0.5, steps: 0 },
    { final: 0.5, steps: 1.5 },
    { final: 0.5, steps: 2, begin: -1 },
    { final: 0.5, steps: 2, initial: NaN },
    { final: 0.5, steps: 2, end: 3 },
  ])('refuses %o', (options) => {
    expect(refusalOf(() => cubicSparsity(options)).code).toBe('DT_INVALID_ARGUMENT');
  });
});

describe('pruneUnits', () => {
  test('removes the rows that PyTorch’s ln_structured removes, and what followed them', () => {
    const { amount, kept } = pytorch.pruning.rows;
    const model = chain();
    const small = pruneUnits(model, { amount: amount / 7 }) as Sequential;
    const [first, , last] = small.layers as [Linear, Module, Linear];
    expect([first.weight.shape, last.weight.shape]).toEqual([
      [4, 9],
      [5, 4],
    ]);
    const rows = pytorch.pruning.weights[0]!.data;
    expect(numbers(first.weight)).toEqual(kept.flatMap((row) => rows.slice(row * 9, row * 9 + 9)));
    const columns = pytorch.pruning.weights[1]!.data;
    expect(numbers(last.weight)).toEqual(
      Array.from({ length: 5 }, (_, i) => kept.map((column) => columns[i * 7 + column]!)).flat(),
    );
    expect(model.parameters()[0]!.shape).toEqual([7, 9]);
    expect(small.layers[1]).toBe(model.layers[1]);
  });

  test('finds pairs only where they hold wherever their layers stand', () => {
    class Twice extends Module {
      readonly trunk = chain();
      readonly full = new Sequential(this.trunk, new ReLU(), new Linear(5, 3), new ReLU(), new Linear(3, 2));
      forward(x: Tensor): Tensor {
        return this.full.forward(x);
      }
    }
    class Heads extends Module {
      readonly shared = new Linear(7, 6);
      readonly trunk = chain();
      readonly one = new Sequential(this.trunk, new ReLU(), new Linear(5, 2));
      readonly two = new Sequential(this.trunk, new ReLU(), new Linear(5, 4), new ReLU(), this.shared);
      forward(x: Tensor): Tensor {
        return this.one.forward(x);
      }
    }
    const x = random(3, 9);
    const twice = pruneUnits(new Twice(), { amount: 0.5 }) as Twice;
    // Inside of the trunk and behind it, but not from one into the other: the trunk has an output of its own.
    expect(
      twice
        .parameters()
        .filter(({ rank }) => rank === 2)
        .map(({ shape }) => shape),
    ).toEqual([
      [3, 9],
      [5, 3],
      [1, 5],
      [2, 1],
    ]);
    expect([twice.trunk.forward(x).shape, twice.forward(x).shape]).toEqual([
      [3, 5],
      [3, 2],
    ]);
    expect(twice.full.layers[0]).toBe(twice.trunk);
    const heads = pruneUnits(new Heads(), { amount: 0.5 }) as Heads;
    expect(heads.shared.weight.shape).toEqual([6, 7]);
    expect(heads.trunk.parameters()[0]!.shape).toEqual([3, 9]);
    expect(heads.forward(x).shape).toEqual([3, 2]);
    for (const layers of [{ 'layers.0': [] }, { 'layers.0': 'layers.0' }]) {
      expect(refusalOf(() => pruneUnits(chain(), { amount: 0.5, layers })).message).toContain('layers.0');
    }
  });

  test('gives the outputs of the model in which those units are 0', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 20 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        (width, amount) => {
          const model = new Sequential(
            new Linear(6, width),
            new GELU(),
            new Dropout(0.5),
            new Sequential(new Linear(width, 11), new ReLU()),
            new Linear(11, 4, { bias: false }),
          ).eval();
          const [a, , , inner, c] = model.layers as [Linear, Module, Module, Sequential, Linear];
          const small = pruneUnits(model, { amount }) as Sequential;
          const [sa, , , si, sc] = small.layers as [Linear, Module, Module, Sequential, Linear];
          for (const [large, little] of [
            [a, sa],
            [inner.layers[0] as Linear, si.layers[0] as Linear],
          ] as const) {
            const n = large.weight.shape[0]!;
            expect(little.weight.shape[0]).toBe(Math.max(1, n - Math.round(amount * n)));
            zeroRows(large, little.bias!);
          }
          expect(sc.weight.shape).toEqual([4, (si.layers[0] as Linear).weight.shape[0]]);
          expect(c.weight.shape).toEqual([4, 11]);
          const x = random(5, 6);
          // Some twenty terms in another order, in three layers of values of the size of one.
          expectWithin(contentOf(small.forward(x)), numbers(model.forward(x)), 200 * UNIT.f32);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('takes the layers that it is told, in a model of one’s own, which then trains', () => {
    const net = new Net();
    const small = pruneUnits(net, {
      amount: 0.5,
      layers: { first: 'blocks.0', 'blocks.0': ['last'] },
    }) as Net;
    expect(small.first.weight.shape).toEqual([16, 12]);
    expect(small.blocks[0].weight.shape).toEqual([12, 16]);
    expect(small.forward(random(3, 12)).shape).toEqual([3, 4]);
    expect(net.first.weight.shape).toEqual([32, 12]);
    const [x, y] = [random(16, 12), random(16, 4)];
    const optimizer = new AdamW(small.namedParameters(), { lr: 0.01 });
    const run = valueAndGrad(() => mseLoss(small.forward(x), y), small.parameters());
    const before = run().value.item();
    for (let i = 0; i < 30; i++) defaultPool.scope(() => optimizer.step(run().grads));
    expect(run().value.item()).toBeLessThan(before / 2);
  });

  class Shared extends Module {
    a = new Linear(4, 4);
    b = new Linear(3, 2);
    forward(x: Tensor): Tensor {
      return relu(this.a.forward(x));
    }
  }
  const one = new Linear(4, 4);
  test.each<[string, () => unknown, string, string]>([
    ['an amount of 1', () => pruneUnits(chain(), { amount: 1 }), '1', 'DT_INVALID_ARGUMENT'],
    [
      'layers that do not fit',
      () => pruneUnits(new Shared(), { amount: 0.5, layers: { a: 'b' } }),
      '4',
      'DT_SHAPE_MISMATCH',
    ],
    [
      'an unknown layer',
      () => pruneUnits(new Shared(), { amount: 0.5, layers: { c: 'b' } }),
      'c',
      'DT_INVALID_ARGUMENT',
    ],
    [
      'a model whose order it cannot see',
      () => pruneUnits(new Shared(), { amount: 0.5 }),
      'layers',
      'DT_INVALID_ARGUMENT',
    ],
    [
      'a normalisation between',
      () => pruneUnits(new Sequential(new Linear(4, 4), new LayerNorm(4), new Linear(4, 4)), { amount: 0.5 }),
      'layers',
      'DT_INVALID_ARGUMENT',
    ],
    [
      'a layer in two places',
      () => pruneUnits(new Sequential(one, new ReLU(), one), { amount: 0.5 }),
      'layers',
      'DT_INVALID_ARGUMENT',
    ],
  ])('refuses %s', (_, run, part, code) => {
    const refusal = refusalOf(run);
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
  });
});

/** Makes rows 0, with their biases, whose bias is not among those kept. */
function zeroRows(layer: Linear, kept: Tensor): void {
  const [out, width] = layer.weight.shape as [number, number];
  const stays = new Set(numbers(kept));
  const [w, b] = [numbers(layer.weight), numbers(layer.bias!)];
  for (let i = 0; i < out; i++) {
    if (stays.has(b[i]!)) continue;
    b[i] = 0;
    w.fill(0, i * width, (i + 1) * width);
  }
  assign(layer.weight, tensor(Float32Array.from(w), { shape: [out, width] }));
  assign(layer.bias!, tensor(Float32Array.from(b)));
}
