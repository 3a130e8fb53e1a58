import { join } from 'node:path';
import { clone, compile, readSafetensors, type Tensor, tensor, wrap, writeSafetensors } from 'drivetrain';
import { describe, expect, test } from 'vitest';
import { binding } from '../../dist/native/index.js';
import type { SharedStorage } from '../../dist/tensor/index.js';
import { temporaryFolder } from '../io/support.js';
import { bitsOf, FLOATS, type Float, refusalOf } from '../ops/support.js';
import {
  type AnyOptimizer,
  FULL,
  goldens,
  gradientsOf,
  NAMES,
  OPTIMIZERS,
  type Parameter,
  poolTensors,
  startOf,
} from './support.js';

const STEPS = 12;
const STOP = 5;

type Params = readonly Parameter[];

/** One parameter a group. */
const optimizerOf = (name: string, params: Params): AnyOptimizer =>
  OPTIMIZERS[name]!(
    params.map((p, i) => ({ params: [p], lr: 0.01 * (i + 1) })),
    FULL[name],
  );

const stateBits = (optimizer: AnyOptimizer) =>
  Object.fromEntries(Object.entries(optimizer.stateDict()).map(([name, t]) => [name, bitsOf(t.toArray())]));

const memories: Record<string, { start: (dtype: Float) => Params; copy: (params: Params) => Params }> = {
  'on pool tensors': { start: poolTensors, copy: (params) => params.map((p) => clone(p as Tensor)) },
  'on plain arrays': { start: startOf, copy: (params) => params.map((p) => (p as Float32Array).slice()) },
};
const contentOf = (params: Params) =>
  params.map((p) => bitsOf(ArrayBuffer.isView(p) ? p : (p as Tensor).toArray()));

