import type { Tensor } from '../tensor/index.js';
import { badRequest, RequestError } from './errors.js';
import type { InferRequest } from './infer-request.js';
import type { Model } from './model.js';
import { isAllFinite, toJson } from './tensor-data.js';

export interface InferResponse {
  /** The length of the JSON part where binary tensors follow it. */
  readonly headerLength: number | undefined;
  /** The body: the JSON part, then the binary tensors in the order of its outputs. */
  readonly parts: readonly Buffer[];
}

/** Writes the answer to an inference request. `outputs`: all of the model's, in declared order. */
export function buildInferResponse(
  model: Model,
  request: InferRequest,
  outputs: readonly Tensor[],
): InferResponse {
  const binaries: Buffer[] = [];
  const tensors = request.outputs.map(({ spec, index, binary }) => {
    const { shape } = outputs[index]!;
    const values = outputs[index]!.borrow();
    const head = `"name":${JSON.stringify(spec.name)},"datatype":"${spec.datatype}","shape":[${shape.join(',')}]`;
    if (binary) {
      binaries.push(Buffer.from(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength));
      return `{${head},"parameters":{"binary_data_size":${values.byteLength}}}`;
    }
    const data = toJson(values, spec.datatype);
    if (data === undefined) {
      const named = request.inputs.findIndex((input) => !isAllFinite(input));
      if (named >= 0) {
        throw badRequest(
          'inputs',
          `The input '${model.inputs[named]!.name}' of ${model.name} holds NaN or Infinity, and so does the output '${spec.name}', which JSON cannot carry.`,
        );
      }
      throw new RequestError(
        500,
        'DT_MODEL_FAILED',
        `The output '${spec.name}' of ${model.name} holds NaN or Infinity, which JSON cannot carry; binary_data or binary_data_output can.`,
        `outputs.${spec.name}`,
      );
    }
    return `{${head},"data":${data}}`;
  });
  const id = request.id === undefined ? '' : `"id":${JSON.stringify(request.id)},`;
  const json = Buffer.from(
    `{"model_name":"${model.name}","model_version":"${model.version}",${id}"outputs":[${tensors.join(',')}]}`,
  );
  return { headerLength: binaries.length > 0 ? json.length : undefined, parts: [json, ...binaries] };
}
