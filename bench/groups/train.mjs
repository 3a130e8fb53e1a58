// One training step of the digits network: forward, cross-entropy, backward, AdamW.
import { problem } from '../data.mjs';
import { FLOP, labels, lossAfter, parameters, pixels, WIDTHS } from './digits.mjs';

export const group = 'train';

/** Everybody's loss is compared in this step, so that gradients and the optimizer are in it. */
const CHECKED = 10;
const OPTIONS = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 };

/** By batch: it takes a while, and is the same for any number of threads. */
const losses = new Map();

function step(batch) {
  const classes = labels(batch);
  return problem({
    op: 'trainDigits',
    batch,
    widths: WIDTHS,
    labels: classes,
    options: OPTIONS,
    warmUp: CHECKED - 1,
    inputs: { x: pixels(batch), ...parameters },
    size: 1,
    expected: (_, arrays) => {
      if (!losses.has(batch)) losses.set(batch, lossAfter(CHECKED, arrays, classes, OPTIONS));
      // AdamW divides by the size of a gradient, so that its rounding in f32, some 1e-6, is a step's for the least of them.
      return { value: losses.get(batch), error: 1e-3 };
    },
  });
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const batch of [32, 128]) {
      yield {
        group,
        name: `digits/${batch}`,
        threads,
        unit: 'µs',
        // Backward is twice as much as forward, but for the first layer.
        work: 3 * batch * FLOP,
        problem: step(batch),
        ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
        // It may be slower with two.
        theirs: threads > 1 ? { 'PyTorch, 1 thread': { peer: 'PyTorch', threads: 1 } } : {},
      };
    }
  }
}
