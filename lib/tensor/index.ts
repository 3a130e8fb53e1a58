export { checkDtype, checkHeldBy, DTYPES, type DType, dtypeOf, typedArrayName } from './dtype.js';
export {
  currentPool,
  defaultPool,
  type Leak,
  MemoryPool,
  type MemoryPoolOptions,
  type MemoryPoolStatistics,
  outsideScopes,
} from './memory-pool.js';
export {
  broadcastShapes,
  checkShape,
  formatShape,
  isRowMajor,
  MAX_RANK,
  normaliseAxis,
  rowMajorStrides,
  type Shape,
  sameShape,
  sizeOf,
} from './shape.js';
export { BorrowedStorage, busy, SharedStorage, type Storage, SymbolicStorage } from './storage.js';
export {
  empty,
  type NestedNumbers,
  Tensor,
  type TensorOptions,
  tensor,
  type WrapOptions,
  wrap,
} from './tensor.js';
