import { once } from 'node:events';
import { connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { doubler, inferUrl, post, rawRequest, start, sumAndProduct, x } from './support.js';

const HEAD = 'POST /v2/models/doubler/infer HTTP/1.1\r\nHost: a\r\n';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function liveBytes(): number {
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

async function works(url: string): Promise<void> {
  expect((await post(inferUrl(url), x([1, 2]))).status).toBe(200);
}

describe('a body past the limit', () => {
  test('is refused by its announced length, before any of it is read, and the connection is closed', async () => {
    const { url, port } = await start([doubler], { maxBodyBytes: 1000 });
    const answer = await rawRequest(port, `${HEAD}Content-Length: 1001\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 413 .*Connection: close.*1000 bytes/is);
    await works(url);
  });

  test('is refused when it turns out so on the way, and what came is let go', async () => {
    const { url, port } = await start([doubler], { maxBodyBytes: 1000 });
    const socket = connect(port, '127.0.0.1');
    const gone = once(socket, 'close').catch(() => {});
    const answer = once(socket, 'data');
    socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
    const before = liveBytes();
    const chunk = Buffer.from(`100000\r\n${'x'.repeat(2 ** 20)}\r\n`);
    for (let sent = 0; sent < 40 && !socket.destroyed; sent++) {
      if (!socket.write(chunk))
        await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), gone]);
    }
    await vi.waitFor(() => expect(liveBytes() - before).toBeLessThan(8 * 2 ** 20), { timeout: 10_000 });
    expect(String((await answer)[0])).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
    await works(url);
  });

  test('still gets its answer through to a client that goes on sending', async () => {
    const { url } = await start([doubler], { maxBodyBytes: 1000 });
    const response = await fetch(inferUrl(url), { method: 'POST', body: Buffer.alloc(3_000_000) });
    expect([response.status, await response.json()]).toEqual([
      413,
      expect.objectContaining({ field: 'body' }),
    ]);
  });

  test('gets its answer through to a client that reads only when it has sent everything', async () => {
    const { port } = await start([doubler], { maxBodyBytes: 1000 });
    const socket = connect(port, '127.0.0.1');
    socket.write(`${HEAD}Content-Length: 6000000\r\n\r\n`);
    for (let sent = 0; sent < 6; sent++) {
      socket.write(Buffer.alloc(1_000_000));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 413 /);
    socket.destroy();
  });

  test('of exactly the limit is none', async () => {
    const text = JSON.stringify(x([1, 2]));
    const { url } = await start([doubler], { maxBodyBytes: text.length });
    expect((await post(inferUrl(url), text)).status).toBe(200);
    expect((await post(inferUrl(url), `${text} `)).status).toBe(413);
  });
});

describe('a client', () => {
  test('that goes away in the middle of its body leaves nothing behind', async () => {
    const { url, port, engine } = await start();
    const socket = connect(port, '127.0.0.1');
    socket.write(`${HEAD}Content-Length: 100\r\n\r\n{"inputs"`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await vi.waitFor(() =>
      expect(engine.registry.expose()).toMatch(/requests_total\{.*outcome="aborted"\} 1/),
    );
    await works(url);
  });

  test('that speaks no HTTP is told so and sent away', async () => {
    const { url, port } = await start();
    expect(await rawRequest(port, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    await works(url);
  });
});

test('a request cannot reach the prototypes of objects', async () => {
  const { url } = await start();
  const attack =
    '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"inputs":[{"__proto__":{"name":"x"},"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2],"parameters":{"__proto__":{"binary_data_size":8}}}]}';
  await post(inferUrl(url), attack);
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
  const inherited = '{"__proto__":{"inputs":[]}}';
  expect((await post(inferUrl(url), inherited)).status).toBe(400);
  await works(url);
});

test('no body makes the server fail, hang or lose its voice: the answer is 200 or a 4xx that says why', async () => {
  const { url } = await start([doubler, sumAndProduct]);
  const good = JSON.stringify(x([1, 2], [1, 2], { parameters: { a: 1 } }));
  const tokens = fc.constantFrom(
    '[',
    ']',
    '{',
    '}',
    '"',
    ':',
    ',',
    '1e999',
    '-',
    '0',
    'null',
    '"__proto__"',
    '\\',
    '\0',
  );
  const mutated = fc
    .tuple(fc.nat(good.length), fc.nat(10), fc.array(tokens, { maxLength: 3 }))
    .map(([at, length, insert]) => good.slice(0, at) + insert.join('') + good.slice(at + length));
  const keys = fc.constantFrom(
    'id',
    'inputs',
    'outputs',
    'name',
    'shape',
    'datatype',
    'data',
    'parameters',
    'a',
    'x',
  );
  const values = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('x', 'y', 'FP32', 1, 2, -1, 0.5, 2 ** 53, null, true),
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(keys, tie('any'), { maxKeys: 5 }),
    ),
  })).any;
  const similar = fc.record(
    {
      inputs: fc.array(
        fc.record(
          {
            name: fc.constant('x'),
            datatype: fc.constant('FP32'),
            shape: values,
            data: values,
            parameters: values,
          },
          { requiredKeys: ['name', 'datatype'] },
        ),
      ),
      outputs: values,
      parameters: values,
    },
    { requiredKeys: ['inputs'] },
  );
  const bodies = fc.oneof(
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    mutated.map((text) => Buffer.from(text)),
    values.map((value) => Buffer.from(JSON.stringify(value))),
    similar.map((value) => Buffer.from(JSON.stringify(value))),
  );
  const headers = fc.oneof(
    fc.constant({}),
    fc.nat(200).map((length) => ({ 'inference-header-content-length': String(length) })),
    fc.constantFrom({ 'content-encoding': 'gzip' }, { 'content-encoding': 'deflate' }),
  );
  await fc.assert(
    fc.asyncProperty(bodies, headers, async (body, extra) => {
      const response = await fetch(inferUrl(url), { method: 'POST', headers: extra, body });
      const answer = (await response.json()) as { error?: string };
      if (response.status !== 200) {
        expect(response.status).toBeGreaterThanOrEqual(400);
        expect(response.status).toBeLessThan(500);
        expect(answer.error).toMatch(/\S/);
      }
    }),
    { numRuns: 500 },
  );
  await works(url);
});
