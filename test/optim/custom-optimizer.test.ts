import {
  AdamW,
  add,
  assign,
  type CustomMethod,
  CustomOptimizer,
  cast,
  clone,
  compile,
  defaultPool,
  div,
  GradScaler,
  hyperparameter,
  mul,
  type Operand,
  type ParameterGroupOptions,
  type Parameters,
  SGD,
  sqrt,
  sub,
  type Tensor,
  tensor,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, randomNumbers, refusalOf, UNIT } from '../ops/support.js';
import type { FloatArray } from './support.js';

interface MomentumOptions {
  lr?: number;
  momentum?: number;
  nesterov?: boolean;
}

/** SGD with momentum, as a user would write it. */
class Momentum extends CustomOptimizer<MomentumOptions> {
  constructor(params: Parameters | readonly ParameterGroupOptions<MomentumOptions>[], options: object = {}) {
    super(
      {
        name: 'Momentum',
        options: {
          lr: hyperparameter.nonNegative(0.1),
          momentum: hyperparameter.belowOne(0.9),
          nesterov: hyperparameter.flag(),
        },
        state: [{ name: 'velocity' }],
        update: ({ parameter, gradient, state: { velocity }, options: { lr, momentum, nesterov } }) => {
          const next = add(mul(velocity!, momentum), gradient);
          const direction = nesterov ? add(gradient, mul(next, momentum)) : next;
          return { parameter: sub(parameter, mul(direction, lr)), velocity: next };
        },
      },
      params,
      options,
    );
  }
}

interface RmsOptions {
  lr?: number;
  betas?: readonly [number, number];
}

/** Divides by the root of an average with bias correction, which needs the count of steps and a pair of options. */
const scaledBySteps: CustomMethod<RmsOptions> = {
  name: 'Scaled',
  options: { lr: hyperparameter.nonNegative(0.01), betas: hyperparameter.twoBelowOne(0.9, 0.99) },
  state: [{ name: 'square', initial: 1 }],
  update: ({ parameter, gradient, state: { square }, options: { lr, betas }, step }) => {
    const next = add(mul(square!, betas[1]), mul(mul(gradient, gradient), betas[0]));
    const rate = div(mul(one(lr, parameter), one(lr, parameter)), one(step, parameter));
    return { parameter: sub(parameter, mul(div(gradient, sqrt(next)), rate)), square: next };
  },
};
const one = (operand: Operand, like: Tensor): Tensor =>
  typeof operand === 'number' ? tensor([operand], { dtype: like.dtype }) : operand;

const f32 = (n: number, seed: number) => tensor(Float32Array.from(randomNumbers(n, seed, 'f32')));
const bits = (tensors: readonly Tensor[]) => tensors.map((t) => bitsOf(t.toArray()));
const SIZES = [33, 1, 0, 500];
const params = (seed = 0) => SIZES.map((n, i) => f32(n, seed + i));

