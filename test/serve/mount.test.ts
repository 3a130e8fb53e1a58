import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Registry } from '../../dist/observe/index.js';
import { createListener, Engine } from '../../dist/serve/index.js';
import { binaryBody, doubler, inferUrl, Latch, latched, post, x } from './support.js';

const engineOf = (definition = doubler) => new Engine({ registry: new Registry() }).add(definition);

async function listen(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe('in Fastify', () => {
  async function mounted(definition = doubler) {
    const app = Fastify();
    const engine = engineOf(definition);
    const listener = createListener(engine);
    await app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
      const forward = (
        request: { raw: Parameters<typeof listener>[0] },
        reply: { hijack(): unknown; raw: Parameters<typeof listener>[1] },
      ) => {
        reply.hijack();
        listener(request.raw, reply.raw);
      };
      scope.all('/v2/*', forward);
      scope.get('/metrics', forward);
    });
    app.post('/own', async (request) => request.body);
    onTestFinished(() => app.close());
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), app, engine };
  }

  test('the listener serves JSON, binary tensors, errors and metrics beside the routes of the app', async () => {
    const { url } = await mounted();
    expect((await fetch(`${url}/v2/health/ready`)).status).toBe(200);
    expect(await post(inferUrl(url), x([1, 2]))).toMatchObject({
      status: 200,
      body: { outputs: [{ name: 'y', data: [2, 4] }] },
    });
    const { headers, body } = binaryBody(
      { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }] },
      Float32Array.of(1, 2),
    );
    expect((await fetch(inferUrl(url), { method: 'POST', headers, body })).status).toBe(200);
    const types = { 'content-type': 'application/json' };
    const json = await fetch(inferUrl(url), {
      method: 'POST',
      headers: types,
      body: JSON.stringify(x([1, 2])),
    });
    expect(json.status).toBe(200);
    expect((await post(inferUrl(url), 'nonsense')).status).toBe(400);
    expect((await fetch(inferUrl(url))).status).toBe(405);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('nv_inference_request_success');
    const own = await fetch(`${url}/own`, { method: 'POST', headers: types, body: '{"a":1}' });
    expect(await own.json()).toEqual({ a: 1 });
  });

  test('requests in flight are answered when the app closes', async () => {
    const latch = new Latch();
    const { definition, state } = latched(latch);
    const { url, app } = await mounted(definition);
    const answer = post(inferUrl(url), x([1, 2]));
    await vi.waitFor(() => expect(state.started).toBe(1));
    const closing = app.close();
    latch.open();
    expect((await answer).status).toBe(200);
    await closing;
  });
});

test('in node:http, beside other handlers', async () => {
  const listener = createListener(engineOf());
  const { url } = await listen((request, response) => {
    if (request.url === '/hello') response.end('hello');
    else listener(request, response);
  });
  expect(await (await fetch(`${url}/hello`)).text()).toBe('hello');
  expect((await post(inferUrl(url), x([1, 2]))).status).toBe(200);
});

test('behind a body parser, it says that it came too late instead of waiting for ever', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const listener = createListener(engineOf());
  const { url } = await listen((request, response) => {
    request.resume();
    request.on('end', () => setImmediate(() => listener(request, response)));
  });
  const answer = await post(inferUrl(url), x([1, 2]));
  expect([answer.status, (answer.body as { error: string }).error]).toEqual([
    500,
    expect.stringMatching(/body parser/),
  ]);
  log.mockRestore();
});
