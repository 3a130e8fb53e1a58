import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { DrivetrainError } from '../native/index.js';
import { MAX_TIMER_MS } from '../scheduling/index.js';
import { checkOptions } from '../tensor/index.js';
import { Engine } from './engine.js';
import { createDrainableListener, type ListenerOptions } from './http.js';

export interface ServeOptions extends ListenerOptions {
  /** 0 takes a free one. Default 8000. */
  port?: number;
  /** Default '127.0.0.1': reachable from this machine only. */
  host?: string;
  /** How long `close` waits for requests in flight, in milliseconds. Default 30,000. */
  drainTimeoutMs?: number;
}

export interface InferenceServer {
  readonly port: number;
  /** `http://host:port`. */
  readonly url: string;
  /**
   * Drains: from now on the server is not ready and refuses inference requests (503), while it is alive and answers
   * the requests in flight. When these are done, or after `drainTimeoutMs`, all connections are closed. The engine
   * stays open, for it is the caller's.
   */
  close(): Promise<void>;
}

/** Serves an engine over HTTP, and resolves once it listens. Rejects with `DT_IO` where it cannot: a port that is in use, say. */
export async function serve(engine: Engine, options: ServeOptions = {}): Promise<InferenceServer> {
  if (!(engine instanceof Engine)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an Engine for serve, as in serve(new Engine().add({ … })), but received ${typeof engine}.`,
    );
  }
  checkOptions('serve', options, ['port', 'host', 'drainTimeoutMs', 'maxBodyBytes']);
  const { port = 8000, host = '127.0.0.1', drainTimeoutMs = 30_000 } = options;
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a whole number from 0 to 65535 as port for serve but received ${String(port)}.`,
    );
  }
  if (!(drainTimeoutMs >= 0 && drainTimeoutMs <= MAX_TIMER_MS)) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected milliseconds, from 0 to ${MAX_TIMER_MS}, for drainTimeoutMs but received ${drainTimeoutMs}.`,
    );
  }
  const inFlight = new Set<ServerResponse>();
  let draining = false;
  let onIdle = () => {};
  const listener = createDrainableListener(engine, options, () => draining);
  const server = createServer((request, response) => {
    if (draining) response.setHeader('connection', 'close');
    inFlight.add(response);
    response.on('close', () => {
      inFlight.delete(response);
      if (inFlight.size === 0) onIdle();
    });
    listener(request, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new DrivetrainError(
          'DT_IO',
          `Expected to listen on ${host}:${port} but the system refused: ${cause.message}; take another port, or 0 for any that is free.`,
          { cause },
        ),
      ),
    );
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;

  const drain = async () => {
    draining = true;
    server.closeIdleConnections();
    for (const response of inFlight) if (!response.headersSent) response.setHeader('connection', 'close');
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      onIdle = resolve;
      timer = setTimeout(resolve, drainTimeoutMs);
      if (inFlight.size === 0) resolve();
    });
    clearTimeout(timer);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      // What is left owes no answer: it has sent no whole request head, or had its time.
      server.closeAllConnections();
    });
  };
  let closed: Promise<void> | undefined;
  return {
    port: address.port,
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    close: () => (closed ??= drain()),
  };
}
