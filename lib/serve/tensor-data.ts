import type { TypedArray } from '../native/index.js';
import { DTYPES, formatShape, type Shape, sizeOf, type Tensor, wrap } from '../tensor/index.js';
import type { Datatype, DatatypeInfo } from './datatypes.js';
import { badRequest, show } from './errors.js';

/**
 * A tensor out of the `data` of a JSON tensor, flat or nested as its shape. `jsonBytes` is the length of the JSON
 * that it came in: it bounds how many elements there can be before any memory is taken for them.
 */
export function fromJson(
  data: unknown,
  shape: Shape,
  datatype: Datatype,
  { dtype, json }: DatatypeInfo,
  jsonBytes: number,
  field: string,
): Tensor {
  if (json === undefined) {
    throw badRequest(field, `${datatype} has no form in JSON: send it in binary, with binary_data_size.`);
  }
  if (!Array.isArray(data))
    throw badRequest(field, `Expected an array for ${field} but received ${show(data)}.`);
  const size = sizeOf(shape);
  const wrongLength = (length: number, expected: number, where: string) =>
    badRequest(
      field,
      `Expected ${expected} elements for ${where} of shape ${formatShape(shape)} but received ${length}.`,
    );
  if (size > jsonBytes) throw wrongLength(data.length, size, field);
  const values = new DTYPES[dtype].array(size);
  let next = 0;
  const read = (elements: readonly unknown[]) => {
    for (const element of elements) {
      const value = json.parse(element);
      if (value === undefined) {
        throw badRequest(
          field,
          `Expected ${json.expected} as element ${next} of ${field} but received ${show(element)}.`,
        );
      }
      values[next++] = value;
    }
  };
  const readNested = (elements: unknown, axis: number) => {
    if (!Array.isArray(elements)) {
      throw badRequest(
        field,
        `Expected an array at depth ${axis} of ${field} but received ${show(elements)}.`,
      );
    }
    if (elements.length !== shape[axis])
      throw wrongLength(elements.length, shape[axis]!, `depth ${axis} of ${field}`);
    if (axis === shape.length - 1) read(elements);
    else for (const inner of elements) readNested(inner, axis + 1);
  };
  if (shape.length > 1 && Array.isArray(data[0])) {
    readNested(data, 0);
  } else {
    if (data.length !== size) throw wrongLength(data.length, size, field);
    read(data);
  }
  return wrap(values, shape, { dtype });
}

/** A tensor over its bytes in a body: without a copy where these are aligned for its elements. */
export function fromBinary(
  bytes: Buffer,
  shape: Shape,
  { dtype, bytes: width }: DatatypeInfo,
  field: string,
): Tensor {
  if (dtype === 'bool') {
    const wrong = bytes.findIndex((byte) => byte > 1);
    if (wrong >= 0) {
      throw badRequest(
        field,
        `Expected 0 or 1 as element ${wrong} of the BOOL tensor ${field} but received ${bytes[wrong]}.`,
      );
    }
  }
  // Not Buffer.slice, which would not copy.
  const aligned = bytes.byteOffset % width === 0 ? bytes : Uint8Array.prototype.slice.call(bytes);
  const values = new DTYPES[dtype].array(aligned.buffer, aligned.byteOffset, bytes.length / width);
  return wrap(values, shape, { dtype });
}

/** Whether no f32 or f64 is NaN or infinite. */
export function isAllFinite(tensor: Tensor): boolean {
  const isLooked = tensor.dtype === 'f32' || tensor.dtype === 'f64';
  return !isLooked || (tensor.borrow() as Float32Array | Float64Array).every(Number.isFinite);
}

/** The elements as a JSON array: 64-bit integers digit by digit. Undefined where one is not finite. */
export function toJson(values: TypedArray, datatype: Datatype): string | undefined {
  if (datatype === 'BOOL') return `[${Array.from(values as Uint8Array, (value) => value !== 0).join(',')}]`;
  if ((datatype === 'FP32' || datatype === 'FP64') && !(values as Float32Array).every(Number.isFinite))
    return undefined;
  return `[${values.join(',')}]`;
}
