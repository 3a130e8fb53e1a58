import { formatShape, MAX_RANK, sizeOf, type Tensor } from '../tensor/index.js';
import { DATATYPES } from './datatypes.js';
import { badRequest, show } from './errors.js';
import { type Model, shapeFits, type TensorSpec } from './model.js';
import { fromBinary, fromJson } from './tensor-data.js';

/** An inference request that has been checked against its model. */
export interface InferRequest {
  readonly id: string | undefined;
  /** In the order in which the model declares them. */
  readonly inputs: readonly Tensor[];
  /** In the order of the answer. */
  readonly outputs: readonly RequestedOutput[];
  readonly timeoutMs: number | undefined;
}

interface RequestedOutput {
  readonly spec: TensorSpec;
  /** Its place among the model's outputs. */
  readonly index: number;
  readonly binary: boolean;
}

type JsonObject = Readonly<Record<string, unknown>>;

/** What changes an answer when it is asked for, and so must not be passed over like other unknown parameters. */
const UNSUPPORTED_PARAMETERS = ['classification', 'shared_memory_region'];

/**
 * Reads the body of an inference request: JSON, and after its first `headerLength` bytes the binary tensors in the
 * order of `inputs`. Throws a `RequestError` (400) that names the field and the reason.
 */
export function parseInferRequest(
  body: Buffer,
  headerLength: string | undefined,
  model: Model,
): InferRequest {
  const jsonBytes = headerLength === undefined ? body.length : parseHeaderLength(headerLength, body.length);
  const request = parseJson(body.toString('utf8', 0, jsonBytes));
  const { id } = request;
  if (id !== undefined && typeof id !== 'string')
    throw badRequest('id', `Expected a string for id but received ${show(id)}.`);
  const parameters = objectOrNothing(request.parameters, 'parameters');
  const binary = headerLength === undefined ? undefined : body.subarray(jsonBytes);
  return {
    id,
    inputs: parseInputs(request.inputs, model, jsonBytes, binary),
    outputs: parseOutputs(
      request.outputs,
      model,
      flag(parameters.binary_data_output, 'parameters.binary_data_output'),
    ),
    timeoutMs: parseTimeout(parameters.timeout),
  };
}

function parseHeaderLength(text: string, bodyLength: number): number {
  const length = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(length <= bodyLength)) {
    throw badRequest(
      'Inference-Header-Content-Length',
      `Expected the length of the JSON part, at most the ${bodyLength} bytes of the body, in Inference-Header-Content-Length but received ${show(text)}.`,
    );
  }
  return length;
}

function parseJson(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest('body', `Expected JSON but received ${notJson(text, error as Error)}.`);
  }
  return object(value, 'body');
}

/** What a body is that is no JSON, and the usual reason. */
function notJson(text: string, { message }: Error): string {
  if (text.trim() === '') return 'an empty body';
  if (/^\s*\{[\s\S]*\}[\s\S]/.test(text) && text.includes('binary_data_size'))
    return `something behind it (${message}): with binary tensors the header Inference-Header-Content-Length gives the length of the JSON`;
  const hint = /\b(NaN|Infinity)\b/.test(text)
    ? '; NaN and Infinity are not JSON: send such tensors in binary'
    : '';
  return `something else (${message})${hint}`;
}

function parseInputs(inputs: unknown, model: Model, jsonBytes: number, binary: Buffer | undefined): Tensor[] {
  if (!Array.isArray(inputs))
    throw badRequest('inputs', `Expected an array for inputs but received ${show(inputs)}.`);
  const tensors = new Map<TensorSpec, Tensor>();
  let offset = 0;
  inputs.forEach((item: unknown, i) => {
    const field = `inputs[${i}]`;
    const input = object(item, field);
    const spec = find(model.inputs, input.name, `${field}.name`, model, 'input');
    if (tensors.has(spec))
      throw badRequest(`${field}.name`, `Expected the input ${show(input.name)} once but it came twice.`);
    const info = checkDatatype(input.datatype, spec, `${field}.datatype`);
    const shape = checkTensorShape(input.shape, spec, `${field}.shape`);
    const parameters = objectOrNothing(input.parameters, `${field}.parameters`);
    refuseUnsupported(parameters, field);
    const size = parameters.binary_data_size;
    if (size === undefined) {
      tensors.set(spec, fromJson(input.data, shape, spec.datatype, info, jsonBytes, `${field}.data`));
      return;
    }
    if (input.data !== undefined) {
      throw badRequest(
        `${field}.data`,
        `Expected either data or binary_data_size for ${field} but received both.`,
      );
    }
    const sizeField = `${field}.parameters.binary_data_size`;
    if (binary === undefined) {
      throw badRequest(sizeField, `Expected the header Inference-Header-Content-Length beside ${sizeField}.`);
    }
    const bytes = sizeOf(shape) * info.bytes;
    if (size !== bytes) {
      throw badRequest(
        sizeField,
        `Expected ${bytes} bytes for ${spec.datatype} ${formatShape(shape)} as ${sizeField} but received ${show(size)}.`,
      );
    }
    if (offset + bytes > binary.length) {
      throw badRequest(
        sizeField,
        `Expected ${bytes} bytes of binary data for ${field} but the body ends after ${binary.length - offset} of them.`,
      );
    }
    tensors.set(spec, fromBinary(binary.subarray(offset, offset + bytes), shape, info, field));
    offset += bytes;
  });
  if (binary !== undefined && offset !== binary.length) {
    throw badRequest(
      'body',
      `Expected ${offset} bytes of binary data after the JSON part but received ${binary.length}.`,
    );
  }
  return model.inputs.map((spec) => {
    const tensor = tensors.get(spec);
    if (tensor === undefined)
      throw badRequest('inputs', `Expected the input '${spec.name}' of ${model.name} but it is missing.`);
    return tensor;
  });
}

