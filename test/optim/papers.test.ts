// Methods that PyTorch lacks against their papers' equations, written out in f64.
import { describe, expect, test } from 'vitest';
import { bitsOf, expectWithin, FLOATS, UNIT } from '../ops/support.js';
import { goldens, gradientsOf, OPTIMIZERS, startOf } from './support.js';

interface Options {
  readonly lr: number;
  readonly betas?: readonly [number, number];
  readonly weightDecay: number;
  readonly eps?: number;
  readonly momentum?: number;
  readonly trustCoefficient?: number;
  readonly maximize?: boolean;
}

/** What a method keeps for a tensor; every kind begins with zeros. */
type State = Record<string, number[]>;

/** One step on one tensor. */
type Step = (p: number[], g: readonly number[], t: number, state: State, options: Options) => number[];

const norm = (x: readonly number[]) => Math.sqrt(x.reduce((sum, y) => sum + y * y, 0));
const blend = (old: readonly number[] | undefined, decay: number, now: readonly number[]) =>
  now.map((x, i) => decay * (old?.[i] ?? 0) + (1 - decay) * x);

const papers: Record<string, { step: Step; cases: Record<string, Options> }> = {
  Lion: {
    step: (p, g, _, state, { lr, betas: [b1, b2] = [0.9, 0.99], weightDecay }) => {
      const c = blend(state.m, b1, g);
      state.m = blend(state.m, b2, g);
      return p.map((x, i) => x - lr * (Math.sign(c[i]!) + weightDecay * x));
    },
    cases: {
      defaults: { lr: 1e-4, betas: [0.9, 0.99], weightDecay: 0 },
      'weight decay': { lr: 0.01, betas: [0.9, 0.99], weightDecay: 0.5 },
      'other betas': { lr: 0.01, betas: [0.5, 0.7], weightDecay: 0.1 },
      maximize: { lr: 0.01, betas: [0.9, 0.99], weightDecay: 0.1, maximize: true },
    },
  },
  AdaBelief: {
    step: (p, g, t, state, { lr, betas: [b1, b2] = [0.9, 0.999], weightDecay, eps = 1e-16 }) => {
      state.m = blend(state.m, b1, g);
      const far = state.m.map((m, i) => (g[i]! - m) ** 2);
      state.s = blend(state.s, b2, far).map((s) => s + eps);
      const [m, s] = [state.m.map((x) => x / (1 - b1 ** t)), state.s.map((x) => x / (1 - b2 ** t))];
      return p.map((x, i) => x - lr * weightDecay * x - (lr * m[i]!) / (Math.sqrt(s[i]!) + eps));
    },
    cases: {
      defaults: { lr: 1e-3, weightDecay: 0 },
      'weight decay and eps': { lr: 0.01, weightDecay: 0.3, eps: 1e-6 },
      'other betas': { lr: 0.01, betas: [0.5, 0.9], weightDecay: 0, eps: 1e-8 },
      maximize: { lr: 0.01, weightDecay: 0.1, eps: 1e-8, maximize: true },
    },
  },
  LAMB: {
    step: (p, g, t, state, { lr, betas: [b1, b2] = [0.9, 0.999], weightDecay, eps = 1e-6 }) => {
      state.m = blend(state.m, b1, g);
      state.v = blend(
        state.v,
        b2,
        g.map((x) => x * x),
      );
      const [m, v] = [state.m.map((x) => x / (1 - b1 ** t)), state.v.map((x) => x / (1 - b2 ** t))];
      const update = p.map((x, i) => m[i]! / (Math.sqrt(v[i]!) + eps) + weightDecay * x);
      const trust = norm(p) > 0 && norm(update) > 0 ? norm(p) / norm(update) : 1;
      return p.map((x, i) => x - lr * trust * update[i]!);
    },
    cases: {
      defaults: { lr: 1e-3, weightDecay: 0 },
      'weight decay and eps': { lr: 0.01, weightDecay: 0.1, eps: 1e-3 },
      'other betas': { lr: 0.01, betas: [0.5, 0.9], weightDecay: 0 },
      maximize: { lr: 0.01, weightDecay: 0.1, maximize: true },
    },
  },
  LARS: {
    step: (p, g, _, state, { lr, momentum = 0.9, weightDecay, trustCoefficient = 1e-3 }) => {
      const local =
        norm(p) > 0 && norm(g) > 0 ? (trustCoefficient * norm(p)) / (norm(g) + weightDecay * norm(p)) : 1;
      state.b = p.map((x, i) => momentum * (state.b?.[i] ?? 0) + lr * local * (g[i]! + weightDecay * x));
      return p.map((x, i) => x - state.b![i]!);
    },
    cases: {
      defaults: { lr: 1, weightDecay: 0 },
      'weight decay': { lr: 1, weightDecay: 0.1, trustCoefficient: 0.01 },
      'no momentum': { lr: 0.1, weightDecay: 0, momentum: 0, trustCoefficient: 0.1 },
      maximize: { lr: 0.5, weightDecay: 0.01, momentum: 0.5, trustCoefficient: 0.01, maximize: true },
    },
  },
};

describe.each(Object.keys(papers))('%s', (name) => {
  const { step, cases } = papers[name]!;
  describe.each(Object.keys(cases))('with %s', (title) => {
    test.each(FLOATS)('takes the steps of its paper in %s', (dtype) => {
      const options = cases[title]!;
      const params = startOf(dtype);
      const optimizer = OPTIMIZERS[name]!(params, options);
      const wanted = startOf('f64').map((p) => ({ p: [...p], reach: [...p].map(Math.abs), state: {} }));
      for (let k = 0; k < goldens.steps; k++) {
        const gradients = gradientsOf(k, dtype);
        optimizer.step(gradients);
        wanted.forEach((tensor, i) => {
          const g = [...gradients[i]!].map((x) => (options.maximize ? -x : x));
          tensor.p = step(tensor.p, g, k + 1, tensor.state, options);
          tensor.reach = tensor.reach.map((reach, j) => Math.max(reach, Math.abs(tensor.p[j]!)));
        });
      }
      wanted.forEach(({ p, reach }, i) => {
        // As in pytorch.test.ts.
        const bound = (j: number) => (dtype === 'f64' ? 1e-12 : 16 * goldens.steps * UNIT.f32) * reach[j]!;
        expectWithin({ dtype, shape: [p.length], data: params[i]! }, p, bound);
      });
    });
  });
});

test('LAMB and LARS step tensors of zeros, and with gradients of zeros', () => {
  for (const name of ['LAMB', 'LARS']) {
    const [zeros, ones] = [new Float32Array(4), new Float32Array(4).fill(1)];
    const options = { lr: 0.5, weightDecay: 0, ...(name === 'LARS' && { momentum: 0 }) };
    const optimizer = OPTIMIZERS[name]!([zeros, ones], options);
    optimizer.step([Float32Array.of(1, 1, 1, 1), new Float32Array(4)]);
    expect([...zeros].every((x) => Math.abs(x + 0.5) < 1e-6)).toBe(true);
    expect([...ones]).toEqual([1, 1, 1, 1]);
  }
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
