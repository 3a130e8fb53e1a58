// Writes small ONNX models: the few messages of onnx.proto that a graph of plain nodes needs, in protobuf's encoding.

export const FLOAT = 1;
export const UINT8 = 2;
export const INT8 = 3;
export const INT32 = 6;
export const INT64 = 7;

const VARINT = 0;
const BYTES = 2;
const FIXED32 = 5;

function varint(value) {
  const bytes = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

const field = (number, wire, content) => Buffer.concat([varint(number * 8 + wire), content]);
const integer = (number, value) => field(number, VARINT, varint(value));
const bytes = (number, content) => field(number, BYTES, Buffer.concat([varint(content.length), content]));
const text = (number, value) => bytes(number, Buffer.from(value));
const message = (number, ...fields) => bytes(number, Buffer.concat(fields));

function float(number, value) {
  const content = Buffer.alloc(4);
  content.writeFloatLE(value);
  return field(number, FIXED32, content);
}

/** AttributeProto: whole numbers are INT, [numbers] INTS; { float } is FLOAT. */
function attribute(name, value) {
  if (Array.isArray(value)) {
    return [text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7)];
  }
  return typeof value === 'object'
    ? [text(1, name), float(2, value.float), integer(20, 1)]
    : [text(1, name), integer(3, value), integer(20, 2)];
}

/** NodeProto. */
function node({ op, inputs, outputs, attributes = {}, domain = '' }) {
  return [
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) => message(5, ...attribute(name, value))),
    text(7, domain),
  ];
}

/** TensorProto. */
function tensor(name, { type = FLOAT, shape, data }) {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return [...shape.map((size) => integer(1, size)), integer(2, type), text(8, name), bytes(9, raw)];
}

/** ValueInfoProto. */
function valueInfo(name, { type = FLOAT, shape }) {
  const sizes = shape.map((size) => message(1, integer(1, size)));
  return [text(1, name), message(2, message(1, integer(1, type), message(2, ...sizes)))];
}

/**
 * The bytes of a model. `nodes` are { op, inputs, outputs, attributes?, domain? }, in order; `inputs` and `outputs` are
 * { type?, shape } by name, `initializers` { type?, shape, data }.
 */
export function onnxModel({ nodes, inputs, outputs, initializers = {} }) {
  const each = (number, write, named) =>
    Object.entries(named).map(([name, value]) => message(number, ...write(name, value)));
  return Buffer.concat([
    integer(1, 10),
    message(
      7,
      ...nodes.map((item) => message(1, ...node(item))),
      text(2, 'bench'),
      ...each(5, tensor, initializers),
      ...each(11, valueInfo, inputs),
      ...each(12, valueInfo, outputs),
    ),
    message(8, text(1, ''), integer(2, 23)),
    message(8, text(1, 'com.microsoft'), integer(2, 1)),
  ]);
}
