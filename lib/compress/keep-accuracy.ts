import { DrivetrainError } from '../native/index.js';
import type { Module } from '../nn/index.js';
import { Tensor } from '../tensor/index.js';

/**
 * Which layers have to stay in f32 for a model to keep a share of what it scores: none, or the most sensitive ones, by the
 * score of a model in which only that layer is quantized. `build` makes a model with some layers kept.
 */
export function keepAccuracy(
  names: readonly string[],
  build: (kept: ReadonlySet<string>) => Module,
  share: number,
  evaluate: (model: Module) => number,
): ReadonlySet<string> {
  const score = (kept: readonly string[]) => checkScore(evaluate(build(new Set(kept))));
  const original = score(names);
  const target = share * original;
  const all = score([]);
  if (all >= target) return new Set();
  const alone = new Map(
    names.map((name) => [name, names.length === 1 ? all : score(names.filter((other) => other !== name))]),
  );
  const sensitive = [...names].sort((a, b) => alone.get(a)! - alone.get(b)!);
  let best = all;
  for (let count = 1; count < names.length; count++) {
    const kept = sensitive.slice(0, count);
    const reached = count === names.length - 1 ? alone.get(sensitive.at(-1)!)! : score(kept);
    best = Math.max(best, reached);
    if (reached < target) continue;
    process.emitWarning(
      `quantize kept ${kept.join(', ')} in f32: ${figures(original, all, target)}, with these kept ${reached}.`,
      { type: 'DrivetrainWarning', code: 'DT_KEPT_F32' },
    );
    return new Set(kept);
  }
  const each = sensitive.map((name) => `${name === '' ? 'the model' : name} ${alone.get(name)}`).join(', ');
  throw new DrivetrainError(
    'DT_ACCURACY',
    `Expected a quantized model that keeps ${share} of the original's score for quantize but received less, however many layers stay in f32: ${figures(original, all, target)}, at best ${best}; with one layer quantized: ${each}. Train with prepareQat, calibrate with other inputs or another method, or ask for less.`,
  );
}

function figures(original: number, all: number, target: number): string {
  return `the original scores ${original}, all quantized ${all}, wanted at least ${target}`;
}

function checkScore(score: unknown): number {
  if (typeof score === 'number' && score >= 0 && score < Infinity) return score;
  const received =
    score instanceof Tensor
      ? 'a tensor (score.item() is its number)'
      : score instanceof Promise
        ? 'a promise'
        : typeof score === 'number'
          ? score
          : typeof score;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected evaluate of quantize to return a finite number from 0 on, at once, but received ${received}.`,
  );
}
