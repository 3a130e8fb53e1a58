// What bounds us, measured in the same turns: each gives { name, time } for an amount of work, as a contestant does,
// or undefined where the machine has none or the addon is not built. A loop on registers has one rate, whatever the row;
// memory has what other guests of the machine leave of it, so that a stream is `paired`: compared turn by turn.
import { drivetrain } from './ours.mjs';
import { nativeAddon } from './peers/native-addon.mjs';
import { median } from './statistics.mjs';

function load() {
  try {
    return nativeAddon('limits');
  } catch {
    return undefined;
  }
}

const addon = load();
/** "avx2-vnni" is AVX2 with a dot product of bytes, "avx512-amx" AVX-512 with products of tiles of them. */
const [family, products] = drivetrain.device.info().isa.split('-');

/** The median of what `pass` gives, repeated for about as long. */
const repeated = (pass) => (milliseconds) => {
  pass();
  const end = performance.now() + milliseconds;
  const seconds = [];
  do seconds.push(pass());
  while (performance.now() < end);
  return median(seconds);
};

function registerLoop(name, loop, work, threads) {
  if (!addon?.registerLoop(family, loop, 1)) return undefined;
  return { name, time: repeated(() => work / addon.registerLoop(family, loop, threads)) };
}

/** Fused multiply-adds on registers; work in FLOP. */
export const fmaPeak = (work, threads) => registerLoop('FMA peak', 'fma', work, threads);

/** Products of 8-bit integers on registers, by the instruction with which we multiply them; work in operations. */
export function int8Peak(work, threads) {
  if (products === 'amx') return registerLoop('byte tile product loop', 'tiles', work, threads);
  if (products) return registerLoop('byte dot product loop', 'dot', work, threads);
  return registerLoop('widening multiply-add loop', 'widening', work, threads);
}

/** One root and one quotient a value; work in values. */
export const divider = (work, threads) => registerLoop('divider', 'divide', work, threads);

const megabytes = (bytes) => `${(bytes / 1e6).toPrecision(3)} MB`;

const MOST_UPDATED = 4;

/**
 * A pass over `elements` of arrays of f32 of which it reads one and updates the others, as many as make `bytes` an element
 * (28 for AdamW: three are updated), or the nearest to it; its time is that of `bytes`.
 */
export function updateStream(elements, threads, bytes) {
  if (!addon) return undefined;
  const updated = Math.min(MOST_UPDATED, Math.round((bytes / 4 - 1) / 2));
  const moved = 4 * (1 + 2 * updated);
  let arrays;
  return {
    name: `read-modify-write stream of ${megabytes(4 * (1 + updated) * elements)}`,
    paired: true,
    begin: () => {
      arrays ??= Array.from({ length: 1 + updated }, () => new Float32Array(elements).fill(1));
    },
    time: repeated(() => (addon.updateStream(arrays, threads) * bytes) / moved),
  };
}

/** A pass that reads `bytes` of memory. */
export function readStream(bytes, threads) {
  if (!addon) return undefined;
  const array = new Uint8Array(bytes).fill(1);
  return {
    name: `read stream of ${megabytes(bytes)}`,
    paired: true,
    time: repeated(() => addon.readStream(array, threads)),
  };
}

/** What we allow ourselves, in the place of a limit. */
export const goal = (microseconds) => () => ({
  name: microseconds < 1e3 ? `${microseconds} µs` : `${microseconds / 1e3} ms`,
  time: () => microseconds / 1e6,
});
