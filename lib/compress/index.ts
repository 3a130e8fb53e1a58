export { type FakeQuantizeOptions, fakeQuantize } from './fake-quantize.js';
export { FakeQuantizedLinear } from './fake-quantized-linear.js';
export { type PrepareQatOptions, prepareQat } from './prepare-qat.js';
export { type LayerReport, QuantizationReport, quantizationReport } from './quantization-report.js';
export { type QuantizeOptions, quantize } from './quantize.js';
export { QuantizedLinear } from './quantized-linear.js';
export type { CalibrationMethod } from './range-observer.js';
export { StaticQuantizedLinear } from './static-quantized-linear.js';
