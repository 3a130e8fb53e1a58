// Outputs from 32 MiB on are written past the caches, by instructions of their own.
import { cast, clone, concat, contiguous, defaultPool, full, slice, transpose, wrap } from 'drivetrain';
import { expect, test } from 'vitest';

const N = 2900; // N * N floats are 33.6 MB

const source = new Float32Array(N * N + 1).map((_, i) => i);

/** The first element that is not what it should be; -1 where all are. */
function firstWrong(data: ArrayLike<number | bigint>, want: (i: number) => number): number {
  for (let i = 0; i < data.length; i++) if (Number(data[i]) !== want(i)) return i;
  return -1;
}

test.each([
  ['full', () => full([N * N + 3], 2.5), () => 2.5],
  ['full of bytes', () => full([4 * N * N + 3], 7, { dtype: 'u8' }), () => 7],
  ['clone', () => clone(slice(wrap(source), 0, 1, N * N + 1)), (i: number) => i + 1],
  [
    'clone of rows with gaps',
    () => clone(slice(wrap(source, [1, N * N + 1]), 1, 1, N * N)),
    (i: number) => i + 1,
  ],
  [
    'contiguous of a transposition',
    () => contiguous(transpose(slice(wrap(source), 0, 0, N * N).viewAs([N, N]))),
    (i: number) => (i % N) * N + Math.floor(i / N),
  ],
  ['cast', () => cast(wrap(source), 'f64'), (i: number) => i],
  ['concat', () => concat([wrap(source), wrap(source)]), (i: number) => (i <= N * N ? i : i - N * N - 1)],
])('a large output of %s is right to its last element', (_, make, want) => {
  expect(defaultPool.scope(() => firstWrong(make().toArray(), want))).toBe(-1);
});