describe.each(['Momentum', 'Scaled'])('%s', (name) => {
  const make = (own: Tensor[], options: object = {}) =>
    name === 'Momentum' ? new Momentum(own, options) : new CustomOptimizer(scaledBySteps, own, options);

  test('recorded steps have the bits of eager ones, also where options change in between', () => {
    const [eager, recorded] = [params(), params()];
    const [a, b] = [make(eager), make(recorded)];
    const step = compile((...g: Tensor[]) => b.step(g));
    for (let k = 0; k < 4; k++) {
      for (const { paramGroups } of [a, b]) (paramGroups[0] as { lr: number }).lr = 0.1 / (1 + k);
      const g = params(50 + 10 * k);
      a.step(g);
      step.runSync(...g);
    }
    expect(bits(recorded)).toEqual(bits(eager));
    expect(bits(Object.values(b.stateDict()))).toEqual(bits(Object.values(a.stateDict())));
    expect([a.steps, b.steps]).toEqual([4, 4]);
  });

  test.each([{ maxGradNorm: 1 }, { maxGradValue: 0.2 }, { nonFinite: 'skip' }, { nonFinite: 'zero' }])(
    'has %o, both ways alike',
    (options) => {
      const [eager, recorded] = [params(), params()];
      const [a, b] = [make(eager, options), make(recorded, options)];
      const step = compile((...g: Tensor[]) => b.step(g));
      for (let k = 0; k < 3; k++) {
        const g = params(50 + 10 * k);
        if ('nonFinite' in options && k === 1) {
          for (const [i, value] of [NaN, Infinity, -Infinity].entries())
            (g[3]!.borrow() as Float32Array)[7 * i] = value;
        }
        a.step(g);
        step.runSync(...g);
      }
      expect(bits(recorded)).toEqual(bits(eager));
      expect(b.lastStep).toEqual(a.lastStep);
      const skipped = 'nonFinite' in options && options.nonFinite === 'skip';
      expect([a.steps, b.steps]).toEqual(skipped ? [2, 2] : [3, 3]);
      expect(eager.every((t) => (t.toArray() as FloatArray).every(Number.isFinite))).toBe(true);
    },
  );

  test('leaves no memory behind', () => {
    const optimizer = make(params());
    const g = params(9);
    optimizer.step(g);
    const before = defaultPool.statistics.current;
    for (let k = 0; k < 20; k++) optimizer.step(g);
    expect(defaultPool.statistics.current).toBe(before);
  });
});

test('is what it says: momentum is that of SGD', () => {
  for (const nesterov of [false, true]) {
    const [own, theirs] = [params(), params()];
    const [a, b] = [new Momentum(own, { nesterov }), new SGD(theirs, { lr: 0.1, momentum: 0.9, nesterov })];
    for (let k = 0; k < 5; k++) {
      const g = params(50 + 10 * k);
      a.step(g);
      b.step(g);
    }
    own.forEach((t, i) => {
      const [x, y] = [t.toArray(), theirs[i]!.toArray()] as [Float32Array, Float32Array];
      // Five steps of five roundings each, of numbers below 8.
      for (let j = 0; j < x.length; j++) expect(Math.abs(x[j]! - y[j]!)).toBeLessThan(5 * 5 * 8 * UNIT.f32);
    });
  }
});

test('steps callers’ arrays, in groups with options of their own', () => {
  const [a, b] = [Float32Array.of(1), Float64Array.of(1)];
  const optimizer = new Momentum([{ params: new Map([['a', a]]) }, { params: new Map([['b', b]]), lr: 0.5 }]);
  optimizer.step([Float32Array.of(1), Float64Array.of(1)]);
  expect([a[0], b[0]]).toEqual([Math.fround(0.9), 0.5]);
  expect(Object.keys(optimizer.stateDict())).toEqual(['a.step', 'a.velocity', 'b.step', 'b.velocity']);
});

test('steps bf16 parameters on f32 copies', () => {
  const start = f32(40, 1);
  const half = cast(start, 'bf16');
  const [recorded, wide] = [clone(half), cast(half, 'f32')];
  const [a, b, c] = [new Momentum([half]), new Momentum([recorded]), new Momentum([wide])];
  const step = compile((g: Tensor) => b.step([g]));
  for (let k = 0; k < 5; k++) {
    const g = cast(f32(40, 10 + k), 'bf16');
    a.step([g]);
    step.runSync(g);
    c.step([cast(g, 'f32')]);
  }
  expect(bits([half, recorded])).toEqual(bits([cast(wide, 'bf16'), half]));
});

test('takes scaled gradients', () => {
  const [plain, scaled] = [params(), params()];
  const [a, b] = [new Momentum(plain), new Momentum(scaled)];
  const scaler = new GradScaler({ initScale: 64 });
  const g = params(70);
  a.step(g);
  scaler.step(
    b,
    g.map((t) => mul(t, 64)),
  );
  expect(bits(scaled)).toEqual(bits(plain));
});

test('a state that was saved goes on with the same bits', () => {
  const [straight, resumed] = [params(), params()];
  const [a, b] = [new Momentum(straight), new Momentum(resumed)];
  a.step(params(50));
  for (const [i, t] of resumed.entries()) assign(t, straight[i]!);
  b.loadStateDict(a.stateDict());
  for (const optimizer of [a, b]) optimizer.step(params(60));
  expect(bits(resumed)).toEqual(bits(straight));
});

