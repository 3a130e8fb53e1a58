import { binding } from './binding.js';

const INITIAL_WORDS = 4096;

let words = new Float64Array(new SharedArrayBuffer(INITIAL_WORDS * Float64Array.BYTES_PER_ELEMENT));
binding.setCommandPage(words);

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
