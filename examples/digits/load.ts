import { Worker } from 'node:worker_threads';

/** What to send: `count` digits, over and over, each in a request of its own. */
export interface LoadOptions {
  /** Of the `infer` endpoint. */
  readonly url: string;
  readonly inputs: Float32Array;
  readonly pixels: number;
  readonly requests: number;
  readonly concurrency: number;
}

export interface LoadReport {
  /** The digit that each request was answered with; 255 where it failed. */
  readonly predictions: Uint8Array;
  readonly errors: number;
  readonly requestsPerSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** Sends requests from a thread of its own, so that client and server do not share one. */
export function sendLoad(options: LoadOptions): Promise<LoadReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./load-worker.js', import.meta.url), { workerData: options });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}
