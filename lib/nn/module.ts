import { assign } from '../ops/index.js';
import { Tensor } from '../tensor/index.js';
import { loadState, type StateEntry } from './state-dict.js';

/**
 * A part of a model: what it holds in its fields (tensors, modules, arrays of modules) are its parameters and its
 * children. Names are paths of field names, as in PyTorch: `layers.0.weight`.
 */
export abstract class Module {
  abstract forward(...inputs: Tensor[]): Tensor;

  /** Tensors that training changes, by name, in the order of the fields; one that stands in two places is named once. */
  namedParameters(): Map<string, Tensor> {
    const names = new Map<Tensor, string>();
    for (const [name, value] of this.#entries()) {
      const found = value instanceof Module ? [...value.namedParameters()] : [];
      for (const [inner, tensor] of found) if (!names.has(tensor)) names.set(tensor, `${name}.${inner}`);
      if (value instanceof Tensor && !names.has(value)) names.set(value, name);
    }
    return new Map([...names].map(([tensor, name]) => [name, tensor]));
  }

  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
  }

  /** All tensors that make up the model, by name: what is saved. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#state().map(({ name, tensor }) => [name, tensor]));
  }

  /**
   * Copies tensors of the same names, shapes and dtypes into the model. Throws before anything is written where one is
   * missing, unknown or of another kind.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(this.#state(), state);
  }

  /** Training mode: dropout drops. Read by compiled functions each time they run. */
  train(training = true): this {
    this.setTraining(training);
    for (const [, value] of this.#entries()) if (value instanceof Module) value.train(training);
    return this;
  }

  /** Evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /**
   * Freezes all tensors of the model, for inference: programs recorded from now on keep the weights of matrix products in
   * the layout of this processor's kernels. Training it and loading into it are refused then (`DT_FROZEN`).
   */
  freeze(): this {
    for (const { tensor } of this.#state()) tensor.freeze();
    return this;
  }

  protected setTraining(_training: boolean): void {}

  /** Throws where `loadField` would. */
  protected checkLoadable(_field: string, target: Tensor): void {
    target.checkReady(true);
  }

  /** Copies a saved tensor into a field. */
  protected loadField(_field: string, target: Tensor, source: Tensor): void {
    assign(target, source);
  }

  #state(): StateEntry[] {
    return [...this.#entries()].flatMap(([name, value]): StateEntry[] => {
      if (value instanceof Module) {
        return value.#state().map((entry) => ({ ...entry, name: `${name}.${entry.name}` }));
      }
      if (!(value instanceof Tensor)) return [];
      const check = () => this.checkLoadable(name, value);
      const load = (source: Tensor) => this.loadField(name, value, source);
      return [{ name, tensor: value, check, load }];
    });
  }

  *#entries(): Generator<[string, unknown]> {
    for (const [name, value] of Object.entries(this)) {
      if (!Array.isArray(value)) yield [name, value];
      else for (const [i, item] of value.entries()) yield [`${name}.${i}`, item];
    }
  }
}
