export { noiseMultiplierFor, type PrivateSteps, RdpAccountant } from './accountant.js';
export { DPOptimizer, type DPOptions } from './dp-optimizer.js';
