import { DrivetrainError } from '../native/index.js';
import { outcomeOf, type Registry } from '../observe/index.js';
import { Batcher, type BatcherOptions } from '../scheduling/index.js';
import { formatShape, MAX_RANK, type Shape, Tensor, wrap } from '../tensor/index.js';
import { DATATYPES, type Datatype } from './datatypes.js';
import { ModelMetrics } from './metrics.js';

/** What one tensor of a model looks like from outside. */
export interface TensorSpec {
  name: string;
  datatype: Datatype;
  /** -1 stands for any length of at least one. */
  shape: readonly number[];
}

/** The outputs in their declared order; one of them may stand by itself. */
type Predicted = Tensor | readonly Tensor[];

export interface ModelDefinition {
  /** Letters, digits, `_`, `.` and `-`, as it stands in addresses and metrics. */
  name: string;
  /** A whole number in decimal; requests that name no version get the highest. Default '1'. */
  version?: string;
  inputs: readonly TensorSpec[];
  outputs: readonly TensorSpec[];
  /**
   * Maps the inputs to the outputs, both in the order in which they are declared: what `compile` returns fits. The
   * inputs are only lent; the outputs are disposed when they have been copied. A `DrivetrainError` with the code
   * `DT_INVALID_REQUEST` becomes a 400, any other error a 500.
   */
  predict: (...inputs: Tensor[]) => Predicted | Promise<Predicted>;
  /**
   * How requests share calls of `predict`. Only for models of one input and one output whose first dimensions are -1,
   * and on by default for these; false gives every request a call of its own.
   */
  batching?: Omit<BatcherOptions, 'name' | 'registry'> | false;
}

export interface InferOptions {
  /** Ends a request that waits (`DT_ABORTED`). */
  signal?: AbortSignal | undefined;
  /** The longest wait for a batch, in milliseconds; only ever shortens the model's own `timeoutMs`. */
  timeoutMs?: number | undefined;
}

const MODEL_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const MODEL_VERSION = /^(0|[1-9][0-9]{0,8})$/;

/** One version of a model in service. */
export class Model {
  readonly name: string;
  readonly version: string;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly metrics: ModelMetrics;
  readonly #predict: ModelDefinition['predict'];
  readonly #batcher: Batcher | undefined;
  readonly #timeoutMs: number | undefined;
  #closed = false;
  #running = 0;
  #idle: (() => void)[] = [];

