import { expect, test } from 'vitest';
import { FLOAT, onnxModel } from '../../bench/peers/onnx-model.mjs';

/** The fields of a protobuf message: [number, value], where a value is a number or bytes. */
function decode(bytes: Uint8Array): [field: number, value: number | Uint8Array][] {
  const fields: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag % 8;
    const length = wire === 5 ? 4 : wire === 2 ? varint() : 0;
    fields.push([tag >> 3, wire === 0 ? varint() : bytes.subarray(at, at + length)]);
    at += length;
  }
  return fields;
}

const all = (message: [number, number | Uint8Array][], field: number) =>
  message.filter(([number]) => number === field).map(([, value]) => value);
const messages = (message: [number, number | Uint8Array][], field: number) =>
  all(message, field).map((value) => decode(value as Uint8Array));
const texts = (message: [number, number | Uint8Array][], field: number) =>
  all(message, field).map((value) => Buffer.from(value as Uint8Array).toString());

test('a model is read back by the field numbers of onnx.proto', () => {
  const bytes = onnxModel({
    nodes: [
      { op: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      {
        op: 'Transpose',
        inputs: ['h'],
        outputs: ['y'],
        attributes: { perm: [1, 0], axis: 300, epsilon: { float: 0.5 } },
      },
    ],
    inputs: { x: { shape: [2, 300] } },
    outputs: { y: { shape: [1, 2] } },
    initializers: { w: { shape: [300, 1], data: new Float32Array(300).fill(2) } },
  });
  const model = decode(bytes);
  expect(all(model, 1)).toEqual([10]);
  expect(messages(model, 8).map((set) => [texts(set, 1)[0], all(set, 2)[0]])).toEqual([
    ['', 23],
    ['com.microsoft', 1],
  ]);
  const [graph] = messages(model, 7);
  const [matmul, transpose] = messages(graph!, 1);
  expect([texts(matmul!, 1), texts(matmul!, 2), texts(matmul!, 4)]).toEqual([['x', 'w'], ['h'], ['MatMul']]);
  const [perm, axis, epsilon] = messages(transpose!, 5);
  expect([texts(perm!, 1)[0], all(perm!, 8), all(perm!, 20)]).toEqual(['perm', [1, 0], [7]]);
  expect([texts(axis!, 1)[0], all(axis!, 3), all(axis!, 20)]).toEqual(['axis', [300], [2]]);
  expect(Buffer.from(all(epsilon!, 2)[0] as Uint8Array).readFloatLE()).toBe(0.5);
  expect(all(epsilon!, 20)).toEqual([1]);
  const [weight] = messages(graph!, 5);
  expect([all(weight!, 1), all(weight!, 2), texts(weight!, 8)]).toEqual([[300, 1], [FLOAT], ['w']]);
  const raw = Buffer.from(all(weight!, 9)[0] as Uint8Array);
  expect([raw.length, raw.readFloatLE(1196)]).toEqual([1200, 2]);
  const [input] = messages(graph!, 11);
  const [type] = messages(messages(input!, 2)[0]!, 1);
  expect([texts(input!, 1)[0], all(type!, 1)]).toEqual(['x', [FLOAT]]);
  expect(messages(messages(type!, 2)[0]!, 1).map((size) => all(size, 1)[0])).toEqual([2, 300]);
});
