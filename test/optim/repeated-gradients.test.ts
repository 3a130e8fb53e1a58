import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AdamW, assign, compile, defaultPool, SGD, type Tensor, tensor, zeros } from 'drivetrain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { big, failure, slowly } from '../program/support.js';

/** An optimizer that has taken three steps with the same objects, so that it binds what it did. */
function settled(make: () => Value) {
  const [parameters, gradients] = [0, 1].map(() => Array.from({ length: 4 }, make)) as [Value[], Value[]];
  const optimizer = new SGD(parameters, { lr: 0.5 });
  for (let i = 0; i < 3; i++) optimizer.step(gradients);
  return { optimizer, parameters, gradients };
}
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

type Value = Tensor | Float32Array;
const inPool = (): Value => tensor([1, 2, 3]);
const inArrays = (): Value => Float32Array.of(1, 2, 3);
const valuesOf = (all: readonly Value[]) =>
  all.map((one) => Array.from(ArrayBuffer.isView(one) ? one : (one.toArray() as Float32Array)));

describe('steps with the same gradients again', () => {
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('step' as const), set: fc.integer({ min: 0, max: 2 }) }),
    fc.record({
      kind: fc.constant('write' as const),
      set: fc.integer({ min: 0, max: 2 }),
      value: fc.float({ noNaN: true, min: -4, max: 4 }),
    }),
    fc.record({ kind: fc.constant('rate' as const), value: fc.double({ noNaN: true, min: 0, max: 1 }) }),
    fc.record({ kind: fc.constant('parameter' as const), value: fc.float({ noNaN: true, min: -4, max: 4 }) }),
  );

  test.each([
    ['tensors', inPool],
    ['arrays', inArrays],
  ] as const)('are what they would be with others of the same values: %s', (_, make) => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const [parameters, fresh] = [0, 1].map(() => Array.from({ length: 3 }, make));
        const sets = Array.from({ length: 3 }, () => Array.from({ length: 3 }, make));
        const [own, other] = [new AdamW(parameters!, { lr: 0.1 }), new AdamW(fresh!, { lr: 0.1 })];
        const write = (all: readonly Value[], value: number) => {
          for (const one of all) (ArrayBuffer.isView(one) ? one : one.borrow())[1] = value;
        };
        for (const one of operations) {
          if (one.kind === 'write') write(sets[one.set]!, one.value);
          else if (one.kind === 'rate') for (const o of [own, other]) o.paramGroups[0]!.lr = one.value;
          else if (one.kind === 'parameter') for (const all of [parameters!, fresh!]) write(all, one.value);
          else {
            own.step(sets[one.set]!);
            other.step(valuesOf(sets[one.set]!).map((values) => Float32Array.from(values)));
          }
        }
        expect(valuesOf(parameters!)).toEqual(valuesOf(fresh!));
      }),
    );
  });

  test('are refused where a gradient is gone, or a parameter is gone or frozen, and change nothing', async () => {
    const refused = async (act: (all: ReturnType<typeof settled>) => void, code: string, make = inPool) => {
      const all = settled(make);
      act(all);
      const before = all.parameters.slice(1);
      const values = valuesOf(before);
      await failure(code, () => all.optimizer.step(all.gradients));
      expect(valuesOf(before)).toEqual(values);
      expect(all.optimizer.steps).toBe(3);
    };
    await refused(({ gradients }) => (gradients[2] as Tensor).dispose(), 'DT_DISPOSED');
    await refused(({ parameters }) => (parameters[0] as Tensor).dispose(), 'DT_DISPOSED');
    await refused(({ parameters }) => void (parameters[0] as Tensor).freeze(), 'DT_FROZEN');
    const transfer = (array: unknown) =>
      structuredClone(array, { transfer: [(array as Float32Array<ArrayBuffer>).buffer] });
    await refused(({ gradients }) => void transfer(gradients[2]), 'DT_DETACHED_BUFFER', inArrays);
    await refused(({ parameters }) => void transfer(parameters[0]), 'DT_DETACHED_BUFFER', inArrays);
  });

  test('are refused as long as a parameter is frozen, which is nothing to another optimizer', async () => {
    const [own, other] = [settled(inPool), settled(inPool)];
    (own.parameters[0] as Tensor).freeze();
    for (let i = 0; i < 2; i++) await failure('DT_FROZEN', () => own.optimizer.step(own.gradients));
    for (let i = 0; i < 2; i++) other.optimizer.step(other.gradients);
    expect(other.optimizer.steps).toBe(5);
    (own.parameters[0] as Tensor).unfreeze();
    for (let i = 0; i < 2; i++) own.optimizer.step(own.gradients);
    expect(valuesOf(own.parameters)).toEqual(valuesOf(other.parameters));
  });

  test('are refused while a run writes a gradient, and go on after it', async () => {
    const gradients = [big()];
    const optimizer = new SGD([big()], { lr: 0.5 });
    for (let i = 0; i < 3; i++) optimizer.step(gradients);
    const run = compile((x: Tensor) => {
      assign(gradients[0]!, slowly(x, 600));
      return x;
    })(big());
    await failure('DT_TENSOR_BUSY', () => optimizer.step(gradients));
    expect(optimizer.steps).toBe(3);
    await run;
    optimizer.step(gradients);
    expect(optimizer.steps).toBe(4);
  });

  test('hold no pool memory when gradients come and go', () => {
    const optimizer = new SGD([inPool()], { lr: 0.5 });
    const { current } = defaultPool.statistics;
    for (let i = 0; i < 100; i++) {
      const gradients = [inPool()];
      for (let j = 0; j < 4; j++) optimizer.step(gradients);
      (gradients[0] as Tensor).dispose();
    }
    expect(defaultPool.statistics.current - current).toBeLessThan(4096);
  });

  test('are not what large gradients are kept alive for', async () => {
    const optimizer = new SGD([zeros([2 ** 20])], { lr: 0.5 });
    let gradients: Tensor[] | undefined = [zeros([2 ** 20])];
    for (let i = 0; i < 3; i++) optimizer.step(gradients);
    const gradient = new WeakRef(gradients[0]!);
    gradients = undefined;
    for (let i = 0; i < 100 && gradient.deref() !== undefined; i++) {
      await new Promise(setImmediate); // what was looked at lives to the end of the turn
      collect();
    }
    expect(gradient.deref()).toBeUndefined();
  });
});
