import { parseSafetensors, serializeSafetensors, type TensorData } from '../../io/index.js';
import { DrivetrainError } from '../../native/index.js';
import type { Tensor } from '../../tensor/index.js';

/*
 * Compressed gradients are a safetensors file, whose parser takes nothing on trust. Its metadata: "format", the method,
 * and "gradients", the dtype and shape of each as JSON: [["f32",[3,4]],…]. What tensors it has is the method's own.
 */

const FORMAT = 'drivetrain-gradients/1';
const SOURCE = 'The compressed gradients';

/** What gradients are to be: the parameters, as far as that goes. */
export type Kinds = readonly Pick<Tensor, 'dtype' | 'shape'>[];

export interface GradientBytes {
  readonly method: string;
  readonly tensors: Readonly<Record<string, TensorData>>;
}

const describe = (kinds: Kinds) => JSON.stringify(kinds.map(({ dtype, shape }) => [dtype, shape]));

export function encode(
  kinds: Kinds,
  method: string,
  tensors: Readonly<Record<string, TensorData>>,
): Uint8Array {
  return serializeSafetensors(tensors, { format: FORMAT, method, gradients: describe(kinds) });
}

/**
 * What `encode` wrote for gradients of these kinds. `DT_CORRUPT_FILE` for anything that it cannot have written,
 * `DT_SHAPE_MISMATCH` for gradients of other dtypes or shapes. Nothing larger than `bytes` is allocated.
 */
export function decode(kinds: Kinds, bytes: Uint8Array): GradientBytes {
  const { tensors, metadata } = parseSafetensors(bytes, SOURCE);
  const { format, method, gradients } = metadata;
  if (format !== FORMAT)
    corrupt(`the format is ${JSON.stringify(format)}, where this version reads ${FORMAT}`);
  if (gradients !== describe(kinds)) {
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected compressed gradients of ${clipped(describe(kinds))} but received ${clipped(gradients)}; both sides need the same parameters in the same order.`,
    );
  }
  return { method: method ?? '', tensors };
}

/** One of the tensors, of this dtype and shape; -1 stands for any extent. */
export function take(
  { tensors }: GradientBytes,
  name: string,
  dtype: TensorData['dtype'],
  shape: readonly number[],
): TensorData {
  const found = tensors[name];
  const fits =
    found?.dtype === dtype &&
    found.shape.length === shape.length &&
    shape.every((extent, i) => extent === -1 || extent === found.shape[i]);
  if (!fits) corrupt(`tensor ${name} is not ${dtype} of shape ${JSON.stringify(shape)}`);
  return found;
}

export function corrupt(reason: string): never {
  throw new DrivetrainError('DT_CORRUPT_FILE', `${SOURCE} are not sound: ${reason}.`);
}

function clipped(text: string | undefined): string {
  return text === undefined || text.length <= 200 ? `${text}` : `${text.slice(0, 200)}…`;
}
