// One step of the optimizers on f32 parameters: AdamW in the cache, where the divider binds it, and all of them beyond,
// where memory does; then one that has its parameters in many tensors.
import { problem, random } from '../data.mjs';
import { divider, updateStream } from '../limits.mjs';

export const group = 'optim';

const SIZES = [
  ['64K', 2 ** 16],
  ['1M', 2 ** 20],
  ['32M', 2 ** 25],
];
const BEYOND = ['32M', 2 ** 25];
/** Beyond the cache a round is a step or two, and the bandwidth of one is not that of the next. */
const LONG = { rounds: 11 };

const unit = (x, eps) => x / (Math.abs(x) + eps);
const BETAS = [0.9, 0.999];
const ADAM = { lr: 1e-3, betas: BETAS, eps: 1e-8 };
const DECAY = 0.01;
const adamwStep = (w, g) => w * (1 - ADAM.lr * DECAY) - ADAM.lr * unit(g, ADAM.eps);
const ADAMW = { method: 'AdamW', options: { ...ADAM, weightDecay: DECAY }, bytes: 28, after: adamwStep };

/** The first of NAdam's steps: mu of this step and of the next. */
const [MU, NEXT_MU] = [1, 2].map((t) => BETAS[0] * (1 - 0.5 * 0.96 ** (t * 4e-3)));

const normOf = (array) => Math.sqrt(array.reduce((sum, x) => sum + x * x, 0));

/**
 * By name: our class and its options (PyTorch's are the same, and `pytorch` beside them; false where it has no such
 * class), the bytes that a step moves for each parameter, and the parameter `after` the first step, from w and its gradient g. For methods that look at
 * whole tensors, `prepare` gives what `after` takes as its third argument.
 */
const METHODS = {
  sgd: { method: 'SGD', options: { lr: 0.1 }, bytes: 12, after: (w, g) => w - 0.1 * g },
  'sgd momentum': {
    method: 'SGD',
    options: { lr: 0.1, momentum: 0.9 },
    bytes: 20,
    after: (w, g) => w - 0.1 * g,
  },
  adam: { method: 'Adam', options: ADAM, bytes: 28, after: (w, g) => w - ADAM.lr * unit(g, ADAM.eps) },
  adamw: ADAMW,
  // Reads the gradients once more, for their norm.
  'adamw clipped': {
    method: 'AdamW',
    options: { ...ADAMW.options, maxGradNorm: 1 },
    bytes: 32,
    pytorch: false,
    prepare: ({ gradients }) => 1 / (normOf(gradients) + 1e-6),
    after: (w, g, factor) => adamwStep(w, g * factor),
  },
  amsgrad: { ...ADAMW, options: { ...ADAMW.options, amsgrad: true }, bytes: 36 },
  nadam: {
    method: 'NAdam',
    options: ADAM,
    bytes: 28,
    // PyTorch 1.13's other path multiplies by mu twice.
    pytorch: { foreach: true },
    after: (w, g) => w - ADAM.lr * (1 + (NEXT_MU * (1 - BETAS[0])) / (1 - MU * NEXT_MU)) * unit(g, ADAM.eps),
  },
  // Its first steps are not rectified.
  radam: { method: 'RAdam', options: { ...ADAM, lr: 0.1 }, bytes: 28, after: (w, g) => w - 0.1 * g },
  adamax: { method: 'Adamax', options: ADAM, bytes: 28, after: (w, g) => w - ADAM.lr * unit(g, ADAM.eps) },
  adagrad: {
    method: 'Adagrad',
    options: { lr: 0.01, eps: 1e-10 },
    bytes: 20,
    after: (w, g) => w - 0.01 * unit(g, 1e-10),
  },
  adadelta: {
    method: 'Adadelta',
    options: { lr: 1, rho: 0.9, eps: 1e-6 },
    bytes: 28,
    after: (w, g) => w - (Math.sqrt(1e-6) / Math.sqrt(0.1 * g * g + 1e-6)) * g,
  },
  rmsprop: {
    method: 'RMSprop',
    options: { lr: 1e-3, alpha: 0.99, eps: 1e-8 },
    bytes: 20,
    after: (w, g) => w - (1e-3 * g) / (Math.sqrt(0.01) * Math.abs(g) + 1e-8),
  },
  lion: {
    method: 'Lion',
    options: { lr: 1e-3, betas: [0.9, 0.99] },
    bytes: 20,
    pytorch: false,
    after: (w, g) => w - 1e-3 * Math.sign(g),
  },
  adabelief: {
    method: 'AdaBelief',
    options: { lr: 1e-3, betas: BETAS, eps: 1e-16 },
    bytes: 28,
    pytorch: false,
    after: (w, g) => w - (1e-3 * g) / (BETAS[0] * Math.abs(g) + 1e-16),
  },
  // Two passes: the moments and the norms, then the step.
  lamb: {
    method: 'LAMB',
    options: { lr: 1e-3, betas: BETAS, eps: 1e-6 },
    bytes: 40,
    pytorch: false,
    prepare: ({ weights, gradients }) => normOf(weights) / normOf(gradients.map((g) => unit(g, 1e-6))),
    after: (w, g, trust) => w - 1e-3 * trust * unit(g, 1e-6),
  },
  // Two passes: the norms, then the step.
  lars: {
    method: 'LARS',
    options: { lr: 1, momentum: 0.9 },
    bytes: 28,
    pytorch: false,
    prepare: ({ weights, gradients }) => normOf(weights) / normOf(gradients),
    after: (w, g, ratio) => w - 1e-3 * ratio * g,
  },
  // Codes of both moments in the place of f32, and two scales for each block of 256.
  adam8bit: {
    method: 'Adam8bit',
    options: ADAM,
    bytes: 16,
    pytorch: false,
    after: (w, g) => w - ADAM.lr * unit(g, ADAM.eps),
  },
  adamw8bit: {
    method: 'AdamW8bit',
    options: { ...ADAM, weightDecay: DECAY },
    bytes: 16,
    pytorch: false,
    after: adamwStep,
  },
};

