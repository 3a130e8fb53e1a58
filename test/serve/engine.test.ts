import { describe, expect, test } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { createListener, Engine, type ModelDefinition, serve } from '../../dist/serve/index.js';
import { type Tensor, wrap } from '../../dist/tensor/index.js';
import { refusalOf, rejectionOf } from '../ops/support.js';
import { doubler, sumAndProduct } from './support.js';

const engineOf = (...models: ModelDefinition[]) => {
  const engine = new Engine({ registry: new Registry() });
  for (const model of models) engine.add(model);
  return engine;
};

const values = (tensor: Tensor) => [...(tensor.toArray() as Float32Array)];

describe('inference in the process', () => {
  test('takes and gives tensors by name', async () => {
    const engine = engineOf(doubler, sumAndProduct);
    const [{ y }, { sum, product }] = (await Promise.all([
      engine.infer('doubler', { x: wrap(Float32Array.of(1, 2), [1, 2]) }),
      engine.infer('sum_and_product', { b: wrap(Float64Array.of(3)), a: wrap(Float64Array.of(2)) }),
    ])) as Record<string, Tensor>[] as [Record<string, Tensor>, Record<string, Tensor>];
    expect([values(y!), values(sum!), values(product!)]).toEqual([[2, 4], [5], [6]]);
  });

  test('goes to the version that is named', async () => {
    const triple = {
      ...doubler,
      version: '3',
      predict: async (x: Tensor) =>
        wrap(
          Float32Array.from(x.toArray() as Float32Array, (v) => v * 3),
          x.shape,
        ),
    };
    const engine = engineOf(triple, doubler);
    const x = wrap(Float32Array.of(1, 2), [1, 2]);
    expect(values((await engine.infer('doubler', { x })).y!)).toEqual([3, 6]);
    expect(values((await engine.infer('doubler', { x }, { version: '1' })).y!)).toEqual([2, 4]);
  });

  test.each<[string, Record<string, unknown>]>([
    ['an unknown input', { x: wrap(new Float32Array(2), [1, 2]), z: wrap(new Float32Array(2)) }],
    ['a missing input', {}],
    ['no tensor', { x: new Float32Array(2) }],
    ['another dtype', { x: wrap(new Float64Array(2), [1, 2]) }],
    ['another shape', { x: wrap(new Float32Array(2), [2]) }],
  ])('refuses %s', async (_, inputs) => {
    await expect(engineOf(doubler).infer('doubler', inputs as never)).rejects.toMatchObject({
      code: 'DT_INVALID_REQUEST',
    });
  });

  test('refuses an unknown model', async () => {
    await expect(engineOf().infer('nobody', {})).rejects.toMatchObject({ code: 'DT_NOT_FOUND' });
  });

  test('ends with an AbortSignal', async () => {
    const x = wrap(new Float32Array(2), [1, 2]);
    await expect(
      engineOf(doubler).infer('doubler', { x }, { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({
      code: 'DT_ABORTED',
    });
  });

  test('is refused once the engine is closed, and so are models', async () => {
    const engine = engineOf(doubler);
    await engine.close();
    expect(engine.ready).toBe(false);
    const x = wrap(new Float32Array(2), [1, 2]);
    await expect(engine.infer('doubler', { x })).rejects.toMatchObject({ code: 'DT_CLOSED' });
    expect(() => engine.add(sumAndProduct)).toThrow(expect.objectContaining({ code: 'DT_CLOSED' }));
  });
});

test('outputs of a model without a batcher are copied, and then disposed', async () => {
  let disposed = 0;
  const output = wrap(Float32Array.of(1));
  output.storage.dispose = () => {
    disposed++;
  };
  const spec = { datatype: 'FP32', shape: [1] } as const;
  const engine = engineOf({
    name: 'constant',
    inputs: [{ name: 'a', ...spec }],
    outputs: [
      { name: 'b', ...spec },
      { name: 'c', ...spec },
    ],
    predict: async () => [output, output],
  });
  const answer = await engine.infer('constant', { a: wrap(new Float32Array(1)) });
  expect([values(answer.b!), values(answer.c!), disposed]).toEqual([[1], [1], 2]);
  expect(answer.b!.borrow().buffer).not.toBe(output.borrow().buffer);
});

describe('a definition is refused', () => {
  const tensor = (more: object) => [{ name: 'x', datatype: 'FP32', shape: [-1, 2], ...more }];

  test.each<[string, object]>([
    ['with a name that is no part of an address', { name: 'a/b' }],
    ['without a name', { name: undefined }],
    ['with a version that is no number', { version: 'v1' }],
    ['with a version that begins with 0', { version: '01' }],
    ['without predict', { predict: undefined }],
    ['without inputs', { inputs: [] }],
    ['without outputs', { outputs: undefined }],
    ['with two inputs of one name', { inputs: [...tensor({}), ...tensor({})] }],
    ['with a datatype that we have not', { inputs: tensor({ datatype: 'UINT16' }) }],
    ['with a dimension of 0', { inputs: tensor({ shape: [0, 2] }) }],
    ['with a dimension of -2', { inputs: tensor({ shape: [-2] }) }],
    ['with nine dimensions', { inputs: tensor({ shape: new Array(9).fill(1) }) }],
    ['with batching and a first dimension that is fixed', { inputs: tensor({ shape: [2] }), batching: {} }],
    ['with batching and two inputs', { inputs: [...tensor({}), ...tensor({ name: 'z' })], batching: {} }],
    ['with batching options that are wrong', { batching: { maxBatchSize: 0 } }],
  ])('%s', (_, more) => {
    expect(() => engineOf({ ...doubler, ...more } as never)).toThrow(
      expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }),
    );
  });

  test('when its version is there already', () => {
    expect(() => engineOf(doubler, doubler)).toThrow(
      expect.objectContaining({ code: 'DT_INVALID_ARGUMENT' }),
    );
  });
});

test('misspelt options, and ports that are none, are refused', async () => {
  const engine = new Engine({ registry: new Registry() });
  const spec = [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }];
  const model = { name: 'm', inputs: spec, outputs: spec, predict: async (x: Tensor) => x, ouptuts: [] };
  expect(refusalOf(() => engine.add(model as never)).message).toContain('ouptuts');
  expect(refusalOf(() => createListener(engine, { maxBody: 1 } as never)).message).toContain('maxBody');
  for (const options of [{ prot: 1 }, { port: 'x' }, { port: null }, { port: 70_000 }, { port: 0.5 }]) {
    expect((await rejectionOf(serve(engine, options as never))).code).toBe('DT_INVALID_ARGUMENT');
  }
});
