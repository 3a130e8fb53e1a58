import { fileURLToPath } from 'node:url';
import {
  AdamW,
  cast,
  Lion,
  loadTorchState,
  NAdam,
  parseSafetensors,
  readSafetensors,
  SGD,
  SparseAdam,
  type SparseGradient,
  serializeSafetensors,
  type Tensor,
  type TensorData,
  tensor,
  wrap,
} from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { bitsOf, expectWithin, golden, refusalOf } from '../ops/support.js';
import {
  type AnyOptimizer,
  arrayOf,
  type FloatArray,
  goldens,
  gradientsOf,
  OPTIMIZERS,
  poolTensors,
  startOf,
} from './support.js';

interface Continuation {
  readonly file: string;
  readonly options: Readonly<Record<string, number | boolean>>;
  readonly stopped: readonly (readonly number[])[];
  readonly end: readonly (readonly number[])[];
}

const { steps, cases } = golden<{ steps: number; cases: Record<string, Continuation> }>(
  'optim/torch/continuations.json',
);
const fileOf = (name: string) => fileURLToPath(new URL(`../goldens/optim/torch/${name}`, import.meta.url));
const camelCase = (options: Continuation['options']) =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/_(.)/g, (_, c: string) => c.toUpperCase()),
      value,
    ]),
  );

const makeFor = (
  title: string,
  { options }: Continuation,
  params: Parameters<(typeof OPTIMIZERS)[string]>[0],
) =>
  title === 'SparseAdam'
    ? (new SparseAdam(params, camelCase(options)) as unknown as AnyOptimizer)
    : OPTIMIZERS[title.split(',')[0]!]!(params, camelCase(options));
const stateBits = (optimizer: AnyOptimizer) =>
  Object.fromEntries(Object.entries(optimizer.stateDict()).map(([name, t]) => [name, bitsOf(t.toArray())]));

/** All rows but one, another one in each step. */
function rowsOf(gradient: FloatArray, [rows]: readonly number[], k: number): SparseGradient {
  const indices = Int32Array.from({ length: rows! }, (_, i) => i).filter((i) => i !== k % rows!);
  const width = gradient.length / rows!;
  const values = Array.from(indices, (i) => [...gradient.subarray(i * width, (i + 1) * width)]);
  return { indices, values: Float64Array.from(values.flat()) };
}

function walkOn(optimizer: AnyOptimizer, order: readonly number[] = [0, 1]): void {
  const { params } = optimizer.paramGroups[0]!;
  for (let k = steps; k < 2 * steps; k++) {
    const gradients = gradientsOf(k, 'f64');
    if ((optimizer as unknown) instanceof SparseAdam) {
      const rows = order.map((i, place) => rowsOf(gradients[i]!, params[place]!.shape, k));
      (optimizer as unknown as SparseAdam).step(rows);
    } else {
      optimizer.step(order.map((i, place) => wrap(gradients[i]!, params[place]!.shape)));
    }
  }
}

/** A step makes some 16 roundings of no more than what an element or its moves have been: 20 steps of them. */
function expectEnd(params: readonly (Tensor | Float64Array)[], { end }: Continuation): void {
  params.forEach((param, i) => {
    const data = (ArrayBuffer.isView(param) ? param : param.toArray()) as Float64Array;
    expectWithin({ dtype: 'f64', shape: [data.length], data }, end[i]!, 1e-12, `parameter ${i}`);
  });
}

describe.each(Object.entries(cases))('%s', (title, one) => {
  test('goes on from the state that PyTorch saved as PyTorch went on', async () => {
    const params = poolTensors('f64');
    params.forEach((p, i) => {
      (p.borrow() as Float64Array).set(one.stopped[i]!);
    });
    const optimizer = makeFor(title, one, params);
    loadTorchState(optimizer, (await readSafetensors(fileOf(one.file))).tensors);
    expect(optimizer.steps).toBe(title.startsWith('SGD') ? 0 : steps);
    walkOn(optimizer);
    expectEnd(params, one);
  });

  test('so it does on plain arrays in another order, by name', async () => {
    const { tensors } = await readSafetensors(fileOf(one.file));
    // The rows of a flat array would be its elements.
    const parameter = (i: number) =>
      title === 'SparseAdam'
        ? wrap(arrayOf(one.stopped[i]!, 'f64'), goldens.shapes[i]!)
        : (arrayOf(one.stopped[i]!, 'f64') as Float64Array);
    const named = new Map([
      ['b', parameter(1)],
      ['w.0', parameter(0)],
    ]);
    const optimizer = makeFor(title, one, named);
    loadTorchState(optimizer, tensors, { names: ['w.0', 'b'] });
    walkOn(optimizer, [1, 0]);
    expectEnd([named.get('w.0')!, named.get('b')!], one);

    const byName = makeFor(title, one, named);
    const renamed = Object.entries(tensors).map(([name, t]) => [
      name.replace(/^state\.0/, 'state.w.0').replace(/^state\.1/, 'state.b'),
      t,
    ]);
    loadTorchState(byName, Object.fromEntries(renamed) as Record<string, Tensor>);
    const byOrder = makeFor(title, one, named);
    loadTorchState(byOrder, tensors, { names: ['w.0', 'b'] });
    expect(stateBits(byName)).toEqual(stateBits(byOrder));
  });
});

