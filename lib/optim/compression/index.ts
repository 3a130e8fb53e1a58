export { Float16Compressor } from './float16-compressor.js';
export { GradientCompressor } from './gradient-compressor.js';
export { TopKCompressor, type TopKCompressorOptions } from './topk-compressor.js';
