import * as drivetrain from 'drivetrain';
import {
  add,
  assign,
  compile,
  type DType,
  embedding,
  Generator,
  globalNorm,
  layerNorm,
  linear,
  matmul,
  rmsNorm,
  type Tensor,
  tensor,
  where,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { contentOf, refusalOf } from './support.js';

const { clamp, ones, scaledDotProductAttention, sum, topk, zeros } = drivetrain;
const attend = (options: drivetrain.AttentionOptions) => {
  const x = zeros([2, 2]);
  return scaledDotProductAttention(x, x, x, options);
};

const conv2d = (options: drivetrain.Conv2dOptions) =>
  drivetrain.conv2d(ones([1, 2, 3, 3]), ones([2, 2, 1, 1]), undefined, options);

const UNARY = ['neg', 'abs', 'sign', 'exp', 'log', 'sqrt', 'tanh', 'sigmoid', 'relu', 'gelu'] as const;
const ROWS = ['softmax', 'logSoftmax'] as const;
const REDUCE = ['sum', 'mean', 'max', 'argmax'] as const;
const ARITHMETIC = ['add', 'sub', 'mul', 'div', 'maximum', 'minimum'] as const;
const COMPARISON = ['equal', 'greater', 'less'] as const;

type Fn = (...inputs: Tensor[]) => unknown;
const op = (name: string): Fn => (drivetrain as unknown as Record<string, Fn>)[name]!;

const zero = tensor(0, { dtype: 'u8' });
const column = tensor([[1], [2]], { dtype: 'i8' });
const packed = drivetrain.packInt8(tensor([[1, 2]], { dtype: 'i8' }));

/** Every function of tensors that users call, as one of a single tensor. */
const functions: Record<string, Fn> = {
  ...Object.fromEntries([...UNARY, ...ROWS, ...REDUCE].map((name) => [name, op(name)])),
  ...Object.fromEntries(
    [...ARITHMETIC, ...COMPARISON].map((name) => [name, (x: Tensor) => op(name)(x, tensor([1, 2]))]),
  ),
  ...Object.fromEntries(
    [...ARITHMETIC, ...COMPARISON].map((name) => [
      `${name}, second operand`,
      (x: Tensor) => op(name)(tensor([1, 2]), x),
    ]),
  ),
  where: (x) => where(tensor([1, 0], { dtype: 'bool' }), x, 0),
  'where, condition': (x) => where(x, 1, 0),
  cast: (x) => drivetrain.cast(x, 'f64'),
  clone: (x) => drivetrain.clone(x),
  contiguous: (x) => drivetrain.contiguous(x),
  assign: (x) => assign(x, tensor([1, 2])),
  'assign, source': (x) => assign(tensor([1, 2]), x),
  reshape: (x) => drivetrain.reshape(x, [2, 1]),
  permute: (x) => drivetrain.permute(x, [0]),
  transpose: (x) => drivetrain.transpose(x, 0, 0),
  broadcastTo: (x) => drivetrain.broadcastTo(x, [3, 2]),
  slice: (x) => drivetrain.slice(x, 0, 0, 1),
  matmul: (x) => matmul(x, tensor([[1, 2]])),
  'matmul, second operand': (x) => matmul(tensor([[1, 2]]), x),
  linear: (x) => linear(x, tensor([[1, 2]])),
  'linear, weight': (x) => linear(tensor([1, 2]), x),
  'linear, bias': (x) => linear(tensor([1]), tensor([[1], [2]]), x),
  layerNorm: (x) => layerNorm(x, tensor([1, 1]), tensor([0, 0])),
  'layerNorm, gamma': (x) => layerNorm(tensor([1, 2]), x, tensor([0, 0])),
  rmsNorm: (x) => rmsNorm(x, tensor([1, 1])),
  'rmsNorm, weight': (x) => rmsNorm(tensor([1, 2]), x),
  clamp: (x) => drivetrain.clamp(x, { min: 0 }),
  pow: (x) => drivetrain.pow(x, 2),
  topk: (x) => drivetrain.topk(x, 1),
  concat: (x) => drivetrain.concat([tensor([1]), x]),
  stack: (x) => drivetrain.stack([x]),
  norms: (x) => drivetrain.norms([x]),
  mseLoss: (x) => drivetrain.mseLoss(x, tensor([1, 2])),
  'mseLoss, target': (x) => drivetrain.mseLoss(tensor([1, 2]), x),
  conv2d: (x) => drivetrain.conv2d(x, zeros([1, 1, 1, 1])),
  'conv2d, weight': (x) => drivetrain.conv2d(zeros([1, 2, 1, 1]), x),
  'conv2d, bias': (x) => drivetrain.conv2d(zeros([1, 2, 1, 1]), zeros([2, 2, 1, 1]), x),
  conv1d: (x) => drivetrain.conv1d(x, zeros([1, 1, 1])),
  'conv1d, weight': (x) => drivetrain.conv1d(zeros([1, 2, 1]), x),
  'conv1d, bias': (x) => drivetrain.conv1d(zeros([1, 2, 1]), zeros([2, 2, 1]), x),
  maxPool2d: (x) => drivetrain.maxPool2d(x, 1),
  maxPool1d: (x) => drivetrain.maxPool1d(x, 1),
  avgPool2d: (x) => drivetrain.avgPool2d(x, 1),
  avgPool1d: (x) => drivetrain.avgPool1d(x, 1),
  adaptiveAvgPool2d: (x) => drivetrain.adaptiveAvgPool2d(x, 1),
  batchNorm: (x) => drivetrain.batchNorm(x, ones([1]), ones([1])),
  'batchNorm, gamma': (x) => drivetrain.batchNorm(zeros([2, 2]), x, zeros([2])),
  'batchNorm, beta': (x) => drivetrain.batchNorm(zeros([2, 2]), zeros([2]), x),
  normaliseBy: (x) =>
    drivetrain.normaliseBy(x, zeros([2]), zeros([2]), { mean: zeros([2]), variance: ones([2]) }),
  l1Loss: (x) => drivetrain.l1Loss(x, tensor([1, 2])),
  huberLoss: (x) => drivetrain.huberLoss(tensor([1, 2]), x),
  smoothL1Loss: (x) => drivetrain.smoothL1Loss(x, tensor([1, 2])),
  bceWithLogits: (x) => drivetrain.bceWithLogits(x, tensor([1, 2])),
  klDiv: (x) => drivetrain.klDiv(x, tensor([1, 2])),
  cosineSimilarity: (x) => drivetrain.cosineSimilarity(x, tensor([1, 2])),
  'cosineEmbeddingLoss, target': (x) => drivetrain.cosineEmbeddingLoss(zeros([2, 3]), zeros([2, 3]), x),
  embedding: (x) => embedding(x, tensor([0], { dtype: 'i32' })),
  'embedding, indices': (x) => embedding(tensor([[1]]), x),
  globalNorm: (x) => globalNorm([tensor([1]), x]),
  dropout: (x) => drivetrain.dropout(x, tensor(0.5, { dtype: 'f64' }), new Generator(0)),
  quantizeRows: (x) => drivetrain.quantizeRows(x),
  dequantizeRows: (x) => drivetrain.dequantizeRows(x, tensor(1)),
  quantizeLinear: (x) => drivetrain.quantizeLinear(x, tensor(1), zero),
  packInt8: (x) => drivetrain.packInt8(x),
  matmulInteger: (x) => drivetrain.matmulInteger(x, packed),
  matmulInt8: (x) => drivetrain.matmulInt8(x, tensor(1), packed, tensor(1)),
  'matmulInt8, scale': (x) => drivetrain.matmulInt8(column, x, drivetrain.packInt8(column), tensor(1)),
  linearInt8: (x) => drivetrain.linearInt8(x, packed, tensor(1)),
};

/** May be left out. */
const optional = ['linear, bias', 'conv2d, bias', 'conv1d, bias'];
/** Gives its argument back as it is. */
const untouched = ['contiguous'];

describe.each(Object.entries(functions))('%s', (name, fn) => {
  test.each<[string, unknown, string]>([
    ...(optional.includes(name) ? [] : [['nothing', undefined, 'undefined'] as [string, unknown, string]]),
    ['a typed array', new Float32Array(2), 'wrap(array)'],
    ['a plain array', [1, 2], 'tensor(array)'],
    ['a promise', Promise.resolve(), 'await it'],
    ['null', null, 'object'],
    ['text', '1', 'string'],
  ])('refuses %s and says so', (_kind, value, hint) => {
    const refusal = refusalOf(() => fn(value as unknown as Tensor));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toMatch(/^Expected a Tensor for \w+ but received/);
    expect(refusal.message).toContain(hint);
  });

  if (untouched.includes(name)) return;

  test('refuses what was disposed, and names its shape', () => {
    // Of a dtype and shape that would do.
    const kinds: [drivetrain.NestedNumbers, DType][] = [
      [[1, 2], 'f32'],
      [[1, 0], 'bool'],
      [[[1, 2]], 'f32'],
      [[[1], [2]], 'f32'],
      [[0], 'i32'],
      [[1, 2], 'i8'],
      [[[1, 2]], 'i8'],
      [[[[1, 2]]], 'f32'],
      [[[[1], [2]]], 'f32'],
      [[[[[1, 2]]]], 'f32'],
      [[[[[1]], [[2]]]], 'f32'],
      [[[1], [2]], 'f32'],
    ];
    const gone = kinds
      .map(([data, dtype]) => tensor(data, { dtype }))
      .filter((t) => {
        try {
          fn(t);
        } catch {
          return false;
        }
        return true;
      });
    expect(gone.length).toBeGreaterThan(0);
    for (const t of gone) {
      t.dispose();
      const refusal = refusalOf(() => fn(t));
      expect(refusal.code).toBe('DT_DISPOSED');
      expect(refusal.message).toContain(`[${t.shape.join(', ')}]`);
    }
  });
});

describe.each([...UNARY, ...ROWS, ...REDUCE, ...ARITHMETIC])('%s', (name) => {
  test.each(['i64', 'i32', 'i8', 'u8', 'bool', 'f16', 'bf16'] as const)(
    'refuses %s and names it',
    (dtype) => {
      const x = tensor([1, 0], { dtype });
      const refusal = refusalOf(() => op(name)(x, x));
      expect(refusal.code).toBe('DT_DTYPE_MISMATCH');
      expect(refusal.message).toContain(`f32 or f64 for ${name} but received ${dtype}`);
    },
  );
});

describe.each([...ARITHMETIC, ...COMPARISON])('%s', (name) => {
  test('refuses two dtypes: nothing is promoted', () => {
    const refusal = refusalOf(() => op(name)(tensor([1]), tensor([1], { dtype: 'f64' })));
    expect(refusal.code).toBe('DT_DTYPE_MISMATCH');
    expect(refusal.message).toContain('f32 and f64');
  });

  test('refuses shapes that do not broadcast, and names both', () => {
    const refusal = refusalOf(() => op(name)(tensor([1, 2, 3]), tensor([1, 2])));
    expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
    expect(refusal.message).toContain('[3] and [2]');
  });
});

const x = () => zeros([2, 2]);
const misspelt = { shpae: [1], dtyp: 'f64', generater: 1 } as never;

test.each<[string, () => unknown]>([
  ['tensor', () => tensor([1], misspelt)],
  ['wrap', () => drivetrain.wrap(new Float32Array(1), [1], misspelt)],
  ['full', () => drivetrain.full([1], 1, misspelt)],
  ['zeros', () => zeros([1], misspelt)],
  ['ones', () => ones([1], misspelt)],
  ['arange', () => drivetrain.arange(1, misspelt)],
  ['rand', () => drivetrain.rand([1], misspelt)],
  ['randn', () => drivetrain.randn([1], misspelt)],
  ['matmul', () => matmul(x(), x(), misspelt)],
  ['matmulInteger', () => drivetrain.matmulInteger(column, packed, misspelt)],
  ['matmulInt8', () => drivetrain.matmulInt8(column, tensor(1), packed, tensor(1), undefined, misspelt)],
  [
    'qlinearMatmul',
    () => drivetrain.qlinearMatmul(column, tensor(1), packed, tensor(1), tensor(1), zero, misspelt),
  ],
  ['Linear', () => new drivetrain.Linear(1, 1, misspelt)],
  ['Embedding', () => new drivetrain.Embedding(1, 1, misspelt)],
  ['LayerNorm', () => new drivetrain.LayerNorm(1, misspelt)],
  ['RMSNorm', () => new drivetrain.RMSNorm(1, misspelt)],
  ['Dropout', () => new drivetrain.Dropout(0.5, misspelt)],
  ['MemoryPool', () => new drivetrain.MemoryPool(misspelt)],
  ['Batcher', () => new drivetrain.Batcher(async (batch) => batch, misspelt)],
  ['CheckpointManager', () => new drivetrain.CheckpointManager('.', misspelt)],
  [
    'best of CheckpointManager',
    () => new drivetrain.CheckpointManager('.', { best: { metric: 'loss', ...(misspelt as object) } }),
  ],
])('misspelt options of %s are refused by name', (name, run) => {
  const refusal = refusalOf(run);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toMatch(/^Expected \{ \w+(, \w+)* \} as options of /);
  expect(refusal.message).toContain(`options of ${name} but received shpae, dtyp, generater.`);
});

test.each<[string, unknown]>([
  ['nothing', undefined],
  ['one tensor', zeros([1])],
  ['a number', [1]],
])('grad with respect to %s is refused', (_, parameters) => {
  const refusal = refusalOf(() =>
    compile((y: Tensor) => drivetrain.grad(sum(y), parameters as Tensor[])).program(zeros([2])),
  );
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain('grad');
});

describe('a refused write changes nothing:', () => {
  test.each<[string, string, (target: Tensor) => unknown]>([
    ['assign of another shape', 'DT_SHAPE_MISMATCH', (t) => assign(t, tensor([1, 2, 3]))],
    ['assign of another dtype', 'DT_DTYPE_MISMATCH', (t) => assign(t, tensor([1, 2], { dtype: 'f64' }))],
  ])('%s', (_, code, write) => {
    const target = tensor([7, 8]);
    expect(refusalOf(() => write(target)).code).toBe(code);
    expect(contentOf(target).data).toEqual(Float32Array.of(7, 8));
  });

  test('assign to a frozen tensor', () => {
    const target = tensor([7, 8]);
    target.storage.frozen = true;
    expect(refusalOf(() => assign(target, tensor([1, 2]))).code).toBe('DT_FROZEN');
    expect(refusalOf(() => compile(() => assign(target, tensor([1, 2]))).program()).code).toBe('DT_FROZEN');
    expect(contentOf(target).data).toEqual(Float32Array.of(7, 8));
  });
});

describe('inside compile', () => {
  test('errors are the same, when the function is recorded', () => {
    const refusal = refusalOf(() =>
      compile((x: Tensor) => add(x, tensor([1, 2, 3]))).program(tensor([1, 2])),
    );
    expect(refusal.code).toBe('DT_SHAPE_MISMATCH');
  });

  test.each<[string, (x: Tensor) => unknown]>([
    ['item()', (x) => x.viewAs([]).item()],
    ['toArray()', (x) => x.toArray()],
    ['borrow()', (x) => x.borrow()],
    ['toJSON()', (x) => JSON.stringify(x)],
  ])('%s says that values are not known yet', (_, look) => {
    const refusal = refusalOf(() =>
      compile((x: Tensor) => {
        look(x);
        return x;
      }).program(tensor([1])),
    );
    expect(refusal.code).toBe('DT_SYMBOLIC_VALUE');
  });

  test('a symbolic tensor that got out is refused by eager calls', () => {
    let leaked: Tensor | undefined;
    compile((x: Tensor) => {
      leaked = x;
      return x;
    }).program(tensor([1]));
    expect(refusalOf(() => add(leaked!, 1)).code).toBe('DT_SYMBOLIC_VALUE');
  });
});

test.each<[string, () => unknown]>([
  ['conv2d', () => conv2d({ strides: 2 } as never)],
  ['conv2d', () => conv2d({ stride: 0 })],
  ['conv2d', () => conv2d({ stride: [1, 2, 3] as never })],
  ['conv2d', () => conv2d({ padding: -1 })],
  ['conv2d', () => conv2d({ padding: 'same' as never })],
  ['conv2d', () => conv2d({ dilation: 1.5 })],
  [
    'conv1d',
    () => drivetrain.conv1d(ones([1, 1, 3]), ones([1, 1, 1]), undefined, { stride: [1, 2] as never }),
  ],
  ['maxPool2d', () => drivetrain.maxPool2d(ones([3, 3]), 2, { ceilMode: true } as never)],
  ['maxPool2d', () => drivetrain.maxPool2d(ones([3, 3]), 0)],
  ['maxPool2d', () => drivetrain.maxPool2d(ones([3, 3]), 2, { padding: 2 })],
  ['avgPool2d', () => drivetrain.avgPool2d(ones([3, 3]), 2, { dilation: 2 } as never)],
  ['avgPool1d', () => drivetrain.avgPool1d(ones([3]), [1, 2] as never)],
  ['adaptiveAvgPool2d', () => drivetrain.adaptiveAvgPool2d(ones([3, 3]), 0)],
  ['batchNorm', () => drivetrain.batchNorm(ones([3, 3]), ones([3]), ones([3]), -1)],
  ['topk', () => topk(zeros([3]), 1, { dim: 0 } as never)],
  ['clamp', () => clamp(zeros([3]), 0 as never)],
  ['sum', () => sum(zeros([3]), { keepdims: true } as never)],
  ['sum', () => sum(zeros([3]), null as never)],
  ['rmsNorm', () => rmsNorm(zeros([3]), ones([3]), { eps: -1 })],
  ['rmsNorm', () => rmsNorm(zeros([3]), ones([3]), 1 as never)],
  ['layerNorm', () => layerNorm(zeros([3]), ones([3]), ones([3]), NaN)],
  ['scaledDotProductAttention', () => attend({ causal: true } as never)],
  ['scaledDotProductAttention', () => attend({ scale: NaN })],
  ['scaledDotProductAttention', () => attend(zeros([2, 2], { dtype: 'bool' }) as never)],
])('%s refuses options that it does not have, or of another kind', (operation, run) => {
  const refusal = refusalOf(run);
  expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
  expect(refusal.message).toContain(operation);
});
