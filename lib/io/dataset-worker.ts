import { Tensor } from '../tensor/index.js';
import { makerOf } from './data-loader.js';
import type { TensorData } from './tensor-data.js';

/** What a worker is started with. */
export interface WorkerTask {
  /** The URL of the module of the dataset. */
  readonly module: string;
  /** What its function is called with. */
  readonly data: unknown;
}

export interface WorkerRequest {
  readonly id: number;
  readonly indices: Uint32Array;
}

/** A tensor of a batch as plain data, and where in the batch it stands. */
export interface PackedTensor extends TensorData {
  readonly path: readonly string[];
}

/** The number of what is answered unasked: the length of the dataset, when it is there. */
export const LENGTH = 0;

/** The length of the dataset, a batch, or why there is none. */
export type WorkerAnswer =
  | { readonly id: typeof LENGTH; readonly length: number }
  | { readonly id: number; readonly value: unknown; readonly tensors: readonly PackedTensor[] }
  | { readonly id: number; readonly error: WorkerError };

/** What of an error passes between threads: its class does not. */
export interface WorkerError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly code: string | undefined;
}

/** The worker's side of a `WorkerDataset`: loads the dataset, then makes one batch for each request. */
export async function serveDataset({ module, data }: WorkerTask): Promise<void> {
  const port = process.getBuiltinModule('node:worker_threads').parentPort!;
  const answer = (message: WorkerAnswer, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
  try {
    const { default: exported, collate } = await import(module);
    const dataset = typeof exported === 'function' ? await exported(data) : exported;
    const make = makerOf<unknown, unknown>(dataset, collate);
    port.on('message', async ({ id, indices }: WorkerRequest) => {
      try {
        const tensors: PackedTensor[] = [];
        const value = pack(await make(indices), [], tensors);
        answer(
          { id, value, tensors },
          tensors.map((one) => one.data.buffer as ArrayBuffer),
        );
      } catch (error) {
        answer({ id, error: describe(error) });
      }
    });
    answer({ id: LENGTH, length: dataset.length });
  } catch (error) {
    answer({ id: LENGTH, error: describe(error) });
  }
}

/** The batch with its tensors taken out, and disposed. */
function pack(value: unknown, path: readonly string[], tensors: PackedTensor[]): unknown {
  if (value instanceof Tensor) {
    tensors.push({ path, dtype: value.dtype, shape: value.shape, data: value.toArray() });
    value.dispose();
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return value;
  const isPlain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
  if (!isPlain) return value;
  const parts = Object.entries(value).map(
    ([key, part]) => [key, pack(part, [...path, key], tensors)] as const,
  );
  return Array.isArray(value) ? parts.map(([, part]) => part) : Object.fromEntries(parts);
}

function describe(error: unknown): WorkerError {
  const isError = error instanceof Error;
  const { name, message, stack, code } = (
    isError ? error : new Error(String(error))
  ) as NodeJS.ErrnoException;
  return { name, message, stack, code };
}
