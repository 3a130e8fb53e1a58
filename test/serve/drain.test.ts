import { Agent, get, request } from 'node:http';
import { connect } from 'node:net';
import { expect, test, vi } from 'vitest';
import { inferUrl, Latch, latched, post, start, x } from './support.js';

/** A GET over a connection that is kept alive. */
function kept(url: string, agent: Agent): Promise<{ status: number; connection: string | undefined }> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      response.resume();
      response.on('end', () =>
        resolve({ status: response.statusCode!, connection: response.headers.connection }),
      );
    }).on('error', reject);
  });
}

async function inFlight(drainTimeoutMs?: number) {
  const latch = new Latch();
  const { definition, state } = latched(latch);
  const server = await start([definition], drainTimeoutMs === undefined ? {} : { drainTimeoutMs });
  const answer = post(inferUrl(server.url), x([1, 2]));
  await vi.waitFor(() => expect(state.started).toBe(1));
  return { latch, server, answer };
}

test('while it drains, the server is alive but not ready, takes no new work, and finishes what it has', async () => {
  const { latch, server, answer } = await inFlight();
  let closed = false;
  const closing = server.close().then(() => {
    closed = true;
  });
  expect((await fetch(`${server.url}/v2/health/live`)).status).toBe(200);
  expect((await fetch(`${server.url}/v2/health/ready`)).status).toBe(503);
  expect((await fetch(`${server.url}/v2/models/doubler/ready`)).status).toBe(503);
  const refused = await post(inferUrl(server.url), x([1, 2]));
  expect([refused.status, refused.headers.get('retry-after'), refused.headers.get('connection')]).toEqual([
    503,
    '1',
    'close',
  ]);
  expect(refused.body).toMatchObject({ code: 'DT_CLOSED' });
  expect(closed).toBe(false);
  latch.open();
  const { status, headers } = await answer;
  expect([status, headers.get('connection')]).toEqual([200, 'close']);
  await closing;
  await expect(fetch(server.url)).rejects.toThrow();
});

test('idle connections and those that never said anything do not hold up closing', async () => {
  const { server, latch, answer } = await inFlight(60_000);
  const agent = new Agent({ keepAlive: true });
  expect((await kept(`${server.url}/v2/health/live`, agent)).status).toBe(200);
  const silent = connect(server.port, '127.0.0.1');
  const halfSaid = connect(server.port, '127.0.0.1');
  halfSaid.write('GET /v2 HTTP/1.1\r\nHo');
  const gone = [silent, halfSaid].map(
    (socket) => new Promise((resolve) => socket.on('error', () => {}).on('close', resolve)),
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  const idle = Object.values(agent.freeSockets).flat()[0]!;
  const startedAt = performance.now();
  const closing = server.close();
  await new Promise((resolve) => idle.on('close', resolve));
  // Long before Node would close it for being idle (5 s), and while another request is in flight.
  expect(performance.now() - startedAt).toBeLessThan(3000);
  latch.open();
  await answer;
  await closing;
  await Promise.all(gone);
});

test('after drainTimeoutMs connections are cut', async () => {
  const { server, answer } = await inFlight(50);
  const cut = expect(answer).rejects.toThrow();
  await server.close();
  await cut;
});

test('a request whose body is still coming when draining begins is answered', async () => {
  const { server, latch, answer } = await inFlight();
  const body = JSON.stringify(x([3, 4]));
  const status = new Promise((resolve, reject) => {
    const slow = request(inferUrl(server.url), {
      method: 'POST',
      headers: { 'content-length': body.length },
    });
    slow.on('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    slow.on('error', reject);
    slow.write(body.slice(0, 5));
    setTimeout(() => slow.end(body.slice(5)), 100);
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  const closing = server.close();
  latch.open();
  await answer;
  expect(await status).toBe(200);
  await closing;
});

test('close() can be called again', async () => {
  const server = await start();
  await Promise.all([server.close(), server.close()]);
});

test('a closed engine is not ready, refuses work over HTTP and finishes what it has', async () => {
  const { latch, server, answer } = await inFlight();
  const closing = server.engine.close();
  expect((await fetch(`${server.url}/v2/health/ready`)).status).toBe(503);
  expect((await fetch(`${server.url}/v2/health/live`)).status).toBe(200);
  expect((await post(inferUrl(server.url), x([1, 2]))).status).toBe(503);
  latch.open();
  expect((await answer).status).toBe(200);
  await closing;
});

test('a port in use is an error', async () => {
  const { port } = await start();
  await expect(start([], { port })).rejects.toMatchObject({
    code: 'DT_IO',
    message: expect.stringContaining(`${port}`),
    cause: { code: 'EADDRINUSE' },
  });
});

test.each([{ maxBodyBytes: 0 }, { maxBodyBytes: 1.5 }, { drainTimeoutMs: -1 }, { drainTimeoutMs: Infinity }])(
  'the options %o are refused',
  async (options) => {
    await expect(start([], options)).rejects.toMatchObject({ code: 'DT_INVALID_ARGUMENT' });
  },
);