describe('an update that fails changes nothing', () => {
  const failing = (update: CustomMethod<{ lr?: number }>['update']) => {
    const own = params();
    let calls = 0;
    const optimizer = new CustomOptimizer(
      {
        name: 'Mine',
        options: { lr: hyperparameter.nonNegative(0.1) },
        state: [{ name: 'm' }],
        update: (context) => {
          calls++;
          const { parameter, gradient, state } = context;
          return calls < 3 ? { parameter: sub(parameter, gradient), m: add(state.m!, 1) } : update(context);
        },
      },
      own,
    );
    return { own, optimizer };
  };
  test.each<[string, CustomMethod<{ lr?: number }>['update']]>([
    ['state missing', ({ parameter }) => ({ parameter })],
    ['unknown state', ({ parameter, gradient }) => ({ parameter, m: gradient, v: gradient })],
    [
      'another shape',
      ({ parameter, gradient }) => ({ parameter: tensor([1, 2]), m: gradient, n: parameter }),
    ],
    ['another dtype', ({ parameter, gradient }) => ({ parameter: cast(parameter, 'f64'), m: gradient })],
    ['no tensor', ({ gradient }) => ({ parameter: 1 as never, m: gradient })],
    ['nothing', () => undefined as never],
  ])('%s', (_, update) => {
    const { own, optimizer } = failing(update);
    const before = [bits(own), bits(Object.values(optimizer.stateDict()))];
    const refusal = refusalOf(() => optimizer.step(params(50)));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain('the update of Mine');
    expect([bits(own), bits(Object.values(optimizer.stateDict()))]).toEqual(before);
  });

  test('its own error', () => {
    const { own, optimizer } = failing(() => {
      throw new RangeError('no');
    });
    const before = bits(own);
    expect(() => optimizer.step(params(50))).toThrow(RangeError);
    expect(bits(own)).toEqual(before);
  });
});

test('an update that fails for a later group leaves the first one as it was', () => {
  const [a, b] = [tensor([1]), tensor([1])];
  const optimizer = new CustomOptimizer<{ lr?: number }>(
    {
      name: 'Mine',
      options: { lr: hyperparameter.nonNegative(1) },
      update: ({ name, parameter, gradient, options: { lr } }) => {
        if (name === '1') throw new RangeError('no');
        return { parameter: sub(parameter, mul(gradient, lr)) };
      },
    },
    [{ params: [a] }, { params: [b] }],
  );
  expect(() => optimizer.step([tensor([1]), tensor([1])])).toThrow(RangeError);
  expect([a.item(), b.item()]).toEqual([1, 1]);
  expect(Object.values(optimizer.stateDict()).map((t) => t.item())).toEqual([0, 0]);
});

test.each<[string, object]>([
  ['no name', { name: '' }],
  ['no update', { update: 1 }],
  ['options that are numbers', { options: { lr: 1e-3 } }],
  ['an option with a taken name', { options: { names: hyperparameter.flag() } }],
  ['an option of the whole', { options: { clamp: hyperparameter.flag() } }],
  ['state with a taken name', { state: [{ name: 'master' }] }],
  ['state with a dot', { state: [{ name: 'a.b' }] }],
  ['state twice', { state: [{ name: 'a' }, { name: 'a' }] }],
  ['a misspelt key', { states: [] }],
])('a method with %s is refused', (_, part) => {
  const method = { name: 'Mine', options: {}, update: () => ({}), ...part };
  expect(refusalOf(() => new CustomOptimizer(method as never, [new Float32Array(1)])).code).toBe(
    'DT_INVALID_ARGUMENT',
  );
});

test('flags stay as they were made, since recorded updates saw them', () => {
  const optimizer = new Momentum(params(), { nesterov: true });
  expect(refusalOf(() => (optimizer.paramGroups[0]!.nesterov = false)).code).toBe('DT_INVALID_ARGUMENT');
  expect(new AdamW(params()).paramGroups[0]!.lr).toBe(1e-3);
});
