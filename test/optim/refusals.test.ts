import { inspect } from 'node:util';
import { AdamW, compile, Linear, SGD, slice, type Tensor, tensor, transpose, zeros } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { binding } from '../../dist/native/index.js';
import type { SharedStorage } from '../../dist/tensor/index.js';
import { bitsOf, refusalOf, rejectionOf } from '../ops/support.js';
import { FULL, NAMES, OPTIMIZERS } from './support.js';

const weights = () => Float32Array.of(1, 2, 3);

describe('hyperparameters', () => {
  const bad: [string, unknown[]][] = [
    ['lr', [NaN, -1, Infinity, '0.1', true, null]],
    ['weightDecay', [NaN, -0.1, 1.5, Infinity]],
    ['maximize', [NaN, 1, 'yes']],
  ];
  const adamOnly: typeof bad = [
    ['betas', [0.9, [0.9], [0.9, 0.9, 0.9], [NaN, 0.9], [1, 0.9], [0.9, 1], [0.9, -0.1], ['0.9', 0.9]]],
    ['eps', [NaN, -1e-8]],
  ];
  const sgdOnly: typeof bad = [
    ['momentum', [NaN, 1, -0.5]],
    ['dampening', [NaN, -1, 1.5]],
    ['nesterov', [0.5, 1]],
  ];
  const cases = [
    ...[...bad, ...adamOnly].flatMap(([key, values]) =>
      values.map((value) => ['AdamW', key, value] as const),
    ),
    ...[...bad, ...sgdOnly].flatMap(([key, values]) => values.map((value) => ['SGD', key, value] as const)),
  ];
  const make = (name: string, options: object) =>
    name === 'SGD' ? new SGD([weights()], { lr: 0.1, ...options }) : new AdamW([weights()], options);

  test.each(cases)('%s refuses %s of %s, when it is made, in a group and later', (name, key, value) => {
    const inGroup = () =>
      name === 'SGD'
        ? new SGD([{ params: [weights()], [key]: value }], { lr: 0.1 })
        : new AdamW([{ params: [weights()], [key]: value }]);
    const optimizer = make(name, {});
    const group = optimizer.paramGroups[0] as unknown as Record<string, unknown>;
    const before = group[key];
    const later = () => {
      group[key] = value;
    };
    for (const run of [() => make(name, { [key]: value }), inGroup, later]) {
      const refusal = refusalOf(run);
      expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
      expect(refusal.message).toContain(`for ${key} of ${name} but received ${inspect(value)}`);
    }
    expect(group[key]).toEqual(before);
  });

  test.each([
    ['AdamW', 'lr, betas, eps, weightDecay, maximize, amsgrad', 'learningRate'],
    ['AdamW', 'lr, betas, eps, weightDecay, maximize, amsgrad', 'params'],
    ['SGD', 'lr, momentum, dampening, weightDecay, nesterov, maximize', 'betas'],
  ])('%s knows %s, and refuses %s', (name, known, key) => {
    const refusal = refusalOf(() => make(name, { [key]: [0.5, 0.5] }));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    const whole = 'maxGradNorm, maxGradValue, nonFinite, maxMagnitude, maxParameters, clamp';
    expect(refusal.message).toBe(`Expected ${known}, ${whole} as options of ${name} but received ${key}.`);
  });

  test('a misspelt option is told what it may have been', () => {
    expect(refusalOf(() => make('AdamW', { weigthDecay: 0.1 })).message).toMatch(
      /weigthDecay; perhaps weightDecay was meant\.$/,
    );
  });

  test('a model, or one without parameters, is told what to pass', () => {
    const model = new Linear(2, 1);
    expect(refusalOf(() => new AdamW(model as never)).message).toMatch(
      /received a model; pass model\.parameters\(\)\.$/,
    );
    const frozen = new Linear(2, 1).freeze();
    expect(refusalOf(() => new AdamW(frozen.parameters())).message).toMatch(
      /received an array of 0; .* none that are frozen/,
    );
  });

  test('a group may have parameters as well, and nothing else', () => {
    const group = { params: [weights()], learningRate: 0.1 };
    const refusal = refusalOf(() => new AdamW([{ params: [weights()] }, group]));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toBe(
      'Expected params, lr, betas, eps, weightDecay, maximize, amsgrad as options of a group of AdamW but received learningRate.',
    );
  });

  test('a number in the place of the options is refused', () => {
    expect(refusalOf(() => new AdamW([weights()], 0.1 as never)).code).toBe('DT_INVALID_ARGUMENT');
  });

  test('a group takes no property that it does not know', () => {
    const group = new AdamW([weights()]).paramGroups[0] as unknown as Record<string, unknown>;
    expect(() => {
      group.learningRate = 0.1;
    }).toThrow(TypeError);
  });

  test('nesterov needs momentum and no dampening', () => {
    for (const options of [{ nesterov: true }, { nesterov: true, momentum: 0.9, dampening: 0.1 }]) {
      expect(refusalOf(() => make('SGD', options)).code).toBe('DT_INVALID_ARGUMENT');
      const group = { params: [weights()], ...options };
      expect(refusalOf(() => new SGD([group], { lr: 0.1 })).code).toBe('DT_INVALID_ARGUMENT');
    }
  });

  test('SGD has no learning rate of its own', () => {
    expect(refusalOf(() => new SGD([weights()], {} as never)).message).toContain('lr of SGD');
    expect(refusalOf(() => new SGD([weights()], undefined as never)).message).toContain('lr of SGD');
  });
});

