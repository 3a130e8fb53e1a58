import type { TypedArray } from '../native/index.js';
import { checkHeldBy, DTYPES, type DType, SharedStorage, Tensor } from '../tensor/index.js';
import { activeRecorder } from './apply.js';
import { full } from './create.js';

/** Far more numbers than one call has. */
const WORDS = 64;
const WORD_BYTES = 8;

/**
 * Where the numbers among the operands of a call that runs at once lie until it has read them: each takes the next word,
 * so that they cost no allocation.
 */
const ring = new SharedStorage(
  new Uint8Array(new SharedArrayBuffer(WORDS * WORD_BYTES)),
  0,
  WORDS * WORD_BYTES,
);
const views = new Map<DType, TypedArray>();
let latest = 0;

/** A number as an operand of the call that it is made for. */
export function scalar(value: number, dtype: DType): Tensor {
  if (activeRecorder() !== undefined || dtype === 'f16' || dtype === 'bf16') {
    return full([], value, { dtype });
  }
  checkHeldBy(dtype, value);
  latest = (latest + 1) % WORDS;
  const offset = (latest * WORD_BYTES) / DTYPES[dtype].bytes;
  viewAs(dtype)[offset] = dtype === 'i64' ? BigInt(value) : dtype === 'bool' ? Number(value !== 0) : value;
  return new Tensor(ring, dtype, [], [], offset);
}

function viewAs(dtype: DType): TypedArray {
  let view = views.get(dtype);
  if (view === undefined) {
    view = ring.view(dtype, 0, (WORDS * WORD_BYTES) / DTYPES[dtype].bytes);
    views.set(dtype, view);
  }
  return view;
}