function stepProblem(n, { method, options, pytorch = {}, prepare, after }, more = {}) {
  let prepared;
  return problem({
    op: 'optimizer',
    method,
    options,
    pytorch,
    ...more,
    inputs: { weights: random(n, 1), gradients: random(n, 2, 0.01) },
    size: n,
    // The first step, with which the results are checked, has moments in proportion to the gradient.
    expected: (index, arrays) => {
      prepared ??= prepare?.(arrays);
      return { value: after(arrays.weights[index], arrays.gradients[index], prepared), error: 1e-6 };
    },
  });
}

/** AdamW, from the cache to beyond it, on one thread and on two. */
function* adamwRows() {
  for (const threads of [1, 2]) {
    for (const [name, n] of SIZES) {
      const inCache = n <= 2 ** 16;
      yield {
        group,
        name: `adamw/${name}`,
        threads,
        unit: inCache ? 'G parameters/s' : 'GB/s',
        work: inCache ? n : ADAMW.bytes * n,
        problem: stepProblem(n, ADAMW),
        pace: n === BEYOND[1] ? LONG : {},
        limit: () => (inCache ? divider(n, threads) : updateStream(n, threads, ADAMW.bytes)),
        ours: threads > 1 ? { 'drivetrain, 1 thread': { threads: 1 } } : {},
      };
    }
  }
}

/** The other methods, beyond the cache. */
function* methodRows() {
  const [size, n] = BEYOND;
  for (const [name, method] of Object.entries(METHODS)) {
    if (name === 'adamw') continue;
    yield {
      group,
      name: `${name}/${size}`,
      threads: 2,
      unit: 'GB/s',
      work: method.bytes * n,
      problem: stepProblem(n, method),
      pace: LONG,
      limit: () => updateStream(n, 2, method.bytes),
      ours: name === 'adamw8bit' ? { 'drivetrain AdamW': { op: 'optimizerAdamW' } } : {},
    };
  }
}

const TENSORS = 1000;

/** As many parameters in a thousand tensors (or typed arrays) as in one; the other methods that PyTorch has on such tensors. */
function* tensorRows() {
  for (const threads of [1, 2]) {
    for (const where of ['tensors', 'arrays']) {
      const n = TENSORS * 1000;
      yield {
        group,
        name: `adamw/${TENSORS} ${where} of 1000`,
        threads,
        unit: 'µs',
        work: n,
        problem: stepProblem(n, ADAMW, { tensors: TENSORS, pool: where === 'tensors' }),
        pace: { rounds: 11, milliseconds: 60 },
        ours: { 'drivetrain, one tensor': { op: 'optimizerOneTensor' } },
      };
    }
  }
  for (const [name, method] of Object.entries(METHODS)) {
    if (name === 'adamw' || method.pytorch === false) continue;
    const n = TENSORS * 1000;
    yield {
      group,
      name: `${name}/${TENSORS} tensors of 1000`,
      threads: 2,
      unit: 'µs',
      work: n,
      problem: stepProblem(n, method, { tensors: TENSORS, pool: true }),
    };
  }
}

export function* rows() {
  yield* adamwRows();
  yield* methodRows();
  yield* tensorRows();
}
