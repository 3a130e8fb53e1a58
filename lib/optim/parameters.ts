import { DrivetrainError, inspect } from '../native/index.js';
import { DTYPES, type DType, Tensor, wrap } from '../tensor/index.js';

/**
 * What can be optimised in place: a tensor, or a caller's own Float32Array or Float64Array. Tensors of f16 and bf16 step
 * on f32 copies that the optimizer keeps (`master` in its state), taken from them when it is made.
 */
export type Parameter = Tensor | Float32Array | Float64Array;

/**
 * Parameters, with their names or without: `model.namedParameters()`, or an array. State is kept by name, so that it
 * survives another order; a parameter without a name has its position, counted over all groups.
 */
export type Parameters = readonly Parameter[] | ReadonlyMap<string, Parameter>;

/** A parameter as an optimizer keeps it. */
export interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

export const isMap = (value: unknown): value is ReadonlyMap<string, Parameter> =>
  Object.prototype.toString.call(value) === '[object Map]';
export const isParameters = (value: unknown): value is Parameters => Array.isArray(value) || isMap(value);
export const countOf = (params: Parameters) => (isMap(params) ? params.size : params.length);

const FLOATS: readonly DType[] = ['f32', 'f64', 'f16', 'bf16'];

/** The parameters of every group with their names: each is given once, and has a name of its own. */
export function namedParameters(
  name: string,
  groups: readonly { params: Parameters }[],
  dtypes: readonly DType[] = FLOATS,
): Named[][] {
  let position = 0;
  const named = groups.map(({ params }) =>
    [...(isMap(params) ? params : params.map((parameter) => [undefined, parameter] as const))].map(
      ([given, parameter]): Named => {
        const own = given ?? `${position}`;
        position++;
        if (typeof own !== 'string' || own === '') {
          throw new DrivetrainError(
            'DT_INVALID_ARGUMENT',
            `Expected names for the parameters of ${name} but received ${inspect(own)}.`,
          );
        }
        return { name: own, tensor: asParameter(name, parameter, dtypes) };
      },
    ),
  );
  checkNames(name, named.flat());
  checkApart(name, named.flat());
  return named;
}

function checkNames(name: string, parameters: readonly Named[]): void {
  const names = new Set<string>();
  for (const parameter of parameters) {
    if (names.has(parameter.name)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a name of its own for each parameter of ${name} but received ${inspect(parameter.name)} twice.`,
      );
    }
    names.add(parameter.name);
  }
}

/** Refuses parameters that have elements in common. */
function checkApart(name: string, parameters: readonly Named[]): void {
  const ranges = parameters
    .filter(({ tensor }) => tensor.size > 0)
    .map(({ name: own, tensor: { storage, dtype, offset, size } }) => {
      const begin = storage.address + offset * DTYPES[dtype].bytes;
      return { own, memory: storage.buffer, begin, end: begin + size * DTYPES[dtype].bytes };
    });
  const byMemory = new Map<unknown, typeof ranges>();
  for (const range of ranges) byMemory.set(range.memory, [...(byMemory.get(range.memory) ?? []), range]);
  for (const sharing of byMemory.values()) {
    sharing.sort((a, b) => a.begin - b.begin);
    sharing.forEach(({ own, begin }, i) => {
      const before = sharing[i - 1];
      if (before === undefined || before.end <= begin) return;
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected each parameter once for ${name} but ${before.own} and ${own} have elements in common; a step would change them twice.`,
      );
    });
  }
}

function asParameter(name: string, parameter: Parameter, dtypes: readonly DType[]): Tensor {
  const tensor =
    parameter instanceof Tensor ? parameter : ArrayBuffer.isView(parameter) ? wrap(parameter) : undefined;
  if (tensor === undefined || !dtypes.includes(tensor.dtype) || !tensor.contiguous) {
    const received =
      tensor === undefined ? typeof parameter : `${tensor.contiguous ? '' : 'a strided '}${tensor.dtype}`;
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected contiguous ${dtypes.join(' or ')} parameters for ${name} but received ${received}.`,
    );
  }
  return tensor;
}

export function checkOneDtype(name: string, parameters: readonly Named[]): void {
  const dtypes = new Set(parameters.map(({ tensor }) => tensor.dtype));
  if (dtypes.size > 1) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected parameters of one dtype in a group of ${name} but received ${[...dtypes].join(' and ')}; put them into two groups.`,
    );
  }
}
