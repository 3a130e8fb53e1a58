// One training step of the digits network: forward, cross-entropy, backward, AdamW.
import { problem } from '../data.mjs';
import { lossAfter, parameters, SAMPLES, WIDTHS } from './digits.mjs';

export const group = 'train';

/** Everybody's loss is compared in this step, so that gradients and the optimizer are in it. */
const CHECKED = 10;
const OPTIONS = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 };

/** By problem: it takes a while, and is the same for any number of threads. */
const losses = new Map();

function step(batch, kind) {
  const { pixels, labels } = SAMPLES[kind];
  const classes = labels(batch);
  const key = `${kind}/${batch}`;
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
      if (!losses.has(key)) losses.set(key, lossAfter(CHECKED, arrays, classes, OPTIONS));
      // Without the decay of weights it would be 2e-4 off, with an eps of 1e-6 8e-4; rounding in f32 is some 1e-6.
      return { value: losses.get(key), error: 2e-5 };
    },
  });
}

export function* rows() {
  for (const threads of [1, 2]) {
    for (const kind of Object.keys(SAMPLES)) {
      for (const batch of [32, 128]) {
        yield {
          group,
          name: `digits${kind}/${batch}`,
          threads,
          unit: 'µs',
          work: 1,
          problem: step(batch, kind),
          ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
          // It may be slower with two.
          theirs: threads > 1 ? { 'PyTorch, 1 thread': { peer: 'PyTorch', threads: 1 } } : {},
        };
      }
    }
  }
}
