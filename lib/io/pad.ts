import { DrivetrainError } from '../native/index.js';
import { checkHeldBy, checkOptions, empty, type Tensor } from '../tensor/index.js';
import { checkCount } from './sampler.js';

export interface PadOptions {
  /** The number that fills up; 0 unless given. */
  padId?: number;
  /** 'i32' unless given. */
  dtype?: 'i32' | 'i64';
  /** The length of the batch is a multiple of this, so that programs meet fewer shapes; 1 unless given. */
  padToMultipleOf?: number;
}

/**
 * Token numbers of texts as one batch: `inputIds` [texts, longest], filled up at the end, and `attentionMask` of the same
 * shape, bool, true where a token stands. Both are the caller's to dispose.
 */
export function padSequences(
  sequences: readonly ArrayLike<number>[],
  options: PadOptions = {},
): { inputIds: Tensor; attentionMask: Tensor } {
  checkOptions('padSequences', options, ['padId', 'dtype', 'padToMultipleOf']);
  const { padId = 0, dtype = 'i32', padToMultipleOf = 1 } = options;
  checkCount('padToMultipleOf', padToMultipleOf, 1);
  if (dtype !== 'i32' && dtype !== 'i64') {
    throw new DrivetrainError(
      'DT_DTYPE_MISMATCH',
      `Expected i32 or i64 as dtype of padSequences but received ${String(dtype)}.`,
    );
  }
  checkHeldBy(dtype, padId);
  for (const sequence of sequences)
    for (let i = 0; i < sequence.length; i++) checkHeldBy(dtype, sequence[i]!);
  const longest = sequences.reduce((most, { length }) => Math.max(most, length), 0);
  const width = Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
  const shape = [sequences.length, width];
  const inputIds = empty(shape, dtype);
  const attentionMask = empty(shape, 'bool');
  const encode = dtype === 'i64' ? BigInt : Number;
  const ids = inputIds.borrow() as { [index: number]: number | bigint };
  const mask = attentionMask.borrow();
  sequences.forEach((sequence, row) => {
    for (let i = 0; i < width; i++) {
      const has = i < sequence.length;
      ids[row * width + i] = encode(has ? sequence[i]! : padId);
      mask[row * width + i] = has ? 1 : 0;
    }
  });
  return { inputIds, attentionMask };
}