const adamw = cases.AdamW!;
const load = async (file: string) => (await readSafetensors(fileOf(file))).tensors;

describe('what does not fit is refused, and nothing changes', () => {
  const spoilt: [string, string, string, (state: Record<string, Tensor>) => unknown][] = [
    [
      'a tensor is missing',
      'DT_INVALID_ARGUMENT',
      'Missing: state.1.exp_avg.',
      (s) => delete s['state.1.exp_avg'],
    ],
    [
      'a parameter is missing',
      'DT_INVALID_ARGUMENT',
      'Missing: state.1.step, state.1.exp_avg, state.1.exp_avg_sq.',
      (s) => {
        for (const key of Object.keys(s)) if (key.startsWith('state.1')) delete s[key];
      },
    ],
    [
      'a tensor is unknown',
      'DT_INVALID_ARGUMENT',
      'Unknown: state.0.exp_inf.',
      (s) => Object.assign(s, { 'state.0.exp_inf': tensor([1]) }),
    ],
    [
      'there is a parameter more',
      'DT_INVALID_ARGUMENT',
      'state.2.step',
      (s) => Object.assign(s, { 'state.2.step': tensor(1) }),
    ],
    [
      'there is something else than state',
      'DT_INVALID_ARGUMENT',
      'param_groups.0.lr',
      (s) => Object.assign(s, { 'param_groups.0.lr': tensor(1) }),
    ],
    [
      'a name and a position mean one parameter',
      'DT_INVALID_ARGUMENT',
      'state.0.step and state.00.step',
      (s) => Object.assign(s, { 'state.00.step': tensor(1) }),
    ],
    [
      'a shape is another',
      'DT_SHAPE_MISMATCH',
      'Expected shape [3, 4] for state.0.exp_avg but received [4, 3].',
      (s) => Object.assign(s, { 'state.0.exp_avg': tensor(new Float64Array(12), { shape: [4, 3] }) }),
    ],
    [
      'a moment is whole numbers',
      'DT_DTYPE_MISMATCH',
      'state.1.exp_avg',
      (s) => Object.assign(s, { 'state.1.exp_avg': tensor(new Int32Array(5)) }),
    ],
    [
      'steps are not whole',
      'DT_INVALID_ARGUMENT',
      'a number of steps',
      (s) => Object.assign(s, { 'state.0.step': tensor(2.5) }),
    ],
    [
      'steps differ in a group',
      'DT_INVALID_ARGUMENT',
      '1.step',
      (s) => Object.assign(s, { 'state.1.step': tensor(21) }),
    ],
    ['a tensor was disposed', 'DT_DISPOSED', '', (s) => s['state.1.exp_avg']!.dispose()],
    [
      'an array stands for a tensor',
      'DT_INVALID_ARGUMENT',
      'state.1.exp_avg',
      (s) => Object.assign(s, { 'state.1.exp_avg': new Float64Array(5) }),
    ],
  ];
  test.each(spoilt)('%s', async (_, code, part, spoil) => {
    const optimizer = makeFor('AdamW', adamw, poolTensors('f64'));
    optimizer.step(gradientsOf(0, 'f64').map((g, i) => wrap(g, goldens.shapes[i]!)));
    const before = stateBits(optimizer);
    const state = { ...(await load(adamw.file)) };
    spoil(state);
    const refusal = refusalOf(() => loadTorchState(optimizer, state));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
    expect(stateBits(optimizer)).toEqual(before);
  });

  test.each<[string, (params: Float64Array[]) => AnyOptimizer, string]>([
    ['amsgrad where PyTorch had none', (p) => OPTIMIZERS.AdamW!(p, { amsgrad: true }), 'max_exp_avg_sq'],
    ['another method', (p) => OPTIMIZERS.Adamax!(p), 'exp_inf'],
    ['momentum where PyTorch had none', (p) => OPTIMIZERS.SGD!(p, { momentum: 0.9 }), 'momentum_buffer'],
    ['a method that PyTorch lacks', (p) => new Lion(p) as unknown as AnyOptimizer, 'that PyTorch has'],
  ])('%s', async (_, make, part) => {
    const optimizer = make(startOf('f64') as Float64Array[]);
    const state = part === 'momentum_buffer' ? {} : await load(adamw.file);
    const refusal = refusalOf(() => loadTorchState(optimizer, state));
    expect(refusal.code).toBe('DT_INVALID_ARGUMENT');
    expect(refusal.message).toContain(part);
  });

  test.each([[['0']], [['0', '0']], [['0', '2']]])('names %o', async (names) => {
    const optimizer = makeFor('AdamW', adamw, startOf('f64'));
    const state = await load(adamw.file);
    expect(refusalOf(() => loadTorchState(optimizer, state, { names })).message).toContain('0, 1');
  });

  test('an option that there is not', async () => {
    const optimizer = makeFor('AdamW', adamw, startOf('f64'));
    expect(refusalOf(() => loadTorchState(optimizer, {}, { name: [] } as never)).message).toContain('names');
  });
});

