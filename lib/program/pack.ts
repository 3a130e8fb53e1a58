import { type MatmulAttrs, packMatmul, withRecorder } from '../ops/index.js';
import { DTYPES, isHalf, outsideScopes, SharedStorage, Tensor } from '../tensor/index.js';
import type { Step } from './record.js';

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

/** The packed copy of b, one matrix [..., k, n] that all products of a batch share; undefined where it is not that. */
function packedOf(b: Tensor): Tensor | undefined {
  const { storage, dtype, offset } = b;
  const shared = b.strides.every((stride, i) => stride === 0 || b.shape[i] === 1 || i >= b.rank - 2);
  if (!(storage instanceof SharedStorage) || storage.callerOwned || !shared || b.size === 0) return undefined;
  const matrix = b.viewAs(b.shape.slice(-2), b.strides.slice(-2));
  const key = [dtype, offset, ...matrix.shape, ...matrix.strides].join();
  const pack = () => outsideScopes(() => withRecorder(undefined, () => packMatmul(matrix).storage));
  const packed = storage.layout(key, pack as () => SharedStorage);
  return new Tensor(packed, dtype, [packed.byteLength / DTYPES[dtype].bytes]);
}
