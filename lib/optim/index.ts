export { AdaBelief, type AdaBeliefOptions } from './adabelief.js';
export { Adadelta, type AdadeltaOptions } from './adadelta.js';
export { Adafactor, type AdafactorOptions } from './adafactor.js';
export { Adagrad, type AdagradOptions } from './adagrad.js';
export { Adam, type AdamOptions } from './adam.js';
export { Adam8bit, type Adam8bitOptions } from './adam-8bit.js';
export { Adamax, type AdamaxOptions } from './adamax.js';
export { AdamW, type AdamWOptions } from './adamw.js';
export { AdamW8bit, type AdamW8bitOptions } from './adamw-8bit.js';
export { AveragedModel, type AveragedModelOptions } from './averaged-model.js';
export type { Stepping } from './carry-over.js';
export {
  type Attempt,
  CircuitBreaker,
  type CircuitBreakerOptions,
  type CircuitState,
} from './circuit-breaker.js';
export { clipGradNorm } from './clip.js';
export * from './compression/index.js';
export { type CustomMethod, CustomOptimizer } from './custom-optimizer.js';
export type { Update, UpdateContext, UpdateOptions } from './custom-step.js';
export {
  type FallbackEvent,
  FallbackOptimizer,
  type FallbackOptions,
  type FallbackStatus,
} from './fallback.js';
export { GradScaler, type GradScalerOptions } from './grad-scaler.js';
export { GradientAccumulator } from './gradient-accumulator.js';
export type { GradientOptions, LossScale, StepOptions, StepReport } from './gradient-control.js';
export * as hyperparameter from './hyperparameter.js';
export { LAMB, type LAMBOptions } from './lamb.js';
export { LARS, type LARSOptions } from './lars.js';
export { LBFGS, type LBFGSOptions, type LossAndGradients } from './lbfgs.js';
export { Lion, type LionOptions } from './lion.js';
export { Lookahead, type LookaheadOptions } from './lookahead.js';
export { findLearningRate, type LRCurve, type LRFinderOptions, type LRPoint } from './lr-finder.js';
export { Muon, type MuonOptions } from './muon.js';
export { NAdam, type NAdamOptions } from './nadam.js';
export { Optimizer, type Stepper } from './optimizer.js';
export type { ParameterGroup, ParameterGroupOptions } from './parameter-group.js';
export type { Parameter, Parameters } from './parameters.js';
export * from './privacy/index.js';
export { RAdam, type RAdamOptions } from './radam.js';
export { RMSprop, type RMSpropOptions } from './rmsprop.js';
export * from './schedules/index.js';
export { SGD, type SGDOptions } from './sgd.js';
export { SparseAdam, type SparseAdamOptions, type SparseGradient } from './sparse-adam.js';
export { loadTorchState, type TorchStateOptions } from './torch-state.js';
