import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { DrivetrainError } from '../native/index.js';
import { METRICS_CONTENT_TYPE } from '../observe/index.js';
import { checkOptions } from '../tensor/index.js';
import { readBody } from './body.js';
import type { Engine } from './engine.js';
import { badRequest, RequestError } from './errors.js';
import { parseInferRequest } from './infer-request.js';
import { buildInferResponse } from './infer-response.js';
import type { Model } from './model.js';
import { send, sendError, sendJson } from './respond.js';

export interface ListenerOptions {
  /** The longest request body, before and after inflating, in bytes. Default 10 MiB. */
  maxBodyBytes?: number;
}

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;

const DEFAULT_MAX_BODY_BYTES = 10 * 2 ** 20;

/**
 * Serves an engine's models under the paths of the Open Inference Protocol (`/v2/…`) and its metrics at `/metrics`,
 * for `node:http` and everything that can mount such a listener. It reads request bodies itself: mount it before
 * body parsers.
 */
export function createListener(engine: Engine, options: ListenerOptions = {}): RequestListener {
  checkOptions('createListener', options, ['maxBodyBytes']);
  return createDrainableListener(engine, options, () => false);
}

/** The same; while `isDraining` it is not ready and takes no inference requests, but it is alive. */
export function createDrainableListener(
  engine: Engine,
  { maxBodyBytes = DEFAULT_MAX_BODY_BYTES }: ListenerOptions,
  isDraining: () => boolean,
): RequestListener {
  if (!Number.isSafeInteger(maxBodyBytes) || maxBodyBytes < 1) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a number of bytes, 1 or more, for maxBodyBytes but received ${maxBodyBytes}.`,
    );
  }
  return (request, response) => {
    const exchange: Exchange = { request, response, engine, maxBodyBytes, draining: isDraining() };
    answer(exchange).catch((error: unknown) => sendError(request, response, error, maxBodyBytes));
  };
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly engine: Engine;
  readonly maxBodyBytes: number;
  /** Whether the server was draining when the request came. */
  readonly draining: boolean;
}

async function answer(exchange: Exchange): Promise<void> {
  const [root, section, ...rest] = segmentsOf(exchange.request);
  if (root === 'v2' && section === 'models' && rest.length > 0) return answerForModel(exchange, rest);
  const get = GETS.get([root, section, ...rest].join('/').replace(/\/$/, ''));
  if (get === undefined) throw nothingAt(exchange.request);
  allow(exchange.request, 'GET');
  get(exchange);
}

const GETS: ReadonlyMap<string, (exchange: Exchange) => void> = new Map([
  [
    'v2',
    ({ response }: Exchange) =>
      sendJson(response, 200, {
        name: 'drivetrain',
        version: packageVersion(),
        extensions: ['binary_tensor_data'],
      }),
  ],
  ['v2/health/live', ({ response }: Exchange) => sendJson(response, 200, { live: true })],
  [
    'v2/health/ready',
    ({ response, engine, draining }: Exchange) => sendReady(response, {}, engine.ready && !draining),
  ],
  ['v2/models', ({ response, engine }: Exchange) => sendJson(response, 200, { models: engine.models })],
  [
    'metrics',
    ({ response, engine }: Exchange) => {
      send(response, 200, { 'content-type': METRICS_CONTENT_TYPE }, [Buffer.from(engine.registry.expose())]);
    },
  ],
]);

/** `path` is what follows `/v2/models/`: `{model}[/versions/{version}][/ready|/infer]`. */
async function answerForModel(exchange: Exchange, path: readonly string[]): Promise<void> {
  const { engine, request, response, draining } = exchange;
  const [name, ...tail] = path;
  const version = tail[0] === 'versions' && tail.length > 1 ? tail[1] : undefined;
  const [action, ...excess] = version === undefined ? tail : tail.slice(2);
  if (excess.length > 0 || !(action === undefined || action === 'ready' || action === 'infer')) {
    throw nothingAt(request);
  }
  allow(request, action === 'infer' ? 'POST' : 'GET');
  const model = engine.model(name!, version);
  if (action === 'infer') return infer(exchange, model);
  if (action === 'ready') return sendReady(response, { name: model.name }, model.ready && !draining);
  sendJson(response, 200, {
    name: model.name,
    versions: version === undefined ? engine.versions(model.name) : [version],
    platform: 'drivetrain',
    inputs: model.inputs,
    outputs: model.outputs,
  });
}

async function infer({ request, response, maxBodyBytes, draining }: Exchange, model: Model): Promise<void> {
  const controller = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  const { headerLength, parts } = await model.track(async () => {
    if (draining)
      throw new DrivetrainError('DT_CLOSED', 'The server is draining and takes no more requests.');
    const body = await readBody(request, maxBodyBytes);
    model.metrics.receivedBytes.inc(body.length);
    const jsonLength = request.headers['inference-header-content-length'] as string | undefined;
    const inference = parseInferRequest(body, jsonLength, model);
    const outputs = await model.infer(inference.inputs, {
      signal: controller.signal,
      timeoutMs: inference.timeoutMs,
    });
    return buildInferResponse(model, inference, outputs);
  });
  const headers =
    headerLength === undefined
      ? { 'content-type': 'application/json' }
      : { 'content-type': 'application/octet-stream', 'inference-header-content-length': headerLength };
  model.metrics.sentBytes.inc(send(response, 200, headers, parts));
}

function sendReady(response: ServerResponse, about: object, ready: boolean): void {
  sendJson(response, ready ? 200 : 503, { ...about, ready });
}

/** The decoded segments of the path; `/v2/models` has two. */
function segmentsOf(request: IncomingMessage): string[] {
  const [path] = request.url!.split('?', 1);
  try {
    return path!.slice(1).split('/').map(decodeURIComponent);
  } catch {
    throw badRequest('path', 'Expected a path in valid percent-encoding.');
  }
}

function nothingAt(request: IncomingMessage): RequestError {
  return new RequestError(404, 'DT_NOT_FOUND', `There is nothing at ${request.url!.slice(0, 200)}.`, 'path');
}

/** Throws a 405 for any other method; with GET comes HEAD. */
function allow(request: IncomingMessage, method: 'GET' | 'POST'): void {
  if (request.method === method || (method === 'GET' && request.method === 'HEAD')) return;
  const allowed = method === 'GET' ? 'GET, HEAD' : method;
  throw new RequestError(
    405,
    'DT_INVALID_REQUEST',
    `Expected ${allowed} for this path but received ${request.method}.`,
    'method',
    { allow: allowed },
  );
}

let version: string | undefined;

function packageVersion(): string {
  version ??= (
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  ).version;
  return version;
}
