import type { Worker } from 'node:worker_threads';
import { DrivetrainError, type ErrorCode } from '../native/index.js';
import { checkOptions, wrap } from '../tensor/index.js';
import type { BatchDataset } from './dataset.js';
import {
  LENGTH,
  type PackedTensor,
  serveDataset,
  type WorkerAnswer,
  type WorkerError,
  type WorkerRequest,
  type WorkerTask,
} from './dataset-worker.js';
import { checkCount } from './sampler.js';

export interface WorkerDatasetOptions {
  /** Threads that make batches. A loader keeps them busy with `prefetch` of at least as many. */
  workers: number;
  /** What the module's function is called with in each worker: anything that can be cloned. */
  data?: unknown;
}

interface Request {
  readonly resolve: (answer: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  /** What was asked of it, by number. */
  readonly requests: Map<number, Request>;
}

/**
 * A dataset whose batches are made in worker threads. `module` exports the dataset as its default, or a function that gives it
 * (also as a promise); it has `length` and `get(index)` or `batch(indices)`, and the module may export `collate`. A sample must
 * depend on its index alone, since any worker may make it: then batches are the same whatever the number of workers.
 *
 * What a worker throws reaches the consumer with its message, stack and code. A worker that ends by itself ends all. The
 * workers do not hold the process while nothing is asked of them; `close()` ends them.
 */
export class WorkerDataset<B> implements BatchDataset<B> {
  readonly #threads: readonly Thread[];
  #length = 0;
  #lastId = 0;
  /** Why nothing is answered any more. */
  #ended: unknown;

  /**
   * Starts the workers and waits until each has loaded the dataset. Throws what the module throws, and
   * `DT_INVALID_ARGUMENT` where the workers' datasets are not of one length.
   */
  static async open<B>(module: URL | string, options: WorkerDatasetOptions): Promise<WorkerDataset<B>> {
    checkOptions('WorkerDataset', options, ['workers', 'data']);
    checkCount('workers of WorkerDataset', options.workers, 1);
    const task: WorkerTask = { module: new URL(module).href, data: options.data };
    const dataset = new WorkerDataset<B>(Array.from({ length: options.workers }, () => start(task)));
    try {
      const lengths = await Promise.all(dataset.#threads.map((thread) => dataset.#lengthOf(thread)));
      const length = lengths[0]!;
      checkCount('length of the dataset', length, 0);
      if (lengths.some((other) => other !== length)) {
        throw new DrivetrainError(
          'DT_INVALID_ARGUMENT',
          `Expected datasets of one length in all workers but received ${lengths.join(', ')}.`,
        );
      }
      dataset.#length = length;
      return dataset;
    } catch (error) {
      await dataset.close();
      throw error;
    }
  }

  private constructor(workers: readonly Worker[]) {
    this.#threads = workers.map((worker) => ({ worker, requests: new Map() }));
    for (const { worker, requests } of this.#threads) {
      worker.on('message', (answer: WorkerAnswer) => {
        const request = requests.get(answer.id);
        requests.delete(answer.id);
        if (requests.size === 0) worker.unref();
        if ('error' in answer) request?.reject(asError(answer.error));
        else request?.resolve(answer);
      });
      worker.on('error', (error) => this.#end(error));
      worker.on('exit', (code) => this.#end(endedEarly(code)));
    }
  }

  get length(): number {
    return this.#length;
  }

  /** A batch from the worker with the least to do. Its tensors need not be disposed. */
  async batch(indices: Uint32Array): Promise<B> {
    const [first, ...others] = this.#threads as [Thread, ...Thread[]];
    const free = others.reduce((a, b) => (b.requests.size < a.requests.size ? b : a), first);
    const answer = await this.#ask(free, ++this.#lastId, indices);
    const { value, tensors } = answer as WorkerAnswer & { value: unknown; tensors: PackedTensor[] };
    return unpack(value, tensors) as B;
  }

  /** Ends the workers; what is still asked of them fails with `DT_CLOSED`. */
  async close(): Promise<void> {
    await this.#end(new DrivetrainError('DT_CLOSED', 'The dataset was closed, and its workers have ended.'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #lengthOf(thread: Thread): Promise<number> {
    return ((await this.#ask(thread, LENGTH)) as { length: number }).length;
  }

  /** The answer to a request, which is sent where it has indices. */
  #ask({ worker, requests }: Thread, id: number, indices?: Uint32Array): Promise<WorkerAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      requests.set(id, { resolve, reject });
      worker.ref();
      if (indices !== undefined) worker.postMessage({ id, indices } satisfies WorkerRequest);
    });
  }

  async #end(reason: unknown): Promise<void> {
    this.#ended ??= reason;
    for (const { requests } of this.#threads) {
      for (const { reject } of requests.values()) reject(this.#ended);
      requests.clear();
    }
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }
}

/** How a worker of ours knows that it is one: its first module is this one. */
const TASK = 'drivetrain-dataset';

/** Set in a worker's environment, and inherited from it: only where it is set, worker_threads is loaded to see the task. */
const MARK = 'DRIVETRAIN_DATASET_WORKER';

/** The file of the library that this module is in. In a bundle it would be the application's, which each worker would start. */
function ownFile(): URL {
  const { url } = import.meta as { url: string | undefined };
  const [, folder] = /^(.*\/)dist\/(?:io\/worker-dataset|shared|index)\.js$/.exec(url ?? '') ?? [];
  if (folder !== undefined && nameOfPackage(new URL('package.json', folder)) === 'drivetrain')
    return new URL(url!);
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    'Expected drivetrain outside of the bundle for WorkerDataset, whose workers load it from its own file, but it is inside; docs/platforms.md has the settings of bundlers.',
  );
}

function nameOfPackage(manifest: URL): unknown {
  try {
    return JSON.parse(process.getBuiltinModule('node:fs').readFileSync(manifest, 'utf8')).name;
  } catch {
    return undefined;
  }
}

function start(task: WorkerTask): Worker {
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  const env = { ...process.env, [MARK]: '1' };
  return new Worker(ownFile(), { env, workerData: { [TASK]: task } });
}

// When all modules are evaluated, since in the package they are one file.
if (process.env[MARK] !== undefined) {
  const { isMainThread, workerData } = process.getBuiltinModule('node:worker_threads');
  if (!isMainThread && workerData?.[TASK] !== undefined) setImmediate(serveDataset, workerData[TASK]);
}

function endedEarly(code: number): DrivetrainError {
  return new DrivetrainError(
    'DT_CLOSED',
    `Expected a worker of the dataset to go on but it ended by itself with exit code ${code}; look for process.exit in its module.`,
  );
}

/** The error as it was thrown in the worker, as far as it passes between threads. */
function asError({ name, message, stack, code }: WorkerError): Error {
  const isOurs = name === 'DrivetrainError';
  const error = isOurs ? new DrivetrainError(code as ErrorCode, message) : new Error(message);
  return Object.assign(error, { name, stack, ...(!isOurs && code !== undefined && { code }) });
}

/** Puts the tensors back where they stood in the batch. */
function unpack(value: unknown, tensors: readonly PackedTensor[]): unknown {
  const root = { value };
  for (const { path, dtype, shape, data } of tensors) {
    const keys = ['value', ...path];
    const last = keys.pop()!;
    const holder = keys.reduce(
      (part, key) => part[key] as Record<string, unknown>,
      root as Record<string, unknown>,
    );
    holder[last] = wrap(data, shape, { dtype });
  }
  return root.value;
}
