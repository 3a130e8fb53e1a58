export { Checkpoint, type CheckpointParts, type Stateful } from './checkpoint.js';
export { CheckpointManager, type FoundCheckpoint, type SaveOptions } from './checkpoint-manager.js';
export type { CheckpointInfo, Json } from './manifest.js';
export type { RetentionOptions } from './retention.js';
