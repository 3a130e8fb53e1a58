export { quantize } from './quantize.js';
export { QuantizedLinear } from './quantized-linear.js';
