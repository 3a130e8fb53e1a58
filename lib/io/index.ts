export * from './checkpoint/index.js';
export { type Collated, collate } from './collate.js';
export { type CsvOptions, type CsvRow, type CsvType, type CsvValue, parseCsv, readCsv } from './csv.js';
export { DataLoader, type DataLoaderOptions, type DataLoaderState, disposeBatch } from './data-loader.js';
export { type BatchDataset, type Dataset, TensorDataset } from './dataset.js';
export { makeFolder } from './files.js';
export { type IdxOptions, parseIdx, readIdx } from './idx.js';
export {
  inspectSafetensors,
  type SafetensorsInspection,
  type TensorStatistics,
} from './inspect-safetensors.js';
export { readJson, writeJson } from './json-file.js';
export { type JsonlOptions, readJsonl } from './jsonl.js';
export { type PadOptions, padSequences } from './pad.js';
export {
  parseSafetensors,
  readSafetensors,
  type Safetensors,
  type Savable,
  serializeSafetensors,
  writeSafetensors,
} from './safetensors.js';
export { type BucketSamplerOptions, bucketSampler, type Sampler } from './sampler.js';
export type { TensorData } from './tensor-data.js';
export { readTokenizer, type Tokenizer, type TokenizerOptions } from './tokenizer.js';
export { WorkerDataset, type WorkerDatasetOptions } from './worker-dataset.js';
