export type { Datatype } from './datatypes.js';
export { Engine, type EngineOptions } from './engine.js';
export { createListener, type ListenerOptions, type RequestListener } from './http.js';
export type { InferOptions, Model, ModelDefinition, TensorSpec } from './model.js';
export { type InferenceServer, type ServeOptions, serve } from './server.js';
