import { readSafetensors, writeSafetensors } from '../io/index.js';
import { DrivetrainError } from '../native/index.js';
import { Linear, type Module } from '../nn/index.js';
import { zeros } from '../ops/index.js';
import { FakeQuantizedLinear } from './fake-quantized-linear.js';
import { QuantizedLinear } from './quantized-linear.js';
import { StaticQuantizedLinear } from './static-quantized-linear.js';
import { isExactly, linearOf, namedModules, replaceModules } from './submodules.js';

/** Where a file's metadata says what its layers are. */
const KEY = 'drivetrain.compression';

const KINDS = ['f32', 'dynamic', 'static', 'fake-quantized'] as const;

/** What a linear layer of a file is. */
interface SavedLayer {
  readonly kind: (typeof KINDS)[number];
  /** [out, in] */
  readonly shape: readonly [out: number, inputs: number];
  readonly bias: boolean;
  /** Of a fake-quantized layer. */
  readonly averagingConstant?: number;
}

type AnyLinear = Linear | QuantizedLinear | StaticQuantizedLinear | FakeQuantizedLinear;

/**
 * Writes a model to a safetensors file, as `writeSafetensors` does, with what `quantize`, `pruneUnits` and `prepareQat` made
 * of its layers in the metadata.
 */
export async function writeCompressed(
  path: string,
  model: Module,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const layers: Record<string, SavedLayer> = {};
  for (const [name, module] of namedModules(model)) {
    const kind = kindOf(module);
    if (kind === undefined) continue;
    const { weight, bias } = module as AnyLinear;
    layers[name] = {
      kind,
      shape: weight.shape as readonly [number, number],
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
 * compressed, with the file's kinds and sizes of linear layers. Its other layers are shared with the copy, and loaded.
 * Throws `DT_INVALID_ARGUMENT` where file and architecture do not fit, before anything is written.
 */
export async function readCompressed(path: string, architecture: Module): Promise<Module> {
  const { tensors, metadata } = await readSafetensors(path);
  const saved = parse(path, metadata[KEY]);
  const modules = namedModules(architecture);
  const strangers = Object.keys(saved).filter((name) => kindOf(modules.get(name)) === undefined);
  if (strangers.length > 0) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an architecture with the linear layers of ${path} but received one without ${strangers.join(', ')}.`,
    );
  }
  const replacements = Object.entries(saved).map(([name, layer]) => [name, emptyLayer(layer)] as const);
  const model = replaceModules(architecture, new Map(replacements));
  model.loadStateDict(tensors);
  return model.eval();
}

function kindOf(module: Module | undefined): SavedLayer['kind'] | undefined {
  if (isExactly(module, Linear)) return 'f32';
  if (module instanceof QuantizedLinear) return 'dynamic';
  if (module instanceof StaticQuantizedLinear) return 'static';
  return module instanceof FakeQuantizedLinear ? 'fake-quantized' : undefined;
}

/** A layer of a kind, to be loaded. */
function emptyLayer({ kind, shape, bias, averagingConstant }: SavedLayer): Module {
  const own = bias ? zeros([shape[0]]) : undefined;
  if (kind === 'f32') return linearOf(zeros(shape), own);
  if (kind === 'fake-quantized') return new FakeQuantizedLinear(zeros(shape), own, averagingConstant!);
  const [weight, scale] = [zeros(shape, { dtype: 'i8' }), zeros([shape[0]])];
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
    KINDS.includes(layer.kind) &&
    Array.isArray(layer.shape) &&
    layer.shape.length === 2 &&
    layer.shape.every(isSize) &&
    typeof layer.bias === 'boolean' &&
    (layer.kind !== 'fake-quantized' || typeof layer.averagingConstant === 'number')
  );
}
