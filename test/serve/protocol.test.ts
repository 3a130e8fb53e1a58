import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import { wrap } from '../../dist/tensor/index.js';
import manifest from '../../package.json' with { type: 'json' };
import { binaryBody, doubler, echo, inferUrl, post, rawRequest, start, sumAndProduct, x } from './support.js';

const get = async (url: string) => {
  const response = await fetch(url);
  return { status: response.status, body: await response.json() };
};

describe('the server tells', () => {
  test('its name, version and extensions at /v2', async () => {
    const { url } = await start();
    const expected = { name: 'drivetrain', version: manifest.version, extensions: ['binary_tensor_data'] };
    expect(await get(`${url}/v2`)).toEqual({ status: 200, body: expected });
    expect(await get(`${url}/v2/`)).toEqual({ status: 200, body: expected });
  });

  test('that it is alive and ready', async () => {
    const { url } = await start();
    expect(await get(`${url}/v2/health/live`)).toEqual({ status: 200, body: { live: true } });
    expect(await get(`${url}/v2/health/ready`)).toEqual({ status: 200, body: { ready: true } });
    expect(await get(`${url}/v2/models/doubler/ready`)).toEqual({
      status: 200,
      body: { name: 'doubler', ready: true },
    });
    expect((await fetch(`${url}/v2/health/ready`, { method: 'HEAD' })).status).toBe(200);
  });

  test('its models', async () => {
    const { url } = await start([doubler, sumAndProduct]);
    expect(await get(`${url}/v2/models`)).toEqual({
      status: 200,
      body: { models: ['doubler', 'sum_and_product'] },
    });
  });

  test('the inputs, outputs and versions of a model', async () => {
    const { url } = await start([{ ...doubler, version: '2' }, { ...doubler, version: '10' }, doubler]);
    const about = {
      name: 'doubler',
      platform: 'drivetrain',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
    };
    expect((await get(`${url}/v2/models/doubler`)).body).toEqual({ ...about, versions: ['10', '2', '1'] });
    expect((await get(`${url}/v2/models/doubler/versions/2`)).body).toEqual({ ...about, versions: ['2'] });
    expect((await get(`${url}/v2/models/doubler/versions/2/ready`)).status).toBe(200);
  });
});

describe('inference in JSON', () => {
  test('takes flat and nested data, and answers flat, with the id', async () => {
    const { url } = await start();
    const outputs = [{ name: 'y', datatype: 'FP32', shape: [2, 2], data: [2, 4, 6, -1] }];
    for (const data of [
      [1, 2, 3, -0.5],
      [
        [1, 2],
        [3, -0.5],
      ],
    ]) {
      const answer = await post(inferUrl(url), { id: 'a "quoted" id', ...x(data, [2, 2]) });
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toBe('application/json');
      expect(answer.body).toEqual({
        model_name: 'doubler',
        model_version: '1',
        id: 'a "quoted" id',
        outputs,
      });
    }
  });

  test('answers without an id where none was sent', async () => {
    const { url } = await start();
    expect((await post(inferUrl(url), x([1, 2]))).body).not.toHaveProperty('id');
  });

  test('goes to the highest version, or to the one that is named', async () => {
    const { url } = await start([doubler, { ...doubler, version: '10' }, { ...doubler, version: '9' }]);
    expect((await post(inferUrl(url), x([1, 2]))).body).toHaveProperty('model_version', '10');
    const named = await post(`${url}/v2/models/doubler/versions/9/infer`, x([1, 2]));
    expect(named.body).toHaveProperty('model_version', '9');
  });

  test('takes the inputs in any order, and gives the outputs that are asked for in the order asked', async () => {
    const { url } = await start([sumAndProduct]);
    const input = (name: string, ...data: number[]) => ({
      name,
      datatype: 'FP64',
      shape: [data.length],
      data,
    });
    const request = { inputs: [input('b', 10, 20), input('a', 1, 2)] };
    const names = async (outputs?: object[]) => {
      const answer = await post(inferUrl(url, 'sum_and_product'), { ...request, outputs });
      return (answer.body as { outputs: { name: string; data: number[] }[] }).outputs.map(
        ({ name, data }) => [name, data],
      );
    };
    expect(await names()).toEqual([
      ['sum', [11, 22]],
      ['product', [10, 40]],
    ]);
    expect(await names([])).toHaveLength(2);
    expect(await names([{ name: 'product' }])).toEqual([['product', [10, 40]]]);
    expect(await names([{ name: 'product' }, { name: 'sum' }])).toEqual([
      ['product', [10, 40]],
      ['sum', [11, 22]],
    ]);
  });

  test('passes over parameters that it does not know, and takes a timeout of 0 for none', async () => {
    const { url } = await start();
    const request = {
      ...x([1, 2], [1, 2], { parameters: { hint: 'x' } }),
      parameters: { priority: 1, timeout: 0 },
    };
    expect((await post(inferUrl(url), request)).status).toBe(200);
  });

  test('takes a body with any Content-Type, or with none', async () => {
    const { url, port } = await start();
    const text = JSON.stringify(x([1, 2]));
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain', 'nonsense']) {
      const response = await fetch(inferUrl(url), {
        method: 'POST',
        headers: { 'content-type': type },
        body: text,
      });
      expect(response.status).toBe(200);
    }
    const head = `POST /v2/models/doubler/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${text.length}`;
    expect(await rawRequest(port, `${head}\r\n\r\n${text}`)).toMatch(/^HTTP\/1\.1 200 /);
  });

  test('an output that is NaN because the input was is the request’s fault', async () => {
    const { url } = await start([echo('FP32', [-1])]);
    const input = { name: 'in', datatype: 'FP32', shape: [1], parameters: { binary_data_size: 4 } };
    const sent = binaryBody({ inputs: [input] }, Float32Array.of(Number.NaN));
    const answer = await fetch(inferUrl(url, 'echo_fp32'), { method: 'POST', ...sent });
    expect([answer.status, await answer.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'DT_INVALID_REQUEST', error: expect.stringContaining("input 'in'") }),
    ]);
  });

  test('refuses to call NaN null: an output that JSON cannot carry is an error that names the way out', async () => {
    const { url } = await start([
      { ...echo('FP32', [-1]), predict: async () => wrap(Float32Array.of(Number.NaN)) },
    ]);
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const request = { inputs: [{ name: 'in', datatype: 'FP32', shape: [1], data: [1] }] };
    const answer = await post(inferUrl(url, 'echo_fp32'), request);
    log.mockRestore();
    expect(answer.status).toBe(500);
    expect((answer.body as { error: string }).error).toMatch(/NaN.*binary_data/);
    const binary = await fetch(inferUrl(url, 'echo_fp32'), {
      method: 'POST',
      body: JSON.stringify({ ...request, parameters: { binary_data_output: true } }),
    });
    expect(binary.status).toBe(200);
  });

  test('keeps every digit of 64-bit integers', async () => {
    const huge = {
      ...echo('INT64', [-1]),
      predict: async () => wrap(BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n)),
    };
    const { url } = await start([huge]);
    const response = await fetch(inferUrl(url, 'echo_int64'), {
      method: 'POST',
      body: JSON.stringify({ inputs: [{ name: 'in', datatype: 'INT64', shape: [1], data: [1] }] }),
    });
    expect(await response.text()).toContain('"data":[-9223372036854775808,9223372036854775807]');
  });
});

