import { toFloat32 } from '../tensor/index.js';

const tables = new Map<string, Float32Array>();

/** The values of f16 or bf16 elements, by a table of all 65,536. */
export function halfValues(elements: Uint16Array, dtype: 'f16' | 'bf16'): Float32Array {
  let table = tables.get(dtype);
  if (table === undefined) {
    table = Float32Array.from({ length: 2 ** 16 }, (_, half) => toFloat32(half, dtype));
    tables.set(dtype, table);
  }
  const values = new Float32Array(elements.length);
  for (let i = 0; i < values.length; i++) values[i] = table[elements[i]!]!;
  return values;
}
