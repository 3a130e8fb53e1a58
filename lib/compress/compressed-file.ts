import { readSafetensors, writeSafetensors } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import { Linear, linearOf, Module } from '../nn/index.js';
import { zeros } from '../ops/index.js';
import { type DType, formatShape, sameShape, sizeOf, type Tensor } from '../tensor/index.js';
import {
  type BatchNorm,
  type Convolution,
  emptyBatchNorm,
  isBatchNorm,
  isConvolution,
} from './convolutions.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { QuantizedLinear } from './quantized-linear.js';
import { StaticQuantizedLinear } from './static-quantized-linear.js';
import { isExactly, namedModules, replaceModules, withTensors } from './submodules.js';

/** Where a file's metadata says what its layers are. */
const KEY = 'drivetrain.compression';

/** Kinds of layers of which there is one of every size; those that take each other's place have one family. */
const FAMILIES = {
  f32: 'linear',
  dynamic: 'linear',
  static: 'linear',
  'fake-quantized': 'linear',
  convolution: 'convolution',
  'batch-norm': 'batch-norm',
} as const;

/** The ranks of their weights: [out, in], [out, in / groups, ...kernel], [channels]. */
const RANKS = { linear: [2], convolution: [3, 4], 'batch-norm': [1] } as const;

/** What a layer of a file is. */
interface SavedLayer {
  readonly kind: keyof typeof FAMILIES;
  /** Of its weight. */
  readonly shape: readonly number[];
  readonly bias: boolean;
  /** Of a fake-quantized layer. */
  readonly averagingConstant?: number;
}

type Sized = Linear | QuantizedLinear | StaticQuantizedLinear | FakeQuantizedLinear | Convolution | BatchNorm;

/**
 * Writes a model to a safetensors file, as `writeSafetensors` does, with what `quantize`, `prepareQat` and
 * pruning (`pruneUnits`, `pruneHeads`, `pruneChannels`) made of its layers in the metadata.
 */
export async function writeCompressed(
  path: string,
  model: Module,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  checkArguments('writeCompressed', path, model);
  const layers: Record<string, SavedLayer> = {};
  for (const [name, module] of namedModules(model)) {
    const kind = kindOf(module);
    if (kind === undefined) continue;
    const { weight, bias } = module as Sized;
    layers[name] = {
      kind,
      shape: weight.shape,
      bias: bias !== undefined,
      ...(module instanceof FakeQuantizedLinear && { averagingConstant: module.averagingConstant }),
    };
  }
  await writeSafetensors(path, model.stateDict(), {
    ...metadata,
    [KEY]: JSON.stringify({ version: 1, layers }),
  });
}

/**
 * The model that `writeCompressed` wrote, in evaluation mode, with the same outputs: a copy of `architecture`, a new model of the class that was
 * compressed, with the file's kinds and sizes of layers. Its other layers are shared with the copy, and loaded.
 * Throws `DT_INVALID_ARGUMENT` where file and architecture do not fit, and `DT_CORRUPT_FILE` where the file's sizes of layers are
 * not those of its tensors, before anything is written.
 */
