import type { TensorData } from '../io/index.js';
import { DrivetrainError, inspect } from '../native/index.js';
import { cast, describeNonTensor, full, fullLike, reshape, transient } from '../ops/index.js';
import { checkOptions, DTYPES, formatShape, sameShape, Tensor, wrap } from '../tensor/index.js';
import { Adadelta } from './adadelta.js';
import { Adagrad } from './adagrad.js';
import { Adam } from './adam.js';
import { Adamax } from './adamax.js';
import { AdamW } from './adamw.js';
import { NAdam } from './nadam.js';
import type { Optimizer } from './optimizer.js';
import { RAdam } from './radam.js';
import { RMSprop } from './rmsprop.js';
import { SGD } from './sgd.js';
import { SparseAdam } from './sparse-adam.js';

export interface TorchStateOptions {
  /** This optimizer's parameters by name, in the order in which PyTorch's optimizer had them; its own order unless given. */
  names?: readonly string[];
}

const METHODS = [SGD, Adam, AdamW, SparseAdam, NAdam, RAdam, Adamax, Adagrad, Adadelta, RMSprop] as const;

/** What we keep of a parameter, and what PyTorch calls it. */
const TORCH_NAMES: Readonly<Record<string, string>> = {
  step: 'step',
  m: 'exp_avg',
  v: 'exp_avg_sq',
  maxV: 'max_exp_avg_sq',
  muProduct: 'mu_product',
  u: 'exp_inf',
  sum: 'sum',
  squareAvg: 'square_avg',
  accDelta: 'acc_delta',
  gradAvg: 'grad_avg',
  momentum: 'momentum_buffer',
};

/**
 * Loads the state of a PyTorch optimizer from tensors called `state.<parameter>.<name>`: `readSafetensors(path).tensors`, or
 * `parseSafetensors(bytes).tensors`, of a file that was written so:
 *
 *     state = optimizer.state_dict()["state"]
 *     tensors = {f"state.{i}.{name}": torch.as_tensor(value).contiguous()
 *                for i, entry in state.items() for name, value in entry.items() if value is not None}
 *     safetensors.torch.save_file(tensors, "optimizer.safetensors")
 *
 * A parameter is its position over all groups, as PyTorch numbers them, or its name (`state.layer.weight.exp_avg`). For
 * SGD, Adam, AdamW, SparseAdam, NAdam, RAdam, Adamax, Adagrad, Adadelta and RMSprop, made with the options that PyTorch's had: options
 * are not loaded. Floats are converted to the dtype that the state has here; f32 copies of 16-bit parameters are taken from
 * the parameters. A parameter of one dimension, such as a flat array, takes state of any shape with as many elements.
 * PyTorch's SGD counts no steps: `steps` stays as it is.
 *
 * Throws before anything is written: `DT_INVALID_ARGUMENT` where a tensor is missing or unknown, or where the parameters
 * of a group have not taken the same number of steps; `DT_SHAPE_MISMATCH`, `DT_DTYPE_MISMATCH`.
 */
export function loadTorchState<H extends object, G>(
  optimizer: Optimizer<H, G>,
  tensors: Readonly<Record<string, Tensor | TensorData>>,
  options: TorchStateOptions = {},
): void {
  checkOptions('loadTorchState', options, ['names']);
  if (!METHODS.some((method) => (optimizer as unknown) instanceof method)) {
    refuse(
      `an optimizer that PyTorch has (${METHODS.map(({ name }) => name).join(', ')}) for loadTorchState`,
      inspect(optimizer, { depth: -1 }),
    );
  }
  const parameters = parametersOf(optimizer);
  const found = locate(tensors, parameters, options.names);
  const own = optimizer.stateDict();
  const wanted = parameters.flatMap((parameter) => wantedFor(parameter, own, optimizer instanceof SGD));
  checkComplete(wanted, found);
  transient(() => {
    const masters = parameters
      .map(({ name, parameter }): [string, Tensor] => [`${name}.master`, parameter])
      .filter(([key]) => Object.hasOwn(own, key))
      .map(([key, parameter]): [string, Tensor] => [key, cast(parameter, own[key]!.dtype)]);
    const loaded = wanted.map(({ key, which, place }): [string, Tensor] => {
      const target = own[key]!;
      const source = found.get(place);
      if (which === 'momentumSteps') return [key, full([], source === undefined ? 0 : 1, { dtype: 'f64' })];
      return [key, source === undefined ? fullLike(target, 0) : convert(source, target)];
    });
    optimizer.loadStateDict({ ...own, ...Object.fromEntries([...masters, ...loaded]) });
  });
}

interface NamedParameter {
  readonly name: string;
  readonly parameter: Tensor;
  /** Whether its group has momentum. */
  readonly momentum: boolean;
}