test('plain data of a file does as well, and floats of another width are converted', () => {
  const data: Record<string, TensorData> = {
    'state.0.step': { dtype: 'f32', shape: [], data: Float32Array.of(7) },
    'state.0.exp_avg': { dtype: 'f64', shape: [2, 1], data: Float64Array.of(0.1, -3) },
    'state.0.exp_avg_sq': { dtype: 'bf16', shape: [2, 1], data: Uint16Array.of(0x3f80, 0x4000) },
    'state.0.mu_product': { dtype: 'f32', shape: [1], data: Float32Array.of(0.5) },
  };
  const optimizer = new NAdam([new Float32Array(2)]);
  loadTorchState(optimizer, parseSafetensors(serializeSafetensors(data)).tensors);
  const numbers = Object.entries(optimizer.stateDict()).map(([name, t]) => [
    name,
    [...(t.toArray() as Float32Array)],
  ]);
  expect(Object.fromEntries(numbers)).toEqual({
    '0.step': [7],
    '0.muProduct': [0.5],
    '0.m': [Math.fround(0.1), -3],
    '0.v': [1, 2],
  });
});

test('the f32 copies of 16-bit parameters are taken from the parameters', () => {
  const weights = cast(tensor([1, 2, 3]), 'bf16');
  const optimizer = new SGD([weights], { lr: 0.5 });
  (weights.borrow() as Uint16Array).fill(0x4080); // 4, loaded after the optimizer was made
  loadTorchState(optimizer, {});
  optimizer.step([cast(tensor([1, 1, 1]), 'bf16')]);
  expect([...(cast(weights, 'f32').toArray() as Float32Array)]).toEqual([3.5, 3.5, 3.5]);
});

test('momentum begins anew where PyTorch had none', () => {
  const weights = Float64Array.of(0);
  const optimizer = new SGD([weights], { lr: 1, momentum: 0.5 });
  optimizer.step([Float64Array.of(1)]);
  optimizer.paramGroups[0]!.momentum = 0;
  loadTorchState(optimizer, {});
  optimizer.paramGroups[0]!.momentum = 0.5;
  optimizer.step([Float64Array.of(1)]);
  expect(weights[0]).toBe(-2);
});

test('groups are numbered through', async () => {
  const [w, b] = poolTensors('f64');
  w!.borrow().set(adamw.stopped[0] as never);
  b!.borrow().set(adamw.stopped[1] as never);
  const optimizer = new AdamW([{ params: [w!] }, { params: [b!], lr: 0.01 }], { lr: 0.01 });
  loadTorchState(optimizer, await load(adamw.file));
  for (let k = steps; k < 2 * steps; k++) {
    optimizer.step(gradientsOf(k, 'f64').map((g, i) => wrap(g, goldens.shapes[i]!)));
  }
  expectEnd([w!, b!], adamw);
});
