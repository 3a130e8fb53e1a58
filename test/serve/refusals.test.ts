import { deflateRawSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { binaryBody, doubler, echo, inferUrl, post, start, sumAndProduct, x } from './support.js';

interface Refusal {
  error: string;
  code: string;
  field?: string;
}

const one = (more: object) => ({
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2], ...more }],
});
const NESTED = '['.repeat(100_000) + ']'.repeat(100_000);

describe('a request in JSON is refused with the field and the reason:', () => {
  test.each<[string, unknown, string, RegExp]>([
    ['no body', '', 'body', /received an empty body/],
    [
      'binary behind JSON whose length is not given',
      '{"inputs":[{"parameters":{"binary_data_size":8}}]}01234567',
      'body',
      /the header Inference-Header-Content-Length gives the length/,
    ],
    ['broken JSON', '{"inputs": [', 'body', /JSON but received something else \((?!.*NaN)/],
    [
      'NaN in JSON',
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,NaN]}]}',
      'body',
      /binary/,
    ],
    ['a body that is no object', [], 'body', /object/],
    ['null', 'null', 'body', /object/],
    ['no inputs', {}, 'inputs', /array/],
    ['inputs that are no array', { inputs: {} }, 'inputs', /array/],
    ['an input too few', { inputs: [] }, 'inputs', /'x'.*missing/],
    ['an input that is no object', { inputs: [1] }, 'inputs[0]', /object/],
    ['an unknown input', one({ name: 'z' }), 'inputs[0].name', /\(x\).*'z'/],
    ['an input named like a prototype', one({ name: '__proto__' }), 'inputs[0].name', /__proto__/],
    [
      'an input that comes twice',
      { inputs: [...one({}).inputs, ...one({}).inputs] },
      'inputs[1].name',
      /twice/,
    ],
    ['an id that is no string', { id: 1, ...one({}) }, 'id', /string/],
    ['a deeply nested id', `{"id":${NESTED}}`, 'id', /an array of 1/],
    ['the wrong datatype', one({ datatype: 'FP64' }), 'inputs[0].datatype', /FP32.*FP64/],
    ['no datatype', one({ datatype: undefined }), 'inputs[0].datatype', /FP32/],
    ['BYTES', one({ datatype: 'BYTES' }), 'inputs[0].datatype', /BYTES.*not support/],
    ['UINT32', one({ datatype: 'UINT32' }), 'inputs[0].datatype', /UINT32.*not support/],
    ['a datatype that is an object', one({ datatype: { a: 1 } }), 'inputs[0].datatype', /an object/],
    ['no shape', one({ shape: undefined }), 'inputs[0].shape', /\[-1, 2\]/],
    ['too few dimensions', one({ shape: [2] }), 'inputs[0].shape', /\[-1, 2\].*\[2\]/],
    ['too many dimensions', one({ shape: [1, 1, 2] }), 'inputs[0].shape', /\[1, 1, 2\]/],
    ['another fixed dimension', one({ shape: [1, 3] }), 'inputs[0].shape', /\[1, 3\]/],
    ['no rows', one({ shape: [0, 2], data: [] }), 'inputs[0].shape', /\[0, 2\]/],
    ['a negative dimension', one({ shape: [-1, 2] }), 'inputs[0].shape', /received \[-1, 2\]/],
    ['a fractional dimension', one({ shape: [0.5, 2] }), 'inputs[0].shape', /0\.5/],
    ['a dimension in a string', one({ shape: ['1', 2] }), 'inputs[0].shape', /'1'/],
    [
      'a shape whose product overflows',
      one({ shape: [2 ** 53 - 1, 2] }),
      'inputs[0].shape',
      /9007199254740991/,
    ],
    [
      'a shape of far more elements than there is data',
      one({ shape: [2 ** 40, 2] }),
      'inputs[0].data',
      /received 2/,
    ],
    [
      'a shape of a hundred thousand dimensions',
      one({ shape: new Array(1e5).fill(1) }),
      'inputs[0].shape',
      /100000/,
    ],
    ['no data', one({ data: undefined }), 'inputs[0].data', /array/],
    ['data in a string', one({ data: '1,2' }), 'inputs[0].data', /array/],
    ['data too short', one({ data: [1] }), 'inputs[0].data', /Expected 2 .* received 1/],
    ['data too long', one({ data: [1, 2, 3] }), 'inputs[0].data', /received 3/],
    ['nested data of the wrong length', one({ data: [[1, 2, 3]] }), 'inputs[0].data', /depth 1.*received 3/],
    [
      'too many rows of nested data',
      one({
        data: [
          [1, 2],
          [3, 4],
        ],
      }),
      'inputs[0].data',
      /depth 0.*received 2/,
    ],
    ['data nested too deep', one({ data: [[1, [2]]] }), 'inputs[0].data', /element 1.*an array of 1/],
    ['parameters of an input that are no object', one({ parameters: 1 }), 'inputs[0].parameters', /object/],
    ['data nested in part', one({ data: [[1, 2], 3], shape: [2, 2] }), 'inputs[0].data', /depth 1.*3/],
    [
      'data nested a hundred thousand deep',
      `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":${NESTED}}]}`,
      'inputs[0].data',
      /depth 1|elements/,
    ],
    ['null as an element', one({ data: [1, null] }), 'inputs[0].data', /element 1.*null/],
    ['a string as an element', one({ data: [1, '2'] }), 'inputs[0].data', /element 1.*'2'/],
    [
      'infinity by overflow',
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,1e999]}]}',
      'inputs[0].data',
      /finite/,
    ],
    ['more than a 32-bit float holds', one({ data: [1, 1e39] }), 'inputs[0].data', /32-bit.*1e\+39/],
    ['parameters that are no object', { ...one({}), parameters: [] }, 'parameters', /object/],
    [
      'a timeout that is no number',
      { ...one({}), parameters: { timeout: '5' } },
      'parameters.timeout',
      /microseconds/,
    ],
    ['a negative timeout', { ...one({}), parameters: { timeout: -5 } }, 'parameters.timeout', /microseconds/],
    [
      'a flag that is no flag',
      { ...one({}), parameters: { binary_data_output: 1 } },
      'parameters.binary_data_output',
      /true or false/,
    ],
    ['outputs that are no array', { ...one({}), outputs: 'y' }, 'outputs', /array/],
    ['an unknown output', { ...one({}), outputs: [{ name: 'z' }] }, 'outputs[0].name', /\(y\).*'z'/],
    [
      'an output that comes twice',
      { ...one({}), outputs: [{ name: 'y' }, { name: 'y' }] },
      'outputs[1].name',
      /twice/,
    ],
    [
      'classification',
      { ...one({}), outputs: [{ name: 'y', parameters: { classification: 3 } }] },
      'outputs[0].parameters.classification',
      /not supported/,
    ],
    [
      'shared memory',
      one({ parameters: { shared_memory_region: 'a' } }),
      'inputs[0].parameters.shared_memory_region',
      /not supported/,
    ],
    [
      'a binary tensor without the header',
      one({ data: undefined, parameters: { binary_data_size: 8 } }),
      'inputs[0].parameters.binary_data_size',
      /Inference-Header/,
    ],
  ])('%s', async (_, request, field, reason) => {
    const { url } = await start();
    const answer = await post(inferUrl(url), request);
    const body = answer.body as Refusal;
    expect(answer.status).toBe(400);
    expect(body).toMatchObject({ code: 'DT_INVALID_REQUEST', field });
    expect(body.error).toMatch(reason);
    expect(body.error.length).toBeLessThan(600);
  });
});

