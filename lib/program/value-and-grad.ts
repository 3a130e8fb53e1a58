import { apply, type Op, type Recorder, type View, withRecorder } from '../ops/index.js';
import { currentPool, type Tensor } from '../tensor/index.js';
import { grad, type Taped, type TapeEntry } from './tape.js';

/** Runs everything at once and keeps what happened. */
class EagerTape implements Recorder, Taped {
  readonly tape: TapeEntry[] = [];

  apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
    const outputs = withRecorder(undefined, () => apply(op, inputs, attrs));
    this.tape.push({ kind: 'op', op: op as Op<unknown>, attrs, inputs, outputs });
    return outputs;
  }

  view(view: View, input: Tensor, output: Tensor): void {
    this.tape.push({ kind: 'view', view, inputs: [input], outputs: [output] });
  }

  backward<T>(fn: () => T): T {
    return withRecorder(undefined, fn);
  }
}

/**
 * A function that calls `fn` eagerly and also gives gradients of its result, a tensor of one element: with respect to
 * `parameters` where given, else to those of its arguments that are f32 or f64. `grad` may be called inside `fn` too.
 * What else `fn` makes is freed.
 */
export function valueAndGrad<A extends readonly Tensor[]>(
  fn: (...inputs: A) => Tensor,
  parameters?: readonly Tensor[],
): (...inputs: A) => { value: Tensor; grads: Tensor[] } {
  return (...inputs) =>
    currentPool().scope(() =>
      withRecorder(new EagerTape(), () => {
        const value = fn(...inputs);
        const floats = inputs.filter(({ dtype }) => dtype === 'f32' || dtype === 'f64');
        return { value, grads: grad(value, parameters ?? floats) };
      }),
    );
}