describe('inference in binary', () => {
  const binaryX = (size: number, more: object = {}) => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: size } }],
    ...more,
  });

  test('takes tensors after the JSON part, at any alignment, and answers in JSON', async () => {
    const { url } = await start();
    for (const id of ['', 'a', 'ab', 'abc']) {
      const { headers, body } = binaryBody(binaryX(8, { id }), Float32Array.of(1.5, -2));
      const response = await fetch(inferUrl(url), { method: 'POST', headers, body });
      expect(response.headers.get('inference-header-content-length')).toBeNull();
      expect(await response.json()).toEqual({
        model_name: 'doubler',
        model_version: '1',
        id,
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], data: [3, -4] }],
      });
    }
  });

  test('answers in binary when asked for all outputs or for one', async () => {
    const { url } = await start();
    for (const wish of [
      { parameters: { binary_data_output: true } },
      { outputs: [{ name: 'y', parameters: { binary_data: true } }] },
      {
        parameters: { binary_data_output: false },
        outputs: [{ name: 'y', parameters: { binary_data: true } }],
      },
    ]) {
      const { headers, body } = binaryBody(binaryX(8, wish), Float32Array.of(1.5, -2));
      const response = await fetch(inferUrl(url), { method: 'POST', headers, body });
      const length = Number(response.headers.get('inference-header-content-length'));
      const bytes = await response.arrayBuffer();
      expect(response.headers.get('content-type')).toBe('application/octet-stream');
      expect(Number(response.headers.get('content-length'))).toBe(bytes.byteLength);
      expect(JSON.parse(Buffer.from(bytes, 0, length).toString())).toEqual({
        model_name: 'doubler',
        model_version: '1',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
      });
      expect(new Float32Array(bytes.slice(length))).toEqual(Float32Array.of(3, -4));
    }
  });

  test('mixes with JSON, tensor by tensor, both ways', async () => {
    const { url } = await start([sumAndProduct]);
    const { headers, body } = binaryBody(
      {
        inputs: [
          { name: 'b', datatype: 'FP64', shape: [2], data: [10, 20] },
          { name: 'a', datatype: 'FP64', shape: [2], parameters: { binary_data_size: 16 } },
        ],
        outputs: [{ name: 'sum' }, { name: 'product', parameters: { binary_data: true } }],
      },
      Float64Array.of(1, 2),
    );
    const response = await fetch(inferUrl(url, 'sum_and_product'), { method: 'POST', headers, body });
    const length = Number(response.headers.get('inference-header-content-length'));
    const bytes = await response.arrayBuffer();
    const { outputs } = JSON.parse(Buffer.from(bytes, 0, length).toString()) as { outputs: object[] };
    expect(outputs[0]).toMatchObject({ name: 'sum', data: [11, 22] });
    expect(outputs[1]).toMatchObject({ name: 'product', parameters: { binary_data_size: 16 } });
    expect(new Float64Array(bytes.slice(length))).toEqual(Float64Array.of(10, 40));
  });

  test('takes the header with a body that is JSON alone', async () => {
    const { url } = await start();
    const { headers, body } = binaryBody(x([1, 2]));
    expect((await fetch(inferUrl(url), { method: 'POST', headers, body })).status).toBe(200);
  });
});

describe('a compressed body', () => {
  test.each(['gzip', 'deflate'] as const)('in %s is inflated', async (encoding) => {
    const compress = encoding === 'gzip' ? gzipSync : deflateSync;
    const { url } = await start();
    const response = await fetch(inferUrl(url), {
      method: 'POST',
      headers: { 'content-encoding': encoding },
      body: compress(JSON.stringify(x([1, 2]))),
    });
    expect(response.status).toBe(200);
  });
});
