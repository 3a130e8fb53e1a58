// Methods that PyTorch lacks against their papers' equations, written out in f64.
import { describe, expect, test } from 'vitest';
import { bitsOf, expectWithin, FLOATS, UNIT } from '../ops/support.js';
import { goldens, gradientsOf, OPTIMIZERS, startOf } from './support.js';

interface Options {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly weightDecay: number;
  readonly eps: number;
}

/** One step on one element; `state` is the element's own, and begins empty. */
type Step = (p: number, g: number, t: number, state: Record<string, number>, options: Options) => number;

const papers: Record<string, { step: Step; cases: Record<string, Options & { maximize?: boolean }> }> = {
  Lion: {
    step: (p, g, _, state, { lr, betas: [b1, b2], weightDecay }) => {
      const { m = 0 } = state;
      state.m = b2 * m + (1 - b2) * g;
      return p - lr * (Math.sign(b1 * m + (1 - b1) * g) + weightDecay * p);
    },
    cases: {
      defaults: { lr: 1e-4, betas: [0.9, 0.99], weightDecay: 0, eps: 0 },
      'weight decay': { lr: 0.01, betas: [0.9, 0.99], weightDecay: 0.5, eps: 0 },
      'other betas': { lr: 0.01, betas: [0.5, 0.7], weightDecay: 0.1, eps: 0 },
      maximize: { lr: 0.01, betas: [0.9, 0.99], weightDecay: 0.1, eps: 0, maximize: true },
    },
  },
  AdaBelief: {
    step: (p, g, t, state, { lr, betas: [b1, b2], weightDecay, eps }) => {
      state.m = b1 * (state.m ?? 0) + (1 - b1) * g;
      state.s = b2 * (state.s ?? 0) + (1 - b2) * (g - state.m) ** 2 + eps;
      const [m, s] = [state.m / (1 - b1 ** t), state.s / (1 - b2 ** t)];
      return p - lr * weightDecay * p - (lr * m) / (Math.sqrt(s) + eps);
    },
    cases: {
      defaults: { lr: 1e-3, betas: [0.9, 0.999], weightDecay: 0, eps: 1e-16 },
      'weight decay and eps': { lr: 0.01, betas: [0.9, 0.999], weightDecay: 0.3, eps: 1e-6 },
      'other betas': { lr: 0.01, betas: [0.5, 0.9], weightDecay: 0, eps: 1e-8 },
      maximize: { lr: 0.01, betas: [0.9, 0.999], weightDecay: 0.1, eps: 1e-8, maximize: true },
    },
  },
};

describe.each(Object.keys(papers))('%s', (name) => {
  const { step, cases } = papers[name]!;
  describe.each(Object.keys(cases))('with %s', (title) => {
    test.each(FLOATS)('takes the steps of its paper in %s', (dtype) => {
      const { maximize = false, eps, ...options } = cases[title]!;
      const params = startOf(dtype);
      const own = name === 'Lion' ? {} : { eps };
      const optimizer = OPTIMIZERS[name]!(params, { ...options, ...own, maximize });
      const wanted = startOf('f64').map((p) => [...p].map((start) => ({ p: start, reach: 0, state: {} })));
      for (let k = 0; k < goldens.steps; k++) {
        const gradients = gradientsOf(k, dtype);
        optimizer.step(gradients);
        wanted.forEach((elements, i) => {
          elements.forEach((element, j) => {
            const g = gradients[i]![j]! * (maximize ? -1 : 1);
            element.p = step(element.p, g, k + 1, element.state, { ...options, eps });
            element.reach = Math.max(element.reach, Math.abs(element.p));
          });
        });
      }
      wanted.forEach((elements, i) => {
        const value = { dtype, shape: [elements.length], data: params[i]! };
        // As in pytorch.test.ts.
        const bound = (j: number) =>
          (dtype === 'f64' ? 1e-12 : 16 * goldens.steps * UNIT.f32) * elements[j]!.reach;
        expectWithin(
          value,
          elements.map(({ p }) => p),
          bound,
        );
      });
    });
  });
});

test.each(Object.keys(OPTIMIZERS))('%s goes up where it maximizes: as down the negative gradient', (name) => {
  for (const dtype of FLOATS) {
    const [up, down] = [startOf(dtype), startOf(dtype)];
    const [maximizing, minimizing] = [
      OPTIMIZERS[name]!(up, { maximize: true }),
      OPTIMIZERS[name]!(down, { maximize: false }),
    ];
    for (let k = 0; k < 20; k++) {
      maximizing.step(gradientsOf(k, dtype));
      minimizing.step(gradientsOf(k, dtype).map((g) => g.map((x) => -x)));
    }
    expect(up.map(bitsOf)).toEqual(down.map(bitsOf));
    expect(up.map(bitsOf)).not.toEqual(startOf(dtype).map(bitsOf));
  }
});
