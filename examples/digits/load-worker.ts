/** The client: Node's own fetch, the Open Inference Protocol with binary tensors, a fixed number of requests at once. */
import { parentPort, workerData } from 'node:worker_threads';
import type { LoadOptions, LoadReport } from './load.js';

const { url, inputs, pixels, requests, concurrency } = workerData as LoadOptions;
const available = inputs.length / pixels;
const predictions = new Uint8Array(requests).fill(255);
const latencies = new Float64Array(requests);
let errors = 0;
let next = 0;

const bytes = pixels * Float32Array.BYTES_PER_ELEMENT;
const header = new TextEncoder().encode(
  JSON.stringify({
    inputs: [
      { name: 'pixels', shape: [1, pixels], datatype: 'FP32', parameters: { binary_data_size: bytes } },
    ],
    outputs: [{ name: 'probabilities', parameters: { binary_data: true } }],
  }),
);

async function send(i: number): Promise<void> {
  const body = new Uint8Array(header.length + bytes);
  body.set(header);
  const digit = inputs.subarray((i % available) * pixels, (i % available) * pixels + pixels);
  body.set(new Uint8Array(digit.buffer, digit.byteOffset, bytes), header.length);
  const begin = performance.now();
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Inference-Header-Content-Length': String(header.length) },
    body,
  });
  const answer = await response.arrayBuffer();
  latencies[i] = performance.now() - begin;
  if (!response.ok) throw new Error(new TextDecoder().decode(answer));
  const jsonLength = Number(response.headers.get('Inference-Header-Content-Length'));
  const probabilities = new Float32Array(answer.slice(jsonLength));
  predictions[i] = probabilities.indexOf(Math.max(...probabilities));
}

async function client(): Promise<void> {
  while (next < requests) {
    const i = next++;
    await send(i).catch(() => {
      errors++;
    });
  }
}

const begin = performance.now();
await Promise.all(Array.from({ length: concurrency }, client));
const seconds = (performance.now() - begin) / 1000;
latencies.sort();
const report: LoadReport = {
  predictions,
  errors,
  requestsPerSecond: requests / seconds,
  p50: latencies[Math.floor(requests * 0.5)]!,
  p99: latencies[Math.floor(requests * 0.99)]!,
};
parentPort!.postMessage(report);