export function readCompressed(path: string, architecture: Linear): Promise<Module>;
export function readCompressed<M extends Module>(path: string, architecture: M): Promise<M>;
export async function readCompressed(path: string, architecture: Module): Promise<Module> {
  checkArguments('readCompressed', path, architecture);
  const { tensors, metadata } = await readSafetensors(path);
  try {
    return load(path, tensors, metadata, architecture);
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
}

function load(
  path: string,
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>>,
  architecture: Module,
): Module {
  const saved = parse(path, metadata[KEY]);
  const modules = namedModules(architecture);
  const strangers = Object.keys(saved).filter((name) => !takes(modules.get(name), saved[name]!));
  if (strangers.length > 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an architecture with the layers of ${path} but received one without ${strangers.join(', ')}.`,
    );
  }
  const weightOf = (name: string) => tensors[name === '' ? 'weight' : `${name}.weight`];
  const misfit = Object.entries(saved).find(([name, { shape }]) => {
    const weight = weightOf(name);
    return weight !== undefined && weight.size !== sizeOf(shape);
  });
  if (misfit !== undefined) {
    const [name, { shape }] = misfit;
    throw new DrivetrainError(
      'DT_CORRUPT_FILE',
      `Expected ${formatShape(weightOf(name)!.shape)} for ${name} in the metadata of ${path}, as its weight has, but received ${formatShape(shape)}.`,
    );
  }
  const replacements = Object.entries(saved).map(
    ([name, layer]) => [name, emptyLayer(layer, modules.get(name)!, weightOf(name)?.dtype)] as const,
  );
  try {
    const model = replaceModules(architecture, new Map(replacements));
    model.loadStateDict(tensors);
    return model.eval();
  } catch (error) {
    for (const [, layer] of replacements)
      for (const tensor of Object.values(layer.stateDict())) tensor.dispose();
    throw error;
  }
}

function checkArguments(operation: string, path: unknown, model: unknown): void {
  if (typeof path === 'string' && model instanceof Module) return;
  const what = (value: unknown) =>
    value instanceof Module
      ? `a ${value.constructor.name}`
      : typeof value === 'function'
        ? 'a class'
        : typeof value;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a path and a model (new Model(), not its class) for ${operation} but received ${what(path)} and ${what(model)}.`,
  );
}

function kindOf(module: Module | undefined): SavedLayer['kind'] | undefined {
  if (isExactly(module, Linear)) return 'f32';
  if (module instanceof QuantizedLinear) return 'dynamic';
  if (module instanceof StaticQuantizedLinear) return 'static';
  if (module instanceof FakeQuantizedLinear) return 'fake-quantized';
  if (isConvolution(module)) return 'convolution';
  return isBatchNorm(module) ? 'batch-norm' : undefined;
}

/** Whether a layer can be made what the file says: a convolution has its window and its groups from the architecture. */
function takes(module: Module | undefined, { kind, shape }: SavedLayer): boolean {
  const own = kindOf(module);
  if (own === undefined || FAMILIES[own] !== FAMILIES[kind]) return false;
  if (!isConvolution(module)) return true;
  const window = module.weight.shape.slice(2);
  return sameShape(window, shape.slice(2)) && shape[0]! % module.groups === 0;
}

/** A layer of a kind, to be loaded, in the place of another. */
function emptyLayer(
  { kind, shape, bias, averagingConstant }: SavedLayer,
  place: Module,
  dtype: DType = 'f32',
): Module {
  if (isBatchNorm(place)) return emptyBatchNorm(place, shape[0]!);
  if (isConvolution(place) || kind === 'f32') {
    const [weight, own] = [zeros(shape, { dtype }), bias ? zeros([shape[0]!], { dtype }) : undefined];
    return isConvolution(place) ? withTensors(place, { weight, bias: own }) : linearOf(weight, own);
  }
  const own = bias ? zeros([shape[0]!]) : undefined;
  if (kind === 'fake-quantized') return new FakeQuantizedLinear(zeros(shape), own, averagingConstant!);
  const [weight, scale] = [zeros(shape, { dtype: 'i8' }), zeros([shape[0]!])];
  if (kind === 'dynamic') return new QuantizedLinear(weight, scale, own);
  return new StaticQuantizedLinear(weight, scale, zeros([]), zeros([], { dtype: 'u8' }), own);
}

function parse(path: string, text: string | undefined): Readonly<Record<string, SavedLayer>> {
  if (text === undefined) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected a file from writeCompressed, with ${KEY} in its metadata, but received ${path}; readSafetensors reads others.`,
    );
  }
  const { version, layers } = contentOf(text);
  if (version === 1 && typeof layers === 'object' && layers !== null) {
    if (Object.values(layers).every(isLayer)) return layers as Readonly<Record<string, SavedLayer>>;
  }
  throw new DrivetrainError(
    'DT_CORRUPT_FILE',
    `Expected the layers of a compressed model, version 1, in the metadata of ${path} but received something else under ${KEY}.`,
  );
}

/** What JSON says; nothing where it is none. */
function contentOf(text: string): { version?: unknown; layers?: unknown } {
  try {
    return (JSON.parse(text) as object | null) ?? {};
  } catch {
    return {};
  }
}

function isLayer(value: unknown): boolean {
  const layer = value as SavedLayer | null;
  const isSize = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 1;
  return (
    typeof layer === 'object' &&
    layer !== null &&
    Object.hasOwn(FAMILIES, layer.kind) &&
    Array.isArray(layer.shape) &&
    (RANKS[FAMILIES[layer.kind]] as readonly number[]).includes(layer.shape.length) &&
    layer.shape.every(isSize) &&
    typeof layer.bias === 'boolean' &&
    (layer.kind !== 'fake-quantized' || typeof layer.averagingConstant === 'number')
  );
}
