export { checkDtype, checkHeldBy, DTYPES, type DType, dtypeOf, isHalf, typedArrayName } from './dtype.js';
export { toFloat32 } from './half.js';
export {
  currentPool,
  defaultPool,
  type Leak,
  MemoryPool,
  type MemoryPoolOptions,
  type MemoryPoolStatistics,
} from './memory-pool.js';
export type { MemoryPressure, PressureLevel, PressureListener } from './memory-pressure.js';
export { checkOptions } from './options.js';
export { overlaps, sameElements, storagesOverlap } from './overlap.js';
export { collectStorages, outsideScopes } from './scope.js';
export {
  broadcastShapes,
  checkShape,
  formatShape,
  MAX_RANK,
  normaliseAxis,
  type Shape,
  sameShape,
  sizeOf,
} from './shape.js';
export {
  BorrowedStorage,
  busy,
  changesOfWatched,
  SharedStorage,
  Storage,
  SymbolicStorage,
} from './storage.js';
export {
  empty,
  type NestedNumbers,
  Tensor,
  type TensorOptions,
  tensor,
  type WrapOptions,
  wrap,
  wrapLike,
} from './tensor.js';
