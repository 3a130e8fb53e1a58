/**
 * Philox4x32-10 as its paper has it (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), and the streams
 * that drivetrain documents on it.
 */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  const word = (x: bigint) => BigInt.asUintN(32, x);
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, word(p1), (p0 >> 32n) ^ c3 ^ k1, word(p0)];
    [k0, k1] = [word(k0 + 0x9e3779b9n), word(k1 + 0xbb67ae85n)];
  }
  return [c0, c1, c2, c3].map(Number);
}

const halves = (x: number): [number, number] => [x % 2 ** 32, Math.floor(x / 2 ** 32)];

/** `n` uniforms on [0, 1) of the stream of a seed, from block `offset` on: 24 bits of a word, or 53 of a pair. */
export function uniforms(seed: number, offset: number, n: number, dtype: 'f32' | 'f64'): number[] {
  const words: number[] = [];
  const needed = dtype === 'f32' ? n : 2 * n;
  for (let block = offset; words.length < needed; block++)
    words.push(...philox([...halves(block), 0, 0], halves(seed)));
  return Array.from({ length: n }, (_, i) => {
    if (dtype === 'f32') return (words[i]! >>> 8) * 2 ** -24;
    const pair = (BigInt(words[2 * i + 1]!) << 32n) | BigInt(words[2 * i]!);
    return Number(pair >> 11n) * 2 ** -53;
  });
}
