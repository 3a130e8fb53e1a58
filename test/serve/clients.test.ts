import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { binaryBody, doubler, inferUrl, start, sumAndProduct, x } from './support.js';

const curl = async (...args: string[]) =>
  (await promisify(execFile)('curl', ['-sS', '--max-time', '20', ...args])).stdout;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'drivetrain-clients-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

// Windows brings it, wine does not.
const hasCurl = spawnSync('curl', ['--version']).status === 0;

describe.skipIf(process.platform === 'win32' && !hasCurl)('curl', () => {
  test('sends JSON and reads JSON', async () => {
    const { url } = await start();
    const answer = JSON.parse(await curl('--json', JSON.stringify(x([1, 2])), inferUrl(url)));
    expect(answer.outputs).toEqual([{ name: 'y', datatype: 'FP32', shape: [1, 2], data: [2, 4] }]);
  });

  test('sends a binary tensor from a file, without Content-Type, and gets one', async () => {
    const { url } = await start();
    const { headers, body } = binaryBody(
      {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
        outputs: [{ name: 'y', parameters: { binary_data: true } }],
      },
      Float32Array.of(1, 2),
    );
    const path = folder();
    writeFileSync(join(path, 'request'), body);
    const length = `Inference-Header-Content-Length: ${headers['Inference-Header-Content-Length']}`;
    const status = await curl(
      ...['-H', length, '-H', 'Content-Type:', '--data-binary', `@${join(path, 'request')}`],
      ...[
        '-o',
        join(path, 'answer'),
        '-w',
        '%{http_code} %header{inference-header-content-length}',
        inferUrl(url),
      ],
    );
    const [code, headerLength] = status.split(' ').map(Number);
    expect(code).toBe(200);
    expect(
      new Float32Array(new Uint8Array(readFileSync(join(path, 'answer')).subarray(headerLength)).buffer),
    ).toEqual(Float32Array.of(2, 4));
  });

  test('reads the answer to a body that is too large, which it announces with Expect: 100-continue', async () => {
    const { url } = await start([doubler], { maxBodyBytes: 1000 });
    const path = join(folder(), 'request');
    writeFileSync(path, Buffer.alloc(2 ** 22));
    const answer = await curl('--data-binary', `@${path}`, '-w', '\n%{http_code}', inferUrl(url));
    expect(answer).toMatch(/1000 bytes.*\n413$/s);
  });

  test('sends a body in chunks', async () => {
    const { url } = await start();
    const answer = await curl(
      '-H',
      'Transfer-Encoding: chunked',
      '-d',
      JSON.stringify(x([1, 2])),
      inferUrl(url),
    );
    expect(JSON.parse(answer).outputs[0].data).toEqual([2, 4]);
  });
});

/**
 * What Python's tritonclient.http sends and expects, written from the protocol: no Content-Type, every input in
 * binary, `binary_data_output` unless outputs are named, and an answer whose tensors lie at increasing offsets.
 */
class TritonLikeClient {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async infer(model: string, inputs: Record<string, Float64Array>, outputs: string[] = []) {
    const json = {
      id: '1',
      inputs: Object.entries(inputs).map(([name, values]) => ({
        name,
        shape: [values.length],
        datatype: 'FP64',
        parameters: { binary_data_size: values.byteLength },
      })),
      ...(outputs.length > 0
        ? { outputs: outputs.map((name) => ({ name, parameters: { binary_data: true } })) }
        : { parameters: { binary_data_output: true } }),
    };
    const { headers, body } = binaryBody(json, ...Object.values(inputs));
    const answer = await this.#post(`/v2/models/${model}/infer`, headers, body);
    let offset = Number(answer.headers['inference-header-content-length']);
    const described = JSON.parse(answer.body.toString('utf8', 0, offset)) as {
      id: string;
      outputs: { name: string; shape: number[]; parameters: { binary_data_size: number } }[];
    };
    expect(described.id).toBe('1');
    const results: Record<string, number[]> = {};
    for (const { name, parameters } of described.outputs) {
      const bytes = Uint8Array.from(answer.body.subarray(offset, offset + parameters.binary_data_size));
      results[name] = [...new Float64Array(bytes.buffer)];
      offset += parameters.binary_data_size;
    }
    expect(offset).toBe(answer.body.length);
    return results;
  }

  #post(path: string, headers: Record<string, string>, body: Buffer) {
    return new Promise<{ headers: NodeJS.Dict<string | string[]>; body: Buffer }>((resolve, reject) => {
      const sending = request(this.#url + path, {
        method: 'POST',
        headers: { ...headers, 'Content-Length': body.length },
      });
      sending.on('error', reject);
      sending.on('response', (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      });
      sending.end(body);
    });
  }
}

test('a client that speaks as tritonclient does gets its tensors', async () => {
  const { url } = await start([sumAndProduct]);
  const client = new TritonLikeClient(url);
  const inputs = { a: Float64Array.of(1, 2, 3), b: Float64Array.of(4, 5, 6) };
  expect(await client.infer('sum_and_product', inputs)).toEqual({ sum: [5, 7, 9], product: [4, 10, 18] });
  expect(await client.infer('sum_and_product', inputs, ['product'])).toEqual({ product: [4, 10, 18] });
});
