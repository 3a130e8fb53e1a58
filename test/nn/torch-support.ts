import { compile, grad, type Module, mul, sum, Tensor, tensor, valueAndGrad } from 'drivetrain';
import { expect } from 'vitest';
import { contentOf, expectSameBits, expectWithin, type Float, UNIT, type Value } from '../ops/support.js';
import { type Packed, unpack } from './support.js';

/** A module of PyTorch (test/goldens/nn/make_goldens.py): the loss is the sum of the output's elements by `weights`. */
export interface TorchCase {
  readonly inputs: readonly Packed[];
  readonly state: Readonly<Record<string, Packed>>;
  readonly output: Packed;
  readonly weights: Packed;
  readonly inputGradients: readonly (Packed | null)[];
  readonly parameterGradients: Readonly<Record<string, Packed>>;
  /** What the buffers hold after the forward pass. */
  readonly buffers: Readonly<Record<string, Packed>>;
}

/** PyTorch's name for a tensor of a model: snake case, and no `layers.` in a Sequential. */
function torchName(name: string, theirs: Readonly<Record<string, unknown>>): string {
  const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return snake in theirs ? snake : snake.replace(/(^|\.)layers\./g, '$1');
}

/** Puts PyTorch's numbers into a model, which becomes one of `dtype`. */
function loadTorch(model: Module, state: Readonly<Record<string, Packed>>, dtype: Float): void {
  if (dtype === 'f64') widen(model);
  const own = Object.keys(model.stateDict());
  expect(own.map((name) => torchName(name, state)).sort()).toEqual(Object.keys(state).sort());
  model.loadStateDict(
    Object.fromEntries(own.map((name) => [name, unpack(state[torchName(name, state)]!, dtype)])),
  );
}

/** Makes the tensors of a model f64. Buffers stay what they are, as the model itself replaces them. */
function widen(model: Module): void {
  const buffers = [...model.namedBuffers().values()];
  for (const [name, value] of Object.entries(model)) {
    if (!(value instanceof Tensor)) continue;
    const wide = tensor(Float64Array.from(value.toArray() as Float32Array), { shape: value.shape });
    const buffer = (model as unknown as { buffer(t: Tensor): Tensor }).buffer;
    Object.assign(model, { [name]: buffers.includes(value) ? buffer.call(model, wide) : wide });
  }
  for (const child of model.namedChildren().values()) widen(child);
}

/**
 * A bound on the error against PyTorch's doubles: `steps` roundings of the largest magnitude that occurs, which each of
 * the sums behind a result stays under.
 */
export function expectLike(actual: Tensor, want: Packed, dtype: Float, note: string, steps = 400): void {
  const largest = Math.max(1, ...want.data.map(Math.abs));
  expect(actual.shape, note).toEqual(want.shape);
  expectWithin(contentOf(actual), want.data, steps * UNIT[dtype] * largest, note);
}

/** Checks output, gradients and buffers against PyTorch's, eagerly and recorded, which must agree to the bit. */
export function expectTorch(
  make: () => Module,
  one: TorchCase,
  dtype: Float,
  forward: (model: Module, ...inputs: Tensor[]) => Tensor = (model, x) => model.forward(x),
): void {
  const inputs = one.inputs.map((input, i) =>
    one.inputGradients[i] === null
      ? tensor([...input.data], { shape: input.shape, dtype: 'i64' })
      : unpack(input, dtype),
  );
  const differentiable = inputs.filter((_, i) => one.inputGradients[i] !== null);
  const results = [false, true].map((recorded) => {
    const model = make();
    loadTorch(model, one.state, dtype);
    model.train(make().training);
    const names = [...model.namedParameters().keys()];
    const parameters = model.parameters();
    const weights = unpack(one.weights, dtype);
    const [output, ...grads] = recorded
      ? compile((...given: Tensor[]) => {
          const made = forward(model, ...given);
          const wanted = [...given.filter((_, i) => one.inputGradients[i] !== null), ...parameters];
          return [made, ...grad(sum(mul(made, weights)), wanted)];
        }).runSync(...inputs)
      : eagerly(model, weights, parameters);
    const buffers = [...model.namedBuffers()];
    return { names, output: output!, grads, buffers };
  });
  function eagerly(model: Module, weights: Tensor, parameters: Tensor[]): Tensor[] {
    let made: Value | undefined;
    const { grads } = valueAndGrad(() => {
      const output = forward(model, ...inputs);
      made = contentOf(output);
      return sum(mul(output, weights));
    }, [...differentiable, ...parameters])();
    return [tensor(made!.data, { shape: made!.shape }), ...grads];
  }
  const [eager, recorded] = results as [(typeof results)[0], (typeof results)[0]];
  const wanted = [
    ...one.inputGradients.filter((g) => g !== null),
    ...eager.names.map((name) => one.parameterGradients[torchName(name, one.parameterGradients)]!),
  ];
  expect(eager.names.length).toBe(Object.keys(one.parameterGradients).length);
  expectLike(recorded.output, one.output, dtype, 'output');
  eager.grads.forEach((gradient, i) => {
    expectLike(gradient, wanted[i]!, dtype, `gradient ${i}`);
    expectSameBits(contentOf(recorded.grads[i]!), contentOf(gradient), `gradient ${i}`);
  });
  expect(eager.buffers.length).toBe(Object.keys(one.buffers).length);
  eager.buffers.forEach(([name, buffer], i) => {
    expectLike(buffer, one.buffers[torchName(name, one.buffers)]!, dtype, name);
    expectSameBits(contentOf(recorded.buffers[i]![1]), contentOf(buffer), name);
  });
  expectSameBits(contentOf(recorded.output), contentOf(eager.output), 'output');
}
