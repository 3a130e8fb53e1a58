import type { Stateful } from '../io/index.js';
import { DrivetrainError, inspect } from '../native/index.js';
import type { Module } from '../nn/index.js';
import { clone } from '../ops/index.js';
import { checkOptions, outsideScopes, type Tensor } from '../tensor/index.js';
import type { Figures } from './progress.js';

export interface EarlyStoppingOptions {
  /** Epochs without improvement after which training ends: a whole number from 1 on. */
  patience: number;
  /** The figure that counts; `loss` unless given. */
  metric?: string;
  /** Whether less of it is better or more; `min` unless given. */
  mode?: 'min' | 'max';
  /** The least change that counts as improvement; 0 unless given. */
  minDelta?: number;
}

/** Where it stands: JSON, and the best weights as `best.name`. */
export type EarlyStoppingState = Readonly<Record<string, Tensor | number | null>>;

const WEIGHT = 'best.';

/** Notes a figure after each epoch, keeps the weights of the best, and tells when it has not improved for too long. */
export class EarlyStopping implements Stateful {
  readonly #model: Module;
  readonly #options: Required<EarlyStoppingOptions>;
  #best: number | null = null;
  #badEpochs = 0;
  #weights: Record<string, Tensor> = {};

  constructor(model: Module, options: EarlyStoppingOptions) {
    checkOptions('earlyStopping', options, ['patience', 'metric', 'mode', 'minDelta']);
    const { patience, metric = 'loss', mode = 'min', minDelta = 0 } = options;
    if (!Number.isSafeInteger(patience) || patience < 1)
      refuse('a whole number from 1 on as patience', patience);
    if (mode !== 'min' && mode !== 'max') refuse("'min' or 'max' as mode", mode);
    if (!(typeof minDelta === 'number' && minDelta >= 0)) refuse('a number from 0 on as minDelta', minDelta);
    this.#model = model;
    this.#options = { patience, metric, mode, minDelta };
  }

  /** Whether the last `patience` epochs brought no improvement. */
  get stopped(): boolean {
    return this.#badEpochs >= this.#options.patience;
  }

  /** After an epoch. A NaN is no improvement. */
  note(figures: Figures): void {
    const { metric, mode, minDelta } = this.#options;
    const value = figures[metric] ?? refuse(`one of ${Object.keys(figures).join(', ')} as metric`, metric);
    const gain = mode === 'min' ? (this.#best ?? Infinity) - value : value - (this.#best ?? -Infinity);
    if (!(gain > minDelta)) {
      this.#badEpochs++;
      return;
    }
    this.#best = value;
    this.#badEpochs = 0;
    this.#keep(this.#model.stateDict());
  }

  /** Puts the best weights back into the model; where no epoch had any, leaves it as it is. */
  restore(): void {
    if (this.#best !== null) this.#model.loadStateDict(this.#weights);
  }

  /** Frees the weights. */
  dispose(): void {
    for (const one of Object.values(this.#weights)) one.dispose();
    this.#weights = {};
  }

  stateDict(): EarlyStoppingState {
    const weights = Object.entries(this.#weights).map(([name, one]) => [WEIGHT + name, one]);
    return { best: this.#best, badEpochs: this.#badEpochs, ...Object.fromEntries(weights) };
  }

  loadStateDict({ best, badEpochs, ...weights }: EarlyStoppingState): void {
    this.#best = best as number | null;
    this.#badEpochs = badEpochs as number;
    const named = Object.entries(weights).map(([name, one]) => [name.slice(WEIGHT.length), one]);
    this.#keep(Object.fromEntries(named));
  }

  #keep(weights: Readonly<Record<string, Tensor>>): void {
    const copies = outsideScopes(() => Object.entries(weights).map(([name, one]) => [name, clone(one)]));
    this.dispose();
    this.#weights = Object.fromEntries(copies);
  }
}

function refuse(expected: string, received: unknown): never {
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} of earlyStopping but received ${inspect(received)}.`,
  );
}
