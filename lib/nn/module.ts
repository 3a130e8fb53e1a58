import { inspect } from '../native/index.js';
import { activeRecorder, assign } from '../ops/index.js';
import { formatShape, Tensor } from '../tensor/index.js';
import { loadState, loadStateInTurn, type StateEntry } from './state-dict.js';

/** Tensors that are state but no parameters. */
const buffers = new WeakSet<Tensor>();

/**
 * A part of a model: what it holds in its fields (tensors, modules, arrays of modules) are its parameters and its
 * children. Names are paths of field names, as in PyTorch: `layers.0.weight`.
 */
export abstract class Module {
  #training = true;

  /** Where it takes several tensors: arguments, or an object of them. */
  abstract forward(input: Tensor | object, ...others: unknown[]): Tensor;

  /**
   * Tensors that training changes, by name, in the order of the fields; one that stands in two places is named once.
   * Frozen ones are not among them, nor are buffers.
   */
  namedParameters(): Map<string, Tensor> {
    const names = new Map<Tensor, string>();
    for (const [name, value] of this.#entries()) {
      const found = value instanceof Module ? [...value.namedParameters()] : [];
      for (const [inner, tensor] of found)
        if (!names.has(tensor)) names.set(tensor, this.stateName(name, inner));
      if (!(value instanceof Tensor) || names.has(value) || buffers.has(value) || value.storage.frozen)
        continue;
      names.set(value, name);
    }
    return new Map([...names].map(([tensor, name]) => [name, tensor]));
  }

  /** Tensors that are state but no parameters, by name: running statistics. */
  namedBuffers(): Map<string, Tensor> {
    const all = this.#state().filter(({ tensor }) => buffers.has(tensor));
    return new Map(all.map(({ name, tensor }) => [name, tensor]));
  }

  /** What the model is made of, by field name, in order; not what those are made of. */
  namedChildren(): Map<string, Module> {
    return new Map(
      [...this.#entries()].filter((entry): entry is [string, Module] => entry[1] instanceof Module),
    );
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
   * missing, unknown or of another kind, and `DT_TENSOR_BUSY` where an awaited run is using the model.
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(this.#state(), state);
  }

  /**
   * The same for a model that is in use: waits for the runs of compiled functions that were called before, and those called
   * later wait for it. So each run sees all of the old state or all of the new. The tensors of `state` are in use until the
   * promise resolves. Rejects as `loadStateDict` throws, but for `DT_TENSOR_BUSY`; and with `DT_NOT_SHARED` where it would write
   * a caller's typed array.
   */
  async loadStateDictAsync(state: Readonly<Record<string, Tensor>>): Promise<void> {
    await loadStateInTurn(this.#state(), state);
  }

  /** Training mode: dropout drops, batches are normalised by themselves. Compiled functions ask for it at each call. */
  train(training = true): this {
    this.#training = training;
    for (const [, value] of this.#entries()) if (value instanceof Module) value.train(training);
    return this;
  }

  /** Evaluation mode. */
  eval(): this {
    return this.train(false);
  }

  /** Whether it is in training mode. */
  get training(): boolean {
    return this.#training;
  }

  /**
   * Freezes all tensors of the model, or of the part of one that it is: they are no parameters any more, and programs
   * recorded from now on keep the weights of matrix products in the layout of this processor's kernels. Training them and
   * loading into them are refused then (`DT_FROZEN`), until `unfreeze`.
   */
  freeze(): this {
    for (const { tensor } of this.#state()) tensor.freeze();
    return this;
  }

  /**
   * Takes writes again: for new weights, `await model.unfreeze().loadStateDictAsync(state)` and `model.freeze()`. Compiled
   * functions follow by themselves; runs in flight keep what they read. Weights of quantized layers stay frozen.
   */
  unfreeze(): this {
    for (const { tensor } of this.#state()) if (!tensor.storage.sealed) tensor.unfreeze();
    return this;
  }

  /** The kind of each module and what it is made of; tensors by shape, without their values. */
  [inspect.custom](): string {
    const own: string[] = [];
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Tensor) own.push(`${name}: ${value.dtype} ${formatShape(value.shape)}`);
      else if (isPlain(value)) own.push(`${name}: ${inspect(value)}`);
    }
    const children = [...this.namedChildren()].map(([name, child]) =>
      `${name}: ${child[inspect.custom]()}`.replaceAll('\n', '\n  '),
    );
    const lines = children.map((child) => `\n  ${child}`).join('');
    return `${this.constructor.name}(${own.join(', ')}${lines}${lines && '\n'})`;
  }

  /** Makes a tensor in a field state that training does not change as a parameter: a buffer of PyTorch. */
  protected buffer(tensor: Tensor): Tensor {
    buffers.add(tensor);
    return tensor;
  }

  /** The value of `read`, for acting upon: a compiled function is recorded anew where it has changed. */
  protected mode(read: () => boolean): boolean {
    activeRecorder()?.reads?.(read);
    return read();
  }

  /** What a tensor of a child is called in the state: its path. */
  protected stateName(child: string, inner: string): string {
    return `${child}.${inner}`;
  }

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
        return value.#state().map((entry) => ({ ...entry, name: this.stateName(name, entry.name) }));
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

/** Whether it is a number or a word, or a few of them: an option of a layer. */
function isPlain(value: unknown): boolean {
  const simple = (one: unknown) => ['number', 'boolean', 'string'].includes(typeof one);
  return simple(value) || (Array.isArray(value) && value.length > 0 && value.every(simple));
}
