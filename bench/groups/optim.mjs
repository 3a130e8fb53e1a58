// One step of AdamW on f32 parameters: in the cache, where the divider binds it, and beyond, where memory does.
import { problem, random } from '../data.mjs';
import { divider, updateStream } from '../limits.mjs';

export const group = 'optim';

const SIZES = [
  ['64K', 2 ** 16],
  ['1M', 2 ** 20],
  ['32M', 2 ** 25],
];
/** What a step moves: reads parameter, gradient and both moments, writes three of them. */
const BYTES = 28;
const [LR, EPS, DECAY] = [1e-3, 1e-8, 0.01];

function step(n) {
  return problem({
    op: 'adamw',
    lr: LR,
    betas: [0.9, 0.999],
    eps: EPS,
    weightDecay: DECAY,
    inputs: { weights: random(n, 1), gradients: random(n, 2, 0.01) },
    size: n,
    // The first step, with which the results are checked, has moments in proportion to the gradient.
    expected: (index, { weights, gradients }) => {
      const g = gradients[index];
      return { value: weights[index] * (1 - LR * DECAY) - (LR * g) / (Math.abs(g) + EPS), error: 1e-6 };
    },
  });
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const [name, n] of SIZES) {
      const inCache = n <= 2 ** 16;
      yield {
        group,
        name: `adamw/${name}`,
        threads,
        unit: inCache ? 'G parameters/s' : 'GB/s',
        work: inCache ? n : BYTES * n,
        problem: step(n),
        limit: () => (inCache ? divider(n, threads) : updateStream(n, threads)),
        ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
      };
    }
  }
}