describe.each(NAMES)('%s', (name) => {
  const make = (params: Params) => optimizerOf(name, params);
  const gradients = (k: number, dtype: Float) =>
    gradientsOf(k, dtype).map((g, i) => wrap(g, goldens.shapes[i]!));

  /** Takes steps `from` to `to`, eager or recorded. */
  function walk(optimizer: AnyOptimizer, dtype: Float, from: number, to: number, recorded: boolean) {
    const shaped = (k: number) =>
      gradients(k, dtype).map((g, i) => g.viewAs(optimizer.paramGroups[i]!.params[0]!.shape));
    const compiled = compile((...g: Tensor[]) => optimizer.step(g));
    for (let k = from; k < to; k++) {
      if (recorded) compiled.runSync(...shaped(k));
      else optimizer.step(shaped(k));
    }
  }

  describe.each(Object.entries(memories))('%s', (_, { start, copy }) => {
    test.each(FLOATS.flatMap((dtype) => [false, true].map((recorded) => [dtype, recorded] as const)))(
      'goes on from a saved state as if it had never stopped, in %s, recorded: %s',
      async (dtype, recorded) => {
        const params = start(dtype);
        const unbroken = make(params);
        walk(unbroken, dtype, 0, STOP, recorded);

        const file = join(temporaryFolder(), 'optimizer.safetensors');
        await writeSafetensors(file, unbroken.stateDict());
        const copied = copy(params);
        const resumed = make(copied);
        resumed.loadStateDict((await readSafetensors(file)).tensors);
        expect(resumed.steps).toBe(STOP);

        walk(unbroken, dtype, STOP, STEPS, recorded);
        walk(resumed, dtype, STOP, STEPS, recorded);
        expect(contentOf(copied)).toEqual(contentOf(params));
        expect(stateBits(resumed)).toEqual(stateBits(unbroken));
      },
    );
  });

  test('a program recorded before goes on with the state that is loaded', () => {
    const [params, others] = [poolTensors('f32'), poolTensors('f32')];
    const [source, target] = [make(params), make(others)];
    const step = compile((...g: Tensor[]) => target.step(g));
    step.runSync(...gradients(0, 'f32'));
    for (let k = 0; k < STOP; k++) source.step(gradients(k, 'f32'));
    others.forEach((p, i) => {
      (p.borrow() as Float32Array).set(params[i]!.toArray() as Float32Array);
    });
    target.loadStateDict(source.stateDict());
    source.step(gradients(STOP, 'f32'));
    step.runSync(...gradients(STOP, 'f32'));
    expect(contentOf(others)).toEqual(contentOf(params));
    expect(stateBits(target)).toEqual(stateBits(source));
  });

  test('loads its own state, and keeps its memory', () => {
    const optimizer = make(poolTensors('f32'));
    walk(optimizer, 'f32', 0, 1, false);
    const [before, held] = [stateBits(optimizer), Object.values(optimizer.stateDict())];
    optimizer.loadStateDict(optimizer.stateDict());
    expect(stateBits(optimizer)).toEqual(before);
    Object.values(optimizer.stateDict()).forEach((t, i) => {
      expect(t.storage).toBe(held[i]!.storage);
    });
  });

  /** An optimizer after one step, and a state for it after two. */
  function loading() {
    const [target, source] = [make(poolTensors('f32')), make(poolTensors('f32'))];
    walk(target, 'f32', 0, 1, false);
    walk(source, 'f32', 0, 2, false);
    return { target, state: source.stateDict() };
  }
  const last = Object.keys(make(startOf('f32')).stateDict()).at(-1)!;

  const spoilt: [string, string, (state: Record<string, Tensor>) => unknown, string][] = [
    ['lacks one', 'DT_INVALID_ARGUMENT', (state) => delete state[last], `Missing: ${last}`],
    [
      'has one too many',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { more: tensor(1) }),
      'Unknown: more',
    ],
    [
      'has another shape',
      'DT_SHAPE_MISMATCH',
      (state) => Object.assign(state, { [last]: tensor([1]) }),
      `Expected f32 [5] for ${last} but received f32 [1].`,
    ],
    [
      'has another dtype',
      'DT_SHAPE_MISMATCH',
      (state) => Object.assign(state, { [last]: tensor(new Float64Array(5)) }),
      `Expected f32 [5] for ${last} but received f64 [5].`,
    ],
    ['has a tensor that was disposed', 'DT_DISPOSED', (state) => state[last]!.dispose(), '[5]'],
    [
      'has an array for a tensor',
      'DT_INVALID_ARGUMENT',
      (state) => Object.assign(state, { [last]: new Float32Array(5) }),
      'wrap(array)',
    ],
  ];
  test.each(spoilt)('refuses a state that %s, and stays as it was to the bit', (_, code, spoil, part) => {
    const { target, state } = loading();
    const before = stateBits(target);
    spoil(state);
    const refusal = refusalOf(() => target.loadStateDict(state));
    expect(refusal.code).toBe(code);
    expect(refusal.message).toContain(part);
    expect(stateBits(target)).toEqual(before);
  });

  test('refuses while a run holds the last of its tensors, and stays as it was to the bit', () => {
    const { target, state } = loading();
    const before = stateBits(target);
    const { handle } = target.stateDict()[last]!.storage as SharedStorage;
    expect(binding.lock(handle, true)).toBe(true);
    try {
      expect(refusalOf(() => target.loadStateDict(state)).code).toBe('DT_TENSOR_BUSY');
    } finally {
      binding.unlock(handle, true);
    }
    expect(stateBits(target)).toEqual(before);
  });
});

test('the state has a name for every tensor', () => {
  const namesOf = (name: string) => Object.keys(optimizerOf(name, startOf('f32')).stateDict());
  expect(namesOf('NAdam')).toEqual([
    '0.step',
    '0.muProduct',
    '0.m',
    '0.v',
    '1.step',
    '1.muProduct',
    '1.m',
    '1.v',
  ]);
  expect(namesOf('AdamW')).toEqual(['0.step', '0.m', '0.v', '0.maxV', '1.step', '1.m', '1.v', '1.maxV']);
});