describe('parameters', () => {
  test.each<[string, string, () => unknown]>([
    ['none', 'DT_INVALID_ARGUMENT', () => new AdamW([])],
    ['no array', 'DT_INVALID_ARGUMENT', () => new AdamW(weights() as never)],
    ['a group without any', 'DT_INVALID_ARGUMENT', () => new AdamW([{ params: [] }])],
    [
      'groups and parameters mixed',
      'DT_INVALID_ARGUMENT',
      () => new AdamW([{ params: [weights()] }, weights()] as never),
    ],
    ['plain arrays', 'DT_DTYPE_MISMATCH', () => new AdamW([[1, 2]] as never)],
    ['integers', 'DT_DTYPE_MISMATCH', () => new AdamW([new Int32Array(2)] as never)],
    ['a strided tensor', 'DT_DTYPE_MISMATCH', () => new AdamW([transpose(zeros([2, 3]))])],
    ['two dtypes in a group', 'DT_DTYPE_MISMATCH', () => new AdamW([weights(), new Float64Array(2)])],
  ])('of %s are refused', (_, code, run) => {
    expect(refusalOf(run).code).toBe(code);
  });
});

/** Two groups that have stepped once, and all that a step may change. */
function stepped(name: string) {
  const params = [
    tensor([
      [1, 2],
      [3, 4],
    ]),
    tensor([5, 6, 7]),
  ];
  const groups = params.map((p) => ({ params: [p] }));
  const optimizer = OPTIMIZERS[name]!(groups, FULL[name]);
  optimizer.step([
    tensor([
      [1, 1],
      [1, 1],
    ]),
    tensor([1, 1, 1]),
  ]);
  const bits = () => [...params, ...Object.values(optimizer.stateDict())].map((t) => bitsOf(t.toArray()));
  return { optimizer, params, bits };
}

describe.each(NAMES)('a step of %s that is refused changes no parameter, state or count:', (name) => {
  const good = () =>
    tensor([
      [1, 1],
      [1, 1],
    ]);
  const disposed = () => {
    const t = tensor([1, 1, 1]);
    t.dispose();
    return t;
  };
  const cases: [string, string, () => unknown][] = [
    ['too few gradients', 'DT_SHAPE_MISMATCH', () => [good()]],
    ['too many gradients', 'DT_SHAPE_MISMATCH', () => [good(), tensor([1, 1, 1]), good()]],
    ['no array', 'DT_SHAPE_MISMATCH', () => undefined],
    ['another shape', 'DT_SHAPE_MISMATCH', () => [good(), tensor([1, 1])]],
    [
      'the right length in another shape',
      'DT_SHAPE_MISMATCH',
      () => [tensor([1, 1, 1, 1]), tensor([1, 1, 1])],
    ],
    ['an array of another length', 'DT_SHAPE_MISMATCH', () => [good(), new Float32Array(4)]],
    ['another dtype', 'DT_DTYPE_MISMATCH', () => [good(), new Float64Array(3)]],
    ['a plain array', 'DT_INVALID_ARGUMENT', () => [good(), [1, 1, 1]]],
    ['nothing for one', 'DT_INVALID_ARGUMENT', () => [good(), undefined]],
    ['a disposed gradient', 'DT_DISPOSED', () => [good(), disposed()]],
  ];
  test.each(cases)('%s', (_, code, gradients) => {
    const { optimizer, bits } = stepped(name);
    const before = bits();
    expect(refusalOf(() => optimizer.step(gradients() as Tensor[])).code).toBe(code);
    expect(bits()).toEqual(before);
    expect(optimizer.steps).toBe(1);
  });

  test('a parameter of the second group in use by a run', () => {
    const { optimizer, params, bits } = stepped(name);
    const before = bits();
    const { handle } = params[1]!.storage as SharedStorage;
    expect(binding.lock(handle, true)).toBe(true);
    try {
      expect(refusalOf(() => optimizer.step([good(), tensor([1, 1, 1])])).code).toBe('DT_TENSOR_BUSY');
    } finally {
      binding.unlock(handle, true);
    }
    expect(bits()).toEqual(before);
  });

  test('a frozen parameter of the second group', () => {
    const { optimizer, params, bits } = stepped(name);
    const before = bits();
    params[1]!.storage.frozen = true;
    expect(refusalOf(() => optimizer.step([good(), tensor([1, 1, 1])])).code).toBe('DT_FROZEN');
    expect(bits()).toEqual(before);
  });

  test('a recorded step on callers’ arrays, awaited', async () => {
    const array = weights();
    const optimizer = OPTIMIZERS[name]!([array]);
    const step = compile((g: Tensor) => optimizer.step([g]));
    expect((await rejectionOf(step(tensor([1, 1, 1])))).code).toBe('DT_NOT_SHARED');
    expect([...array]).toEqual([1, 2, 3]);
    expect(optimizer.steps).toBe(0);
  });
});