  /** `DT_INVALID_ARGUMENT` names what in the definition is wrong. */
  constructor(definition: ModelDefinition, registry: Registry) {
    const { name, version = '1', inputs, outputs, predict, batching } = definition;
    if (typeof name !== 'string' || !MODEL_NAME.test(name))
      throw invalid(`Expected a model name like ${MODEL_NAME} but received '${name}'.`);
    if (typeof version !== 'string' || !MODEL_VERSION.test(version)) {
      throw invalid(
        `Expected a whole number of at most nine digits as version of ${name} but received '${version}'.`,
      );
    }
    if (typeof predict !== 'function') {
      throw invalid(`Expected a function for predict of ${name} but received ${typeof predict}.`);
    }
    this.name = name;
    this.version = version;
    this.inputs = checkSpecs(inputs, `inputs of ${name}`);
    this.outputs = checkSpecs(outputs, `outputs of ${name}`);
    this.#predict = predict;
    const batchable = [...inputs, ...outputs].every(({ shape }) => shape[0] === -1);
    if (inputs.length === 1 && outputs.length === 1 && batchable) {
      if (batching !== false) {
        this.#batcher = new Batcher((batch) => this.#runBatch(batch), {
          ...batching,
          name: `${name}:${version}`,
          registry,
        });
        this.#timeoutMs = batching?.timeoutMs;
      }
    } else if (batching) {
      throw invalid(
        `Expected no batching for ${name}: it needs one input and one output whose first dimensions are -1, for the rows of a batch.`,
      );
    }
    this.metrics = new ModelMetrics(registry, name, version, this.#batcher);
  }

  /** Whether it takes requests. */
  get ready(): boolean {
    return !this.#closed;
  }

  /**
   * The outputs for these inputs, both in declared order: tensors over owned memory, with nothing to dispose. The
   * inputs' shapes and dtypes have been checked. `DT_CLOSED`, the errors of `Batcher.run`, those of `predict`, and
   * `DT_MODEL_FAILED` where it threw something else or returned what was not declared.
   */
  async infer(
    inputs: readonly Tensor[],
    { signal, timeoutMs }: InferOptions = {},
  ): Promise<readonly Tensor[]> {
    if (this.#closed)
      throw new DrivetrainError('DT_CLOSED', `The model ${this.name} is closed and takes no more requests.`);
    this.#running++;
    try {
      const limit = Math.min(
        timeoutMs ?? Number.POSITIVE_INFINITY,
        this.#timeoutMs ?? Number.POSITIVE_INFINITY,
      );
      const outputs = this.#batcher
        ? [
            await this.#batcher.run(inputs[0]!, {
              ...(signal && { signal }),
              ...(limit !== Number.POSITIVE_INFINITY && { timeoutMs: limit }),
            }),
          ]
        : await this.#runAlone(inputs);
      this.#checkOutputs(outputs);
      return outputs;
    } finally {
      this.#running--;
      if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  /** Counts and times `work`, which is one request from its arrival to its answer. */
  async track<T>(work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    try {
      const result = await work();
      this.metrics.succeeded((performance.now() - startedAt) / 1000);
      return result;
    } catch (error) {
      this.metrics.failed(outcomeOf(error));
      throw error;
    }
  }

  /** Refuses new requests (`DT_CLOSED`) and resolves when those that were accepted are answered. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#batcher?.close();
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.metrics.close();
  }

  async #runBatch(batch: Tensor): Promise<Tensor> {
    this.metrics.executed(batch.shape[0]!);
    const [output] = await this.#callPredict([batch]);
    return output!;
  }

  async #runAlone(inputs: readonly Tensor[]): Promise<readonly Tensor[]> {
    const startedAt = performance.now();
    this.metrics.executed(1);
    const outputs = await this.#callPredict(inputs);
    this.metrics.computedAlone((performance.now() - startedAt) / 1000);
    try {
      return await Promise.all(
        outputs.map(async (output) => wrap(await output.read(), output.shape, { dtype: output.dtype })),
      );
    } finally {
      for (const output of outputs) output.dispose();
    }
  }

  async #callPredict(inputs: readonly Tensor[]): Promise<readonly Tensor[]> {
    let result: Tensor | readonly Tensor[];
    try {
      result = await this.#predict(...inputs);
    } catch (error) {
      if (error instanceof DrivetrainError) throw error;
      throw this.#failed(error instanceof Error ? error.message : String(error), { cause: error });
    }
    const outputs = Array.isArray(result) ? (result as readonly Tensor[]) : [result as Tensor];
    if (outputs.length !== this.outputs.length || !outputs.every((output) => output instanceof Tensor)) {
      throw this.#failed(`expected predict to resolve to ${this.outputs.length} tensor(s) but it did not`);
    }
    return outputs;
  }

  #checkOutputs(outputs: readonly Tensor[]): void {
    this.outputs.forEach((spec, i) => {
      const { dtype, shape } = outputs[i]!;
      if (dtype !== DATATYPES.get(spec.datatype)!.dtype || !shapeFits(shape, spec.shape)) {
        throw this.#failed(
          `expected output ${spec.name} to be ${spec.datatype} ${formatShape(spec.shape)} but received ${dtype} ${formatShape(shape)}`,
        );
      }
    });
  }

  #failed(reason: string, options?: ErrorOptions): DrivetrainError {
    return new DrivetrainError(
      'DT_MODEL_FAILED',
      `The model ${this.name}, version ${this.version}, failed: ${reason}.`,
      options,
    );
  }
}

/** Whether a tensor of `shape` is one that a model declares as `declared`. */
export function shapeFits(shape: Shape, declared: Shape): boolean {
  return (
    shape.length === declared.length &&
    declared.every((dimension, i) => (dimension === -1 ? shape[i]! >= 1 : shape[i] === dimension))
  );
}

function checkSpecs(specs: readonly TensorSpec[], where: string): readonly TensorSpec[] {
  if (!Array.isArray(specs) || specs.length === 0)
    throw invalid(`Expected at least one tensor for ${where}.`);
  const names = new Set<string>();
  return (specs as readonly TensorSpec[]).map(({ name, datatype, shape }) => {
    if (typeof name !== 'string' || name === '' || names.has(name)) {
      throw invalid(`Expected a name of its own for each of the ${where} but received '${name}'.`);
    }
    names.add(name);
    if (!DATATYPES.has(datatype)) {
      throw invalid(
        `Expected one of ${[...DATATYPES.keys()].join(', ')} for ${name} of the ${where} but received '${datatype}'.`,
      );
    }
    if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isDimension)) {
      throw invalid(
        `Expected at most ${MAX_RANK} dimensions, whole numbers from 1 or -1, as shape of ${name} of the ${where} but received ${shape}.`,
      );
    }
    return { name, datatype, shape: [...shape] };
  });
}

function isDimension(dimension: number): boolean {
  return dimension === -1 || (Number.isSafeInteger(dimension) && dimension >= 1);
}

function invalid(message: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_ARGUMENT', message);
}
