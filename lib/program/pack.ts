import type { TypedArray } from '../native/index.js';
import { type MatmulAttrs, packMatmul, withRecorder } from '../ops/index.js';
import {
  DTYPES,
  type DType,
  defaultPool,
  isHalf,
  outsideScopes,
  SharedStorage,
  Storage,
  Tensor,
} from '../tensor/index.js';
import { LiveSet } from './live-set.js';
import type { Step } from './record.js';

/**
 * Stands in a program for the packed copy of a frozen storage. The copy itself is found, or made again, before each run: it
 * goes when the storage is unfrozen, and under memory pressure while no run reads it.
 */
export class PackedStorage extends Storage {
  readonly kind = 'packed';
  readonly source: SharedStorage;
  readonly #key: string;
  readonly #make: () => SharedStorage;

  constructor(source: SharedStorage, key: string, make: () => SharedStorage) {
    super(source.layout(key, make).byteLength, false);
    this.source = source;
    this.#key = key;
    this.#make = make;
    packedSources.add(source);
  }

  override get disposed(): boolean {
    return this.source.disposed;
  }

  /** The copy of what the source holds now. `DT_POOL_LIMIT` where it has to be made and does not fit. */
  current(): SharedStorage {
    return this.source.layout(this.#key, this.#make);
  }

  view(dtype: DType, offset: number, length: number): TypedArray {
    return this.current().view(dtype, offset, length);
  }
}

/** Storages that have packed copies, or had. */
const packedSources = new LiveSet<SharedStorage>();

// Only where an allocation does not fit: copies that were dropped earlier would be made again by the next run.
defaultPool.onPressure(({ missing }) => {
  const enough = defaultPool.statistics.current - missing;
  for (const source of packedSources) {
    if (missing === 0 || defaultPool.statistics.current <= enough) return;
    source.dropIdleLayouts();
  }
});

/** Products by a frozen matrix read a copy of it that is packed once, whatever the number of recordings and runs. */
export function packConstants(steps: readonly Step[]): Step[] {
  return steps.map((step) => {
    const [a, b, ...others] = step.inputs;
    // f16 and bf16 are read as they are: packed in f32 they would take twice the memory, and time to read.
    if (step.op.name !== 'matmul' || !b!.storage.frozen || step.inputs.some(({ dtype }) => isHalf(dtype))) {
      return step;
    }
    const packed = packedOf(b!);
    if (packed === undefined) return step;
    const attrs: MatmulAttrs = { ...(step.attrs as MatmulAttrs), packed: true };
    return { ...step, inputs: [a!, packed, ...others], attrs };
  });
}

/** Matrices of products that freezing would let be packed. */
export function packable(steps: readonly Step[]): Storage[] {
  const matrices = steps.filter(({ op }) => op.name === 'matmul').map(({ inputs }) => inputs[1]!);
  return matrices
    .filter(({ storage, dtype }) => storage.kind === 'shared' && !storage.frozen && !isHalf(dtype))
    .map(({ storage }) => storage);
}

/** The packed copy of b, one matrix [..., k, n] that all products of a batch share; undefined where it is not that. */
function packedOf(b: Tensor): Tensor | undefined {
  const { storage, dtype, offset } = b;
  const shared = b.strides.every((stride, i) => stride === 0 || b.shape[i] === 1 || i >= b.rank - 2);
  if (!(storage instanceof SharedStorage) || storage.callerOwned || !shared || b.size === 0) return undefined;
  const matrix = b.viewAs(b.shape.slice(-2), b.strides.slice(-2));
  const key = [dtype, offset, ...matrix.shape, ...matrix.strides].join();
  const pack = () => outsideScopes(() => withRecorder(undefined, () => packMatmul(matrix).storage));
  const packed = new PackedStorage(storage, key, pack as () => SharedStorage);
  return new Tensor(packed, dtype, [packed.byteLength / DTYPES[dtype].bytes]);
}
