import { connect } from 'node:net';
import { onTestFinished } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import {
  Engine,
  type InferenceServer,
  type ModelDefinition,
  type ServeOptions,
  serve,
} from '../../dist/serve/index.js';
import { type Tensor, wrap } from '../../dist/tensor/index.js';

/** x [rows, 2] → y [rows, 2], twice as much. */
export const doubler: ModelDefinition = {
  name: 'doubler',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
  outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
  predict: async (x: Tensor) =>
    wrap(
      (x.toArray() as Float32Array).map((value) => value * 2),
      x.shape,
    ),
};

/** The sum and the product of two vectors: a model that is not batched. */
export const sumAndProduct: ModelDefinition = {
  name: 'sum_and_product',
  inputs: [
    { name: 'a', datatype: 'FP64', shape: [-1] },
    { name: 'b', datatype: 'FP64', shape: [-1] },
  ],
  outputs: [
    { name: 'sum', datatype: 'FP64', shape: [-1] },
    { name: 'product', datatype: 'FP64', shape: [-1] },
  ],
  predict: async (a: Tensor, b: Tensor) => {
    const [left, right] = [a.toArray() as Float64Array, b.toArray() as Float64Array];
    return [wrap(left.map((value, i) => value + right[i]!)), wrap(left.map((value, i) => value * right[i]!))];
  },
};

/** A model of any datatype and shape that answers with its input. */
export function echo(
  datatype: ModelDefinition['inputs'][number]['datatype'],
  shape: readonly number[],
): ModelDefinition {
  return {
    name: `echo_${datatype.toLowerCase()}`,
    inputs: [{ name: 'in', datatype, shape }],
    outputs: [{ name: 'out', datatype, shape }],
    predict: async (x: Tensor) => wrap(x.toArray(), x.shape, { dtype: x.dtype }),
    batching: false,
  };
}

/** A server on a free port, which is closed when the test is over. */
export async function start(
  models: readonly ModelDefinition[] = [doubler],
  options: ServeOptions = {},
): Promise<InferenceServer & { engine: Engine }> {
  const engine = new Engine({ registry: new Registry() });
  for (const model of models) engine.add(model);
  const server = await serve(engine, { port: 0, drainTimeoutMs: 5000, ...options });
  onTestFinished(() => server.close());
  return { ...server, engine };
}

export function inferUrl(url: string, model = 'doubler'): string {
  return `${url}/v2/models/${model}/infer`;
}

/** Sends JSON without a Content-Type of its own choosing. */
export async function post(
  url: string,
  body: unknown,
): Promise<{ status: number; body: never; headers: Headers }> {
  const response = await fetch(url, {
    method: 'POST',
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
  });
  return { status: response.status, body: (await response.json()) as never, headers: response.headers };
}

export const x = (data: unknown, shape: unknown = [1, 2], more: object = {}) => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape, data, ...more }],
});

/** A body of JSON and binary tensors, and the headers that go with it. */
export function binaryBody(json: object, ...tensors: ArrayBufferView[]) {
  const head = Buffer.from(JSON.stringify(json));
  const tails = tensors.map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  return {
    headers: { 'Inference-Header-Content-Length': String(head.length) },
    body: Buffer.concat([head, ...tails]),
  };
}

/** Sends raw text over a socket and resolves to everything that comes back until the server closes it. */
export function rawRequest(port: number, ...chunks: (string | Buffer)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      received += text;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
    for (const chunk of chunks) socket.write(chunk);
  });
}

/** An answer that is given when the test says so. */
export class Latch {
  #open!: () => void;
  readonly opened: Promise<void> = new Promise((resolve) => {
    this.#open = resolve;
  });

  open(): void {
    this.#open();
  }
}

/** A doubler that waits for the latch; `started` counts its runs. */
export function latched(latch: Latch, batching?: ModelDefinition['batching']) {
  const state = { started: 0 };
  const definition: ModelDefinition = {
    ...doubler,
    ...(batching !== undefined && { batching }),
    predict: async (input) => {
      state.started++;
      await latch.opened;
      return doubler.predict(input);
    },
  };
  return { state, definition };
}
