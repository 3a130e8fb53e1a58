// A little-endian file, read by offset.

/** `buffer` with short names for what binaries consist of. */
export function reader(buffer) {
  return {
    u8: (at) => buffer.readUInt8(at),
    u16: (at) => buffer.readUInt16LE(at),
    u32: (at) => buffer.readUInt32LE(at),
    u64: (at) => Number(buffer.readBigUInt64LE(at)),
    /** The text up to its closing zero, or `limit` bytes of it. */
    text: (at, limit = buffer.length - at) => {
      const end = buffer.indexOf(0, at);
      return buffer.toString('latin1', at, end < 0 ? at + limit : Math.min(end, at + limit));
    },
  };
}

/** `count` numbers from `start` on, `step` apart. */
export const range = (count, step = 1, start = 0) =>
  Array.from({ length: count }, (_, i) => start + i * step);
