import { binding } from './binding.js';

const INITIAL_WORDS = 4096;

let words = new Float64Array(new SharedArrayBuffer(INITIAL_WORDS * Float64Array.BYTES_PER_ELEMENT));
binding.setCommandPage(words);

/** Why native code refused values. */
export interface Refusal {
  /** The instruction that did, by its number in the program. */
  readonly instruction: number;
  /** The first index that was out of its range, and its place among the indices. */
  readonly place: number;
  readonly index: bigint;
}

/** What native code said of the call, or of the run whose end it reports, that it has refused just now. */
export function readRefusal(): Refusal {
  const [instruction, place] = words;
  return { instruction: instruction!, place: place!, index: new BigInt64Array(words.buffer)[2]! };
}

/**
 * The page through which commands pass to native code, with room for `count` words. It lies on shared memory, so that
 * it can never be detached under the pointer that native code keeps.
 */
export function commandPage(count: number): Float64Array {
  if (count > words.length) {
    const size = 2 ** Math.ceil(Math.log2(count));
    words = new Float64Array(new SharedArrayBuffer(size * Float64Array.BYTES_PER_ELEMENT));
    binding.setCommandPage(words);
  }
  return words;
}
