import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Tensor, tensor, writeSafetensors } from 'drivetrain';
import { temporaryFolder } from '../io/support.js';

export interface Packed {
  shape: number[];
  data: number[];
}

export const ids = ({ shape, data }: Packed) => tensor(Int32Array.from(data), { shape });
export const mask = ({ shape, data }: Packed) => tensor(Uint8Array.from(data), { shape, dtype: 'bool' });

/** `count` numbers in [-1, 1): a mix of the bits of their place, as in test/goldens/make_bert.py. */
export function mixed(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let x = (2 * i + seed) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x ^= x >>> 16;
    out[i] = (x >>> 8) / 2 ** 23 - 1;
  }
  return out;
}

/** A folder with a model in Hugging Face's layout. */
export async function modelFolder(
  config: object,
  tensors: Readonly<Record<string, Tensor>>,
  files: Readonly<Record<string, string>> = {},
): Promise<string> {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}