describe('elements out of the range of their datatype are refused:', () => {
  test.each<['UINT8' | 'INT8' | 'INT32' | 'INT64' | 'BOOL', unknown[]]>([
    ['UINT8', [-1, 256, 1.5, true, '1']],
    ['INT8', [-129, 128]],
    ['INT32', [-(2 ** 31) - 1, 2 ** 31, 0.1]],
    ['INT64', [2 ** 53, -(2 ** 53), 1e300, 0.5]],
    ['BOOL', [2, -1, 'true', null]],
  ])('%s %j', async (datatype, elements) => {
    const { url } = await start([echo(datatype, [-1])]);
    for (const element of elements) {
      const request = { inputs: [{ name: 'in', datatype, shape: [1], data: [element] }] };
      const answer = await post(inferUrl(url, `echo_${datatype.toLowerCase()}`), request);
      expect([answer.status, answer.body]).toEqual([
        400,
        expect.objectContaining({ field: 'inputs[0].data' }),
      ]);
    }
  });
});

describe('half-precision tensors travel in binary only:', () => {
  test.each(['FP16', 'BF16'] as const)('%s in JSON is refused, both ways', async (datatype) => {
    const { url } = await start([echo(datatype, [-1])]);
    const input = { name: 'in', datatype, shape: [1] };
    const model = inferUrl(url, `echo_${datatype.toLowerCase()}`);
    const sent = await post(model, {
      inputs: [{ ...input, data: [1] }],
      parameters: { binary_data_output: true },
    });
    expect([sent.status, sent.body]).toEqual([400, expect.objectContaining({ field: 'inputs[0].data' })]);
    const { headers, body } = binaryBody(
      { inputs: [{ ...input, parameters: { binary_data_size: 2 } }] },
      new Uint16Array(1),
    );
    const asked = await fetch(model, { method: 'POST', headers, body });
    expect([asked.status, ((await asked.json()) as Refusal).field]).toEqual([
      400,
      'outputs[0].parameters.binary_data',
    ]);
  });
});

