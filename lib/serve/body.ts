import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip, inflate } from 'node:zlib';
import { DrivetrainError } from '../native/index.js';
import { badRequest, RequestError } from './errors.js';

const INFLATE = new Map([
  ['gzip', promisify(gunzip)],
  ['x-gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
]);

/**
 * The body of a request, inflated where it is compressed. Rejects with a `RequestError`: 413 where it is longer than
 * `maxBytes`, compressed or not, as soon as that shows; 415 for another encoding than gzip and deflate; 400 for bytes
 * that do not inflate. `DT_ABORTED` where the client goes away.
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const encoding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  const decode = INFLATE.get(encoding);
  if (decode === undefined && encoding !== 'identity') {
    throw new RequestError(
      415,
      'DT_INVALID_REQUEST',
      `Expected gzip, deflate or identity as Content-Encoding but received '${encoding}'.`,
      'Content-Encoding',
      { 'accept-encoding': 'gzip, deflate' },
    );
  }
  const body = await readBytes(request, maxBytes);
  if (decode === undefined) return body;
  try {
    return await decode(body, { maxOutputLength: maxBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      throw tooLarge(maxBytes, 'inflates to more');
    throw badRequest(
      'body',
      `Expected a body in ${encoding} but it does not inflate: ${(error as Error).message}.`,
    );
  }
}

function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) {
    throw tooLarge(maxBytes, `has ${request.headers['content-length']}`);
  }
  if (request.readableEnded) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      'Expected a request whose body is still to be read, but a body parser has read it: mount the listener before body parsers.',
    );
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      request.off('data', onData);
      chunks.length = 0;
      reject(tooLarge(maxBytes, 'has more'));
    };
    request.on('data', onData);
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    const onGone = () =>
      reject(new DrivetrainError('DT_ABORTED', 'The client went away before its request was whole.'));
    request.on('error', onGone);
    request.on('close', onGone);
  });
}

function tooLarge(maxBytes: number, received: string): RequestError {
  return new RequestError(
    413,
    'DT_INVALID_REQUEST',
    `Expected a body of at most ${maxBytes} bytes but it ${received}.`,
    'body',
  );
}