test('a strided gradient is taken for what it holds', () => {
  const [a, b] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(1, 2, 3, 4)];
  const make = (array: Float32Array) => new SGD([tensor(array, { shape: [2, 2] })], { lr: 1 });
  const [first, second] = [make(a), make(b)];
  first.step([
    transpose(
      tensor([
        [1, 2],
        [3, 4],
      ]),
    ),
  ]);
  second.step([
    tensor([
      [1, 3],
      [2, 4],
    ]),
  ]);
  expect(first.paramGroups[0]!.params[0]!.toArray()).toEqual(second.paramGroups[0]!.params[0]!.toArray());
});

test('parameters that have elements in common are refused', () => {
  const array = new Float32Array(8);
  const pooled = zeros([8]);
  const parts = (first: number, second: number) =>
    [first, second].map((begin) => array.subarray(begin, begin + 4));
  const slices = (first: number, second: number) =>
    [first, second].map((begin) => slice(pooled, 0, begin, begin + 4));
  const twice: (readonly (Tensor | Float32Array)[])[] = [
    [array, array],
    [pooled, pooled],
    parts(0, 3),
    parts(4, 1),
    slices(0, 3),
  ];
  for (const params of twice) {
    const refusal = refusalOf(() => new AdamW(params));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain('elements in common');
  }
  for (const params of [parts(0, 4), slices(4, 0), [new Float32Array(0), new Float32Array(0)]]) {
    expect(new AdamW(params).paramGroups).toHaveLength(1);
  }
});

test('options that the state depends on stay as the group was made with', () => {
  const cases: [string, string, unknown, unknown][] = [
    ['AdamW', 'amsgrad', false, true],
    ['Adam', 'amsgrad', true, false],
    ['RMSprop', 'centered', false, true],
    ['RMSprop', 'momentum', 0, 0.5],
    ['RMSprop', 'momentum', 0.5, 0],
    ['Adagrad', 'initialAccumulatorValue', 0.5, 0.25],
  ];
  for (const [name, key, first, later] of cases) {
    const optimizer = OPTIMIZERS[name]!([weights()], { [key]: first });
    const group = optimizer.paramGroups[0] as unknown as Record<string, unknown>;
    const refusal = refusalOf(() => {
      group[key] = later;
    });
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(`${key} of ${name} to stay`);
    group[key] = first;
    expect(group[key]).toBe(first);
  }
  const momentum = OPTIMIZERS.RMSprop!([weights()], { momentum: 0.5 }).paramGroups[0] as unknown as {
    momentum: number;
  };
  momentum.momentum = 0.75;
  expect(momentum.momentum).toBe(0.75);
});

describe('names', () => {
  test.each<[string, () => unknown]>([
    ['an empty one', () => new AdamW(new Map([['', weights()]]))],
    ['one that is no text', () => new AdamW(new Map([[1, weights()]]) as never)],
    [
      'the same in two groups',
      () => new AdamW([{ params: new Map([['w', weights()]]) }, { params: new Map([['w', weights()]]) }]),
    ],
    [
      'a position that is taken',
      () => new AdamW([{ params: new Map([['1', weights()]]) }, { params: [weights()] }]),
    ],
    ['none, for no parameters', () => new AdamW(new Map())],
  ])('%s are refused', (_, run) => {
    expect(refusalOf(run).code).toBe('DT_INVALID_ARGUMENT');
  });
});
