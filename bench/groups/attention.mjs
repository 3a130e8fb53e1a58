// Scaled-dot-product attention of BERT-base: batch x heads x length x width of a head.
import { problem, random } from '../data.mjs';
import { fmaPeak } from '../limits.mjs';

export const group = 'attention';

const SHAPES = [
  [1, 12, 128, 64],
  [8, 12, 128, 64],
  [1, 12, 512, 64],
];

function attention(batch, heads, length, width) {
  const elements = batch * heads * length * width;
  return problem({
    op: 'attention',
    batch,
    heads,
    length,
    width,
    inputs: { q: random(elements, 1, 3), k: random(elements, 2, 3), v: random(elements, 3) },
    size: elements,
    expected: (index, arrays) => element(index, arrays, length, width),
  });
}

/** softmax(q · kᵀ / √width) · v at one place, in double precision. */
function element(index, { q, k, v }, length, width) {
  const row = Math.floor(index / width);
  const head = Math.floor(row / length) * length;
  const scores = Array.from({ length }, (_, j) => {
    let dot = 0;
    for (let d = 0; d < width; d++) dot += q[row * width + d] * k[(head + j) * width + d];
    return dot / Math.sqrt(width);
  });
  const max = Math.max(...scores);
  let [sum, value] = [0, 0];
  for (const [j, score] of scores.entries()) {
    const weight = Math.exp(score - max);
    sum += weight;
    value += weight * v[(head + j) * width + (index % width)];
  }
  // Scores of a few tens, rounded in f32, change an exponential by some 1e-5 of itself.
  return { value: value / sum, error: 1e-4 };
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const shape of SHAPES) {
      const [batch, heads, length, width] = shape;
      // Both products; the exponentials between them are left out.
      const work = 4 * batch * heads * length * length * width;
      yield {
        group,
        name: shape.join('x'),
        threads,
        unit: 'GFLOP/s',
        work,
        problem: attention(...shape),
        limit: () => fmaPeak(work, threads),
        ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
      };
    }
  }
}
