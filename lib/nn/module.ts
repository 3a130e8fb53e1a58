import { DrivetrainError } from '../native/index.js';
import { assign, checkTensor } from '../ops/index.js';
import { formatShape, sameShape, Tensor } from '../tensor/index.js';

/**
 * A part of a model: what it holds in its fields (tensors, modules, arrays of modules) are its parameters and its
 * children. Names are paths of field names, as in PyTorch: `layers.0.weight`.
 */
export abstract class Module {
  abstract forward(...inputs: Tensor[]): Tensor;

  /** Tensors that training changes, by name, in the order of the fields. */
  namedParameters(): Map<string, Tensor> {
    const found = new Map<string, Tensor>();
    for (const [name, value] of this.#entries()) {
      if (value instanceof Tensor) found.set(name, value);
      if (value instanceof Module)
        for (const [inner, t] of value.namedParameters()) found.set(`${name}.${inner}`, t);
    }
    return found;
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
    const own = this.#state();
    const names = new Set(own.map(({ name }) => name));
    const missing = [...names].filter((name) => !Object.hasOwn(state, name));
    const unknown = Object.keys(state).filter((name) => !names.has(name));
    if (missing.length > 0 || unknown.length > 0) {
      const list = (what: string, found: string[]) =>
        found.length > 0 ? ` ${what}: ${found.join(', ')}.` : '';
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected exactly the model's own tensors for loadStateDict but received others.${list('Missing', missing)}${list('Unknown', unknown)}`,
      );
    }
    for (const { name, tensor } of own) {
      checkTensor(`loadStateDict, ${name}`, state[name]);
      checkSameKind(name, tensor, state[name]);
      state[name].checkReady(false);
    }
    for (const { owner, field, tensor } of own) owner.checkLoadable(field, tensor);
    for (const { name, owner, field, tensor } of own) owner.loadField(field, tensor, state[name]!);
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

  protected setTraining(_training: boolean): void {}

  /** Throws where `loadField` would. */
  protected checkLoadable(_field: string, target: Tensor): void {
    target.checkReady(true);
  }

  /** Copies a saved tensor into a field. */
  protected loadField(_field: string, target: Tensor, source: Tensor): void {
    assign(target, source);
  }

  #state(): { name: string; owner: Module; field: string; tensor: Tensor }[] {
    return [...this.#entries()].flatMap(([name, value]) => {
      if (value instanceof Tensor) return [{ name, owner: this as Module, field: name, tensor: value }];
      if (!(value instanceof Module)) return [];
      return value.#state().map((entry) => ({ ...entry, name: `${name}.${entry.name}` }));
    });
  }

  *#entries(): Generator<[string, unknown]> {
    for (const [name, value] of Object.entries(this)) {
      if (!Array.isArray(value)) yield [name, value];
      else for (const [i, item] of value.entries()) yield [`${name}.${i}`, item];
    }
  }
}

function checkSameKind(name: string, target: Tensor, source: Tensor): void {
  if (source.dtype === target.dtype && sameShape(source.shape, target.shape)) return;
  throw new DrivetrainError(
    'DT_SHAPE_MISMATCH',
    `Expected ${target.dtype} ${formatShape(target.shape)} for ${name} but received ${source.dtype} ${formatShape(source.shape)}.`,
  );
}
