import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Datatype } from '../../dist/serve/index.js';
import { binaryBody, echo, inferUrl, start } from './support.js';

const ARRAYS = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  INT8: Int8Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  BF16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

const finite = { noNaN: true, noDefaultInfinity: true };
const NEGATIVE_ZERO_IS_ZERO = (value: number) => value + 0;

/** Elements as JSON carries them. JSON's zero has no sign. */
const JSON_ELEMENTS: Partial<Record<Datatype, fc.Arbitrary<number | boolean>>> = {
  BOOL: fc.boolean(),
  UINT8: fc.integer({ min: 0, max: 255 }),
  INT8: fc.integer({ min: -128, max: 127 }),
  INT32: fc.integer(),
  INT64: fc.maxSafeInteger(),
  FP32: fc.float(finite).map(NEGATIVE_ZERO_IS_ZERO),
  FP64: fc.double(finite).map(NEGATIVE_ZERO_IS_ZERO),
};

const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
const sizeOf = (shape: number[]) => shape.reduce((product, dimension) => product * dimension, 1);

function nest(values: unknown[], [, ...rest]: number[]): unknown {
  if (rest.length === 0) return values;
  const width = sizeOf(rest);
  return Array.from({ length: values.length / width }, (_, i) =>
    nest(values.slice(i * width, (i + 1) * width), rest),
  );
}

const anyShapes = (datatype: Datatype) =>
  [1, 2, 3, 4].map((rank) => ({ ...echo(datatype, new Array(rank).fill(-1)), name: `echo_${rank}` }));

test.each(Object.keys(JSON_ELEMENTS) as Datatype[])(
  '%s comes back from JSON as it was sent, flat or nested',
  async (datatype) => {
    const { url } = await start(anyShapes(datatype));
    const tensors = shapes.chain((shape) => {
      const size = sizeOf(shape);
      const elements = fc.array<number | boolean>(JSON_ELEMENTS[datatype]!, {
        minLength: size,
        maxLength: size,
      });
      return fc.record({ shape: fc.constant(shape), elements, nested: fc.boolean() });
    });
    await fc.assert(
      fc.asyncProperty(tensors, async ({ shape, elements, nested }) => {
        const data = nested ? nest(elements, shape) : elements;
        const response = await fetch(inferUrl(url, `echo_${shape.length}`), {
          method: 'POST',
          body: JSON.stringify({ inputs: [{ name: 'in', datatype, shape, data }] }),
        });
        const body = (await response.json()) as { outputs: object[] };
        expect(body.outputs).toEqual([{ name: 'out', datatype, shape, data: elements }]);
      }),
      { numRuns: 40 },
    );
  },
);

test.each(Object.keys(ARRAYS) as Datatype[])('%s comes back from binary bit for bit', async (datatype) => {
  const { url } = await start(anyShapes(datatype));
  const width = ARRAYS[datatype].BYTES_PER_ELEMENT;
  const tensors = shapes.chain((shape) => {
    const length = sizeOf(shape) * width;
    const bytes = fc.uint8Array({ minLength: length, maxLength: length, max: datatype === 'BOOL' ? 1 : 255 });
    return fc.record({ shape: fc.constant(shape), bytes, id: fc.string() });
  });
  await fc.assert(
    fc.asyncProperty(tensors, async ({ shape, bytes, id }) => {
      const { headers, body } = binaryBody(
        {
          id,
          inputs: [{ name: 'in', datatype, shape, parameters: { binary_data_size: bytes.length } }],
          parameters: { binary_data_output: true },
        },
        bytes,
      );
      const response = await fetch(inferUrl(url, `echo_${shape.length}`), { method: 'POST', headers, body });
      expect(response.status).toBe(200);
      const answer = Buffer.from(await response.arrayBuffer());
      const length = Number(response.headers.get('inference-header-content-length'));
      expect(JSON.parse(answer.toString('utf8', 0, length))).toMatchObject({
        id,
        outputs: [{ name: 'out', datatype, shape, parameters: { binary_data_size: bytes.length } }],
      });
      expect([...answer.subarray(length)]).toEqual([...bytes]);
    }),
    { numRuns: 40 },
  );
});
