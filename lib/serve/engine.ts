import { DrivetrainError } from '../native/index.js';
import { defaultRegistry, type Registry } from '../observe/index.js';
import { checkOptions, formatShape, Tensor } from '../tensor/index.js';
import { DATATYPES } from './datatypes.js';
import { RequestError } from './errors.js';
import { type InferOptions, Model, type ModelDefinition, shapeFits } from './model.js';

export interface EngineOptions {
  /** Where the metrics of its models are kept, and what `/metrics` shows. Default: `defaultRegistry`. */
  registry?: Registry;
}

/** The models in service, by name and version. HTTP is one way in, `infer` the other. */
export class Engine {
  readonly registry: Registry;
  /** The versions of each model, highest first. */
  readonly #models = new Map<string, Model[]>();
  #closed = false;

  constructor({ registry = defaultRegistry }: EngineOptions = {}) {
    this.registry = registry;
  }

  /** Puts a model into service. `DT_INVALID_ARGUMENT` where its definition is wrong or its version is there already. */
  add(definition: ModelDefinition): this {
    if (this.#closed)
      throw new DrivetrainError('DT_CLOSED', 'The engine is closed and takes no more models.');
    checkOptions('engine.add', definition, ['name', 'version', 'inputs', 'outputs', 'predict', 'batching']);
    const { name, version = '1' } = definition;
    const versions = this.#models.get(name) ?? [];
    if (versions.some((model) => model.version === version)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `The engine has version ${version} of ${name} already.`,
      );
    }
    versions.push(new Model(definition, this.registry));
    versions.sort((a, b) => Number(b.version) - Number(a.version));
    this.#models.set(name, versions);
    return this;
  }

  /** The names of all models. */
  get models(): readonly string[] {
    return [...this.#models.keys()];
  }

  /** The versions of a model, highest first; none for an unknown name. */
  versions(name: string): readonly string[] {
    return (this.#models.get(name) ?? []).map((model) => model.version);
  }

  /** A model's highest version, or the one that is named. `DT_NOT_FOUND`. */
  model(name: string, version?: string): Model {
    const versions = this.#models.get(name);
    if (versions === undefined) {
      throw new RequestError(
        404,
        'DT_NOT_FOUND',
        `There is no model '${name}'${this.#models.size === 0 ? '' : `: there is ${[...this.#models.keys()].join(', ')}`}.`,
        'model',
      );
    }
    const model =
      version === undefined ? versions[0] : versions.find((candidate) => candidate.version === version);
    if (model === undefined) {
      throw new RequestError(
        404,
        'DT_NOT_FOUND',
        `There is no version '${version}' of the model '${name}'; there is ${this.versions(name).join(', ')}.`,
        'version',
      );
    }
    return model;
  }

  /** Whether it takes requests: false once it is closed. */
  get ready(): boolean {
    return !this.#closed;
  }

  /**
   * Runs a model in this process: tensors by input name to tensors by output name, which need no dispose. Errors as
   * over HTTP: `DT_NOT_FOUND`, `DT_INVALID_REQUEST`, `DT_QUEUE_FULL`, `DT_DEADLINE`, `DT_ABORTED`, `DT_CLOSED`, and
   * those of the model.
   */
  async infer(
    name: string,
    inputs: Readonly<Record<string, Tensor>>,
    options: InferOptions & { version?: string } = {},
  ): Promise<Record<string, Tensor>> {
    const model = this.model(name, options.version);
    return model.track(async () => {
      const outputs = await model.infer(orderInputs(model, inputs), options);
      return Object.fromEntries(model.outputs.map((spec, i) => [spec.name, outputs[i]!]));
    });
  }

  /** Refuses new requests (`DT_CLOSED`), and resolves when those that were accepted are answered. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#models.values()].flat().map((model) => model.close()));
  }
}

function orderInputs(model: Model, inputs: Readonly<Record<string, Tensor>>): Tensor[] {
  const unknown = Object.keys(inputs).find((name) => !model.inputs.some((spec) => spec.name === name));
  if (unknown !== undefined)
    throw wrongInput(
      `The model ${model.name} has no input '${unknown}': it has ${model.inputs.map(({ name }) => name).join(', ')}.`,
    );
  return model.inputs.map((spec) => {
    const input = inputs[spec.name];
    if (!(input instanceof Tensor))
      throw wrongInput(`Expected a Tensor for the input '${spec.name}' of ${model.name}.`);
    if (input.dtype !== DATATYPES.get(spec.datatype)!.dtype || !shapeFits(input.shape, spec.shape)) {
      throw wrongInput(
        `Expected ${spec.datatype} ${formatShape(spec.shape)} for the input '${spec.name}' of ${model.name} but received ${input.dtype} ${formatShape(input.shape)}.`,
      );
    }
    return input;
  });
}

function wrongInput(message: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_REQUEST', message);
}