describe('a request in binary is refused with the field and the reason:', () => {
  const input = (size: unknown, more: object = {}) => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: size }, ...more }],
  });
  const SIZE = 'inputs[0].parameters.binary_data_size';

  test.each<[string, object, number, string, RegExp]>([
    ['tensors cut short', input(8), 7, SIZE, /ends after 7/],
    ['no tensor at all', input(8), 0, SIZE, /ends after 0/],
    ['bytes too many', input(8), 9, 'body', /Expected 8 bytes.*received 9/],
    ['bytes that nobody announced', x([1, 2]), 1, 'body', /Expected 0 bytes/],
    ['a size that does not fit the shape', input(4), 4, SIZE, /Expected 8 bytes.*received 4/],
    ['a size that is negative', input(-8), 8, SIZE, /received -8/],
    ['a size in a string', input('8'), 8, SIZE, /'8'/],
    ['data beside it', input(8, { data: [1, 2] }), 8, 'inputs[0].data', /both/],
    ['a shape past all memory', input(2 ** 50, { shape: [2 ** 47, 2] }), 8, SIZE, /ends after 8|bytes/],
  ])('%s', async (_, json, bytes, field, reason) => {
    const { url } = await start();
    const { headers, body } = binaryBody(json, new Uint8Array(bytes));
    const response = await fetch(inferUrl(url), { method: 'POST', headers, body });
    const answer = (await response.json()) as Refusal;
    expect([response.status, answer.field]).toEqual([400, field]);
    expect(answer.error).toMatch(reason);
  });

  test.each(['1000000', '-1', '1e1', '0x10', '10.5', 'abc', '', '99999999999999999999'])(
    'a header length of %j',
    async (length) => {
      const { url } = await start();
      const response = await fetch(inferUrl(url), {
        method: 'POST',
        headers: { 'inference-header-content-length': length },
        body: JSON.stringify(x([1, 2])),
      });
      const field = 'Inference-Header-Content-Length';
      expect([response.status, await response.json()]).toEqual([400, expect.objectContaining({ field })]);
    },
  );

  test('a BOOL that is neither 0 nor 1', async () => {
    const { url } = await start([echo('BOOL', [-1])]);
    const { headers, body } = binaryBody(
      { inputs: [{ name: 'in', datatype: 'BOOL', shape: [3], parameters: { binary_data_size: 3 } }] },
      Uint8Array.of(1, 0, 2),
    );
    const response = await fetch(inferUrl(url, 'echo_bool'), { method: 'POST', headers, body });
    expect([response.status, ((await response.json()) as Refusal).error]).toEqual([
      400,
      expect.stringMatching(/element 2/),
    ]);
  });
});

