export * from './checkpoint/index.js';
export { type IdxOptions, parseIdx, readIdx } from './idx.js';
export {
  parseSafetensors,
  readSafetensors,
  type Safetensors,
  type Savable,
  serializeSafetensors,
  writeSafetensors,
} from './safetensors.js';
export type { TensorData } from './tensor-data.js';