function parametersOf<H extends object, G>(optimizer: Optimizer<H, G>): NamedParameter[] {
  const groups = optimizer.paramGroups as readonly {
    readonly params: readonly Tensor[];
    readonly names: readonly string[];
    readonly momentum?: number;
  }[];
  return groups.flatMap(({ params, names, momentum = 0 }) =>
    params.map((parameter, i) => ({ name: names[i]!, parameter, momentum: momentum > 0 })),
  );
}

/** A tensor of the file, and what it is called there. */
interface Found {
  readonly name: string;
  readonly value: Tensor | TensorData;
}

/** The file's tensors by `parameter.name`, of our parameters and PyTorch's names. */
function locate(
  tensors: Readonly<Record<string, Tensor | TensorData>>,
  parameters: readonly NamedParameter[],
  order: readonly string[] | undefined,
): ReadonlyMap<string, Found> {
  const names = new Set(parameters.map(({ name }) => name));
  const inOrder = order ?? [...names];
  if (
    inOrder.length !== names.size ||
    new Set(inOrder).size !== names.size ||
    !inOrder.every((name) => names.has(name))
  ) {
    refuse(`names of loadTorchState to be ${[...names].join(', ')}, in some order,`, inspect(order));
  }
  const found = new Map<string, Found>();
  for (const [name, value] of Object.entries(tensors)) {
    const [, parameter, which] = /^state\.(.+)\.([^.]+)$/s.exec(name) ?? [];
    const own = /^\d+$/.test(parameter ?? '') ? inOrder[Number(parameter)] : parameter;
    if (own === undefined || !names.has(own)) {
      refuse(
        `tensors called state.<parameter>.<name> for loadTorchState, of ${names.size} parameters by position or name,`,
        name,
      );
    }
    const place = `${own}.${which}`;
    if (found.has(place))
      refuse(`each tensor once for loadTorchState`, `${found.get(place)!.name} and ${name}`);
    found.set(place, { name, value });
  }
  return found;
}

/** A tensor of our state, and the tensor of the file that it comes from. */
interface Wanted {
  readonly key: string;
  readonly which: string;
  readonly place: string;
  readonly required: boolean;
}

/** All of a parameter's state. PyTorch's SGD has a buffer where it has made a step with momentum, and nothing else. */
function wantedFor(
  { name, momentum }: NamedParameter,
  own: Readonly<Record<string, Tensor>>,
  isSgd: boolean,
): Wanted[] {
  const kept = ['momentumSteps', ...Object.keys(TORCH_NAMES)].filter(
    (which) => Object.hasOwn(own, `${name}.${which}`) && !(isSgd && which === 'step'),
  );
  return kept.map((which) => ({
    key: `${name}.${which}`,
    which,
    place: `${name}.${TORCH_NAMES[isSgd ? 'momentum' : which]}`,
    required: !isSgd || momentum,
  }));
}

function checkComplete(wanted: readonly Wanted[], found: ReadonlyMap<string, Found>): void {
  const places = new Set(wanted.map(({ place }) => place));
  const missing = wanted.filter(({ place, required }) => required && !found.has(place));
  const unknown = [...found].filter(([place]) => !places.has(place));
  if (missing.length === 0 && unknown.length === 0) return;
  const list = (what: string, names: string[]) =>
    names.length > 0 ? ` ${what}: ${[...new Set(names)].join(', ')}.` : '';
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected the state of an optimizer of the same kind, with the same options, after at least one step on every parameter for loadTorchState but received another.${list(
      'Missing',
      missing.map(({ place }) => `state.${place}`),
    )}${list(
      'Unknown',
      unknown.map(([, { name }]) => name),
    )}`,
  );
}

/** A tensor of the file as what is kept in `target`. */
function convert({ name, value }: Found, target: Tensor): Tensor {
  if (!(value instanceof Tensor) && !ArrayBuffer.isView(value?.data)) {
    refuse(`a tensor or { dtype, shape, data } for ${name}`, describeNonTensor(value));
  }
  const source = value instanceof Tensor ? value : wrap(value.data, value.shape, { dtype: value.dtype });
  const isCounter = target.rank === 0 && target.dtype === 'f64';
  if (!isCounter && !DTYPES[source.dtype].float) {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected floats for ${name} but received ${source.dtype}.`,
    );
  }
  const sameSize = source.size === target.size && target.rank <= 1;
  if (!sameSize && !sameShape(source.shape, target.shape)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected shape ${formatShape(target.shape)} for ${name} but received ${formatShape(source.shape)}.`,
    );
  }
  return cast(reshape(source, target.shape), target.dtype);
}

function refuse(expected: string, received: string): never {
  throw new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} but received ${received}.`);
}
