import { expect, test } from 'vitest';
import { sampleOf } from '../scheduling/support.js';
import { binaryBody, doubler, inferUrl, post, start, sumAndProduct, x } from './support.js';

test('/metrics tells of requests by outcome, rows, runs, bytes and durations, in our names and in those of Triton', async () => {
  const { url } = await start([doubler, sumAndProduct]);
  await post(inferUrl(url), x([1, 2, 3, 4], [2, 2]));
  const { headers, body } = binaryBody(
    { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }] },
    new Float32Array(2),
  );
  const answer = await fetch(inferUrl(url), { method: 'POST', headers, body });
  const sent = (await answer.arrayBuffer()).byteLength;
  await post(inferUrl(url), x([1, 2], [1, 3]));
  const a = { name: 'a', datatype: 'FP64', shape: [1], data: [1] };
  await post(inferUrl(url, 'sum_and_product'), { inputs: [a, { ...a, name: 'b' }] });

  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const text = await response.text();
  const value = (name: string, labels = '', model = 'doubler') =>
    sampleOf(text, `${name}{model="${model}",version="1"${labels}}`);

  expect(value('drivetrain_inference_requests_total', ',outcome="ok"')).toBe(2);
  expect(value('drivetrain_inference_requests_total', ',outcome="invalid_request"')).toBe(1);
  expect(value('drivetrain_inference_duration_seconds_count')).toBe(2);
  expect(value('drivetrain_inference_received_bytes_total')).toBeGreaterThan(body.length);
  expect(value('drivetrain_inference_sent_bytes_total')).toBeGreaterThan(sent);

  expect(value('nv_inference_request_success')).toBe(2);
  expect(value('nv_inference_request_failure', ',reason="OTHER"')).toBe(1);
  expect(value('nv_inference_count')).toBe(3);
  expect(value('nv_inference_exec_count')).toBe(2);
  expect(value('nv_inference_pending_request_count')).toBe(0);
  const [all, queued, computed] = ['request', 'queue', 'compute_infer'].map(
    (part) => value(`nv_inference_${part}_duration_us`)!,
  );
  expect(queued).toBeGreaterThan(0);
  expect(computed).toBeGreaterThan(0);
  expect(all).toBeGreaterThan(queued! + computed!);

  expect(value('nv_inference_exec_count', '', 'sum_and_product')).toBe(1);
  expect(value('nv_inference_compute_infer_duration_us', '', 'sum_and_product')).toBeGreaterThan(0);
  expect(sampleOf(text, 'drivetrain_batch_size_rows_sum{batcher="doubler:1"}')).toBe(3);
});

test('names out of requests do not become labels', async () => {
  const { url } = await start();
  await post(inferUrl(url, 'made-up'), x([1, 2]));
  expect(await (await fetch(`${url}/metrics`)).text()).not.toContain('made-up');
});