function parseOutputs(
  outputs: unknown,
  model: Model,
  binaryByDefault: boolean | undefined,
): RequestedOutput[] {
  if (outputs !== undefined && !Array.isArray(outputs)) {
    throw badRequest('outputs', `Expected an array for outputs but received ${show(outputs)}.`);
  }
  const wanted: unknown[] = outputs?.length ? outputs : model.outputs.map(({ name }) => ({ name }));
  const seen = new Set<TensorSpec>();
  return wanted.map((item, i) => {
    const field = `outputs[${i}]`;
    const output = object(item, field);
    const spec = find(model.outputs, output.name, `${field}.name`, model, 'output');
    if (seen.has(spec))
      throw badRequest(`${field}.name`, `Expected the output ${show(output.name)} once but it came twice.`);
    seen.add(spec);
    const parameters = objectOrNothing(output.parameters, `${field}.parameters`);
    refuseUnsupported(parameters, field);
    const binary =
      flag(parameters.binary_data, `${field}.parameters.binary_data`) ?? binaryByDefault ?? false;
    if (!binary && DATATYPES.get(spec.datatype)!.json === undefined) {
      throw badRequest(
        `${field}.parameters.binary_data`,
        `The output '${spec.name}' is ${spec.datatype}, which has no form in JSON: ask for it with binary_data or binary_data_output.`,
      );
    }
    return { spec, index: model.outputs.indexOf(spec), binary };
  });
}

function find(
  specs: readonly TensorSpec[],
  name: unknown,
  field: string,
  model: Model,
  kind: string,
): TensorSpec {
  const spec = specs.find((candidate) => candidate.name === name);
  if (spec === undefined) {
    const names = specs.map((candidate) => candidate.name).join(', ');
    throw badRequest(
      field,
      `Expected an ${kind} of ${model.name} (${names}) for ${field} but received ${show(name)}.`,
    );
  }
  return spec;
}

function checkDatatype(datatype: unknown, spec: TensorSpec, field: string) {
  if (datatype !== spec.datatype) {
    const isKnown = datatype === undefined || (typeof datatype === 'string' && DATATYPES.has(datatype));
    const reason = isKnown
      ? ''
      : `, which this server does not support (it has ${[...DATATYPES.keys()].join(', ')})`;
    throw badRequest(
      field,
      `Expected ${spec.datatype} for ${field} but received ${show(datatype)}${reason}.`,
    );
  }
  return DATATYPES.get(spec.datatype)!;
}

function checkTensorShape(shape: unknown, spec: TensorSpec, field: string): readonly number[] {
  const valid =
    Array.isArray(shape) &&
    shape.length <= MAX_RANK &&
    shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 1) &&
    Number.isSafeInteger(sizeOf(shape) * 8) &&
    shapeFits(shape, spec.shape);
  if (!valid) {
    const received =
      Array.isArray(shape) && shape.length <= MAX_RANK ? `[${shape.map(show).join(', ')}]` : show(shape);
    throw badRequest(
      field,
      `Expected ${formatShape(spec.shape)} (-1: any length from 1) for ${field} but received ${received}.`,
    );
  }
  return shape;
}

/** Triton's `timeout` is in microseconds; 0 is none. */
function parseTimeout(timeout: unknown): number | undefined {
  if (timeout === undefined || timeout === 0) return undefined;
  if (!Number.isSafeInteger(timeout) || (timeout as number) < 0) {
    throw badRequest(
      'parameters.timeout',
      `Expected microseconds for parameters.timeout but received ${show(timeout)}.`,
    );
  }
  return (timeout as number) / 1000;
}

function refuseUnsupported(parameters: JsonObject, field: string): void {
  for (const name of UNSUPPORTED_PARAMETERS) {
    if (parameters[name] !== undefined) {
      throw badRequest(
        `${field}.parameters.${name}`,
        `The parameter ${name} of ${field} is not supported by this server.`,
      );
    }
  }
}

function flag(value: unknown, field: string): boolean | undefined {
  if (value !== undefined && typeof value !== 'boolean') {
    throw badRequest(field, `Expected true or false for ${field} but received ${show(value)}.`);
  }
  return value;
}

function objectOrNothing(value: unknown, field: string): JsonObject {
  return value === undefined ? {} : object(value, field);
}

function object(value: unknown, field: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badRequest(field, `Expected an object for ${field} but received ${show(value)}.`);
  }
  return value as JsonObject;
}