describe('a compressed body is refused', () => {
  test('with 415 and what would do, for an encoding that is not known', async () => {
    const { url } = await start();
    const response = await fetch(inferUrl(url), {
      method: 'POST',
      headers: { 'content-encoding': 'br' },
      body: 'x',
    });
    expect([response.status, response.headers.get('accept-encoding')]).toEqual([415, 'gzip, deflate']);
    expect(await response.json()).toMatchObject({ field: 'Content-Encoding' });
  });

  test('with 400 when it does not inflate', async () => {
    const { url } = await start();
    for (const body of ['not compressed', gzipSync('{}').subarray(0, 10), deflateRawSync('{}')]) {
      const response = await fetch(inferUrl(url), {
        method: 'POST',
        headers: { 'content-encoding': 'gzip' },
        body,
      });
      expect([response.status, ((await response.json()) as Refusal).field]).toEqual([400, 'body']);
    }
  });

  test('with 413 when it inflates past the limit', async () => {
    const { url } = await start([doubler], { maxBodyBytes: 100_000 });
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    expect(bomb.length).toBeLessThan(100_000);
    const response = await fetch(inferUrl(url), {
      method: 'POST',
      headers: { 'content-encoding': 'gzip' },
      body: bomb,
    });
    expect(response.status).toBe(413);
  });
});

describe('what is not there is answered', () => {
  test.each([
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v2/nothing'],
    ['GET', '/v2/models/nobody'],
    ['GET', '/v2/models/nobody/ready'],
    ['POST', '/v2/models/nobody/infer'],
    ['GET', '/v2/models/__proto__'],
    ['GET', '/v2/models/doubler/versions/2'],
    ['GET', '/v2/models/doubler/versions'],
    ['GET', '/v2/models/doubler/nothing'],
    ['GET', '/v2/models/doubler/ready/more'],
    ['POST', '/v2/models/doubler/versions/01/infer'],
    ['GET', '/metrics/more'],
  ])('%s %s with 404', async (method, path) => {
    const { url } = await start();
    const response = await fetch(url + path, { method });
    expect([response.status, await response.json()]).toEqual([
      404,
      expect.objectContaining({ code: 'DT_NOT_FOUND' }),
    ]);
  });

  test('a path that does not decode with 400', async () => {
    const { url } = await start();
    expect((await fetch(`${url}/v2/models/%ff`)).status).toBe(400);
  });

  test.each([
    ['POST', '/v2', 'GET, HEAD'],
    ['DELETE', '/v2/models/doubler', 'GET, HEAD'],
    ['PUT', '/v2/models/doubler/infer', 'POST'],
    ['GET', '/v2/models/doubler/infer', 'POST'],
    ['POST', '/metrics', 'GET, HEAD'],
    ['POST', '/v2/health/live', 'GET, HEAD'],
  ])('%s %s with 405 and Allow', async (method, path, allow) => {
    const { url } = await start();
    const response = await fetch(url + path, { method });
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow]);
  });
});

test('a model that needs two inputs names the one that is missing', async () => {
  const { url } = await start([sumAndProduct]);
  const answer = await post(inferUrl(url, 'sum_and_product'), {
    inputs: [{ name: 'a', datatype: 'FP64', shape: [1], data: [1] }],
  });
  expect([answer.status, (answer.body as Refusal).error]).toEqual([400, expect.stringMatching(/'b'/)]);
});

test('a request of more rows than a batch holds is refused as too large', async () => {
  const { url } = await start([{ ...doubler, batching: { maxBatchSize: 2 } }]);
  const answer = await post(inferUrl(url), x([1, 2, 3, 4, 5, 6], [3, 2]));
  expect([answer.status, answer.body]).toEqual([
    400,
    expect.objectContaining({ code: 'DT_BATCH_TOO_LARGE' }),
  ]);
});
