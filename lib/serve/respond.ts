import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { DrivetrainError } from '../native/index.js';
import { RequestError, statusOf } from './errors.js';

/** How long a client that is refused may go on sending, so that it comes to read the answer. */
const LINGER_MS = 1000;
const RETRY_AFTER_SECONDS = '1';

/** Sends a whole answer and returns the length of its body; nothing where nobody listens any more. */
export function send(
  response: ServerResponse,
  status: number,
  headers: OutgoingHttpHeaders,
  parts: readonly Buffer[],
): number {
  if (response.destroyed) return 0;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  response.writeHead(status, { ...headers, 'content-length': length });
  for (const part of parts.slice(0, -1)) response.write(part);
  response.end(parts.at(-1));
  return length;
}

export function sendJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  send(response, status, { 'content-type': 'application/json', ...headers }, [
    Buffer.from(JSON.stringify(value)),
  ]);
}

/** Answers with `{error, code, field?}`; `maxBodyBytes` says how long a rest of the body is worth reading. */
export function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  maxBodyBytes: number,
): void {
  if (response.destroyed || response.headersSent) return;
  const status = statusOf(error);
  // For the operator: no client can do anything about these.
  if (status === 500) console.error(error);
  const headers: OutgoingHttpHeaders = error instanceof RequestError ? { ...error.headers } : {};
  if (status === 503) headers['retry-after'] = RETRY_AFTER_SECONDS;
  const body = bodyOf(error, status);
  if (restOfBody(request) <= maxBodyBytes) sendJson(response, status, body, headers);
  else refuse(request, response, status, body, headers);
}

function bodyOf(error: unknown, status: number): { error: string; code: string; field?: string } {
  // What a model threw may say more of the inside than a client should read.
  if (!(error instanceof DrivetrainError) || (status === 500 && error.cause !== undefined)) {
    return { error: 'The model failed; the log of the server says why.', code: 'DT_MODEL_FAILED' };
  }
  const field = error instanceof RequestError ? error.field : undefined;
  return { error: error.message, code: error.code, ...(field !== undefined && { field }) };
}

/** How many bytes may still come. */
function restOfBody(request: IncomingMessage): number {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (request.complete) return 0;
  return encoding === undefined ? Number(length ?? 0) : Number.POSITIVE_INFINITY;
}

/**
 * Answers a client that may be sending still, and then closes the connection: not at once, because a reset would
 * take the answer with it. What comes meanwhile is thrown away.
 */
function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders,
): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    ...headers,
    connection: 'close',
  });
  response.write(body);
  const finish = () => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(finish, LINGER_MS);
  request.once('end', finish);
  request.once('close', finish);
  request.resume();
}
