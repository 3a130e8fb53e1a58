import { assign, broadcastTo, full, ones, slice, tensor, transpose, zeros } from 'drivetrain';
import { expect, test } from 'vitest';

test('a target that broadcasting repeats is refused, and its neighbours keep their values', () => {
  const target = zeros([1]);
  const neighbour = full([16], 7);
  expect(() => assign(broadcastTo(target, [64]), ones([64]))).toThrow(
    expect.objectContaining({ code: 'DT_SHAPE_MISMATCH' }),
  );
  expect(neighbour.toArray()).toEqual(new Float32Array(16).fill(7));
});

test('source and target may be views of the same tensor', () => {
  const n = 300;
  const data = Float32Array.from({ length: n * n }, (_, i) => i);
  const x = tensor(data, { shape: [n, n] });
  assign(x, transpose(x));
  expect(x.toArray()).toEqual(data.map((_, i) => (i % n) * n + Math.floor(i / n)));

  const rows = tensor(
    Float32Array.from({ length: 100_000 }, (_, i) => i),
    { shape: [50_000, 2] },
  );
  assign(slice(rows, 0, 1, 50_000), slice(rows, 0, 0, 49_999));
  expect(rows.toArray()).toEqual(Float32Array.from({ length: 100_000 }, (_, i) => Math.max(i - 2, i % 2)));
});
