import type { StateKind } from './flat-state.js';

/** Elements that share a scale; native/kernels/optimizers.h. */
const BLOCK = 256;
/** The signed map's code of 0; the unsigned one's is 0. */
const SIGNED_ZERO = 127;

const state: readonly StateKind[] = [
  { name: 'mCodes', dtype: 'u8', initial: SIGNED_ZERO },
  { name: 'vCodes', dtype: 'u8' },
  { name: 'mScales', dtype: 'f32', block: BLOCK },
  { name: 'vScales', dtype: 'f32', block: BLOCK },
];

/** The moments of large parameters, in blocks; smaller ones would save next to nothing. */
export const EIGHT_BIT = { from: 4096, state, alignment: BLOCK };
