import { compile, type Module, Registry, softmax, type Tensor } from '../index.js';
import { Engine, serve } from '../serve/index.js';
import { type Digits, PIXELS } from './demo-data.js';

const CONCURRENCY = 8;

export interface Served {
  readonly url: string;
  readonly requests: number;
  /** The share of answers that were right. */
  readonly accuracy: number;
  readonly seconds: number;
  /** Milliseconds, each from sending a request to having its answer. */
  readonly latencies: Float64Array;
}

/** Serves a model on a free port of this machine, sends it digits in requests of their own, and stops. */
export async function serveDigits(
  model: Module,
  { x, labels, count }: Digits,
  requests: number,
  signal: AbortSignal,
): Promise<Served> {
  const engine = new Engine({ registry: new Registry() }).add({
    name: 'digits',
    inputs: [{ name: 'pixels', datatype: 'FP32', shape: [-1, PIXELS] }],
    outputs: [{ name: 'probabilities', datatype: 'FP32', shape: [-1, 10] }],
    predict: compile((input: Tensor) => softmax(model.forward(input))),
  });
  const server = await serve(engine, { port: 0 });
  const pixels = x.toArray() as Float32Array;
  const right = labels.toArray() as Int32Array;
  const latencies = new Float64Array(requests);
  let [next, correct] = [0, 0];
  const client = async () => {
    while (next < requests) {
      const own = next++;
      const digit = own % count;
      const begin = performance.now();
      const answer = await ask(server.url, pixels.subarray(digit * PIXELS, (digit + 1) * PIXELS), signal);
      latencies[own] = performance.now() - begin;
      if (answer === right[digit]) correct++;
    }
  };
  try {
    const begin = performance.now();
    await Promise.all(Array.from({ length: CONCURRENCY }, client));
    const seconds = (performance.now() - begin) / 1000;
    return { url: server.url, requests, accuracy: correct / requests, seconds, latencies: latencies.sort() };
  } finally {
    await server.close();
    await engine.close();
  }
}

/** The digit that the server finds most likely. */
async function ask(url: string, pixels: Float32Array, signal: AbortSignal): Promise<number> {
  const inputs = [{ name: 'pixels', shape: [1, PIXELS], datatype: 'FP32', data: Array.from(pixels) }];
  const response = await fetch(`${url}/v2/models/digits/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs }),
    signal,
  });
  if (!response.ok) throw new Error(`The server answered ${response.status}: ${await response.text()}`);
  const { outputs } = (await response.json()) as { outputs: { data: number[] }[] };
  const [{ data }] = outputs as [{ data: number[] }];
  return data.indexOf(Math.max(...data));
}
