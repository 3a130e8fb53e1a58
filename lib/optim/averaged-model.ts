import { DrivetrainError } from '../native/index.js';
import { loadState, type Module, stateEntry } from '../nn/index.js';
import {
  activeRecorder,
  add,
  assign,
  cast,
  clone,
  div,
  equal,
  full,
  mul,
  sub,
  transient,
  where,
} from '../ops/index.js';
import { checkOptions, outsideScopes, type Tensor } from '../tensor/index.js';

export interface AveragedModelOptions {
  /** What remains of the average with each update, in [0, 1): an exponential moving average. Unless given, all count alike. */
  decay?: number;
}

const UPDATES = 'updates';

/**
 * The average of a model's parameters over the updates, kept beside it: stochastic weight averaging (Izmailov and others,
 * arXiv:1803.05407), or with `decay` an exponential moving average (Polyak and Juditsky 1992),
 * average ← average + (1 − decay) · (parameter − average). The first update copies.
 */
export class AveragedModel {
  readonly #model: Module;
  readonly #decay: number | undefined;
  /** By the model's names; not `#private`: a scope that returns this object has to find its tensors. */
  private readonly averages: ReadonlyMap<string, { readonly parameter: Tensor; readonly average: Tensor }>;
  private readonly count: Tensor;

  constructor(model: Module, options: AveragedModelOptions = {}) {
    checkOptions('AveragedModel', options, ['decay']);
    const { decay } = options;
    if (decay !== undefined && !(typeof decay === 'number' && decay >= 0 && decay < 1)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected decay of AveragedModel in [0, 1) but received ${String(decay)}.`,
      );
    }
    this.#model = model;
    this.#decay = decay;
    const named = [...model.namedParameters()];
    if (named.some(([name]) => name === UPDATES)) {
      throw new DrivetrainError(
        'DT_INVALID_ARGUMENT',
        `Expected a model without a parameter of the name ${UPDATES} for AveragedModel, whose own count has it, but received one.`,
      );
    }
    this.averages = outsideScopes(
      () => new Map(named.map(([name, parameter]) => [name, { parameter, average: clone(parameter) }])),
    );
    this.count = outsideScopes(() => full([], 0, { dtype: 'f64' }));
  }

  /** Updates so far. */
  get updates(): number {
    return this.count.item();
  }

  /** Takes the parameters, as they are now, into the average; inside `compile(fn)`, as they are when it is called there. */
  update(): void {
    const recorded = activeRecorder() !== undefined;
    if (!recorded) {
      for (const { parameter, average } of this.averages.values()) {
        parameter.checkReady(false);
        average.checkReady(true);
      }
    }
    transient(() => {
      const isFirst = equal(this.count, 0);
      const weight =
        this.#decay === undefined ? div(1, add(this.count, 1)) : where(isFirst, 1, 1 - this.#decay);
      const updates = [...this.averages.values()].map(({ parameter, average }) => {
        const moved = add(average, mul(sub(parameter, average), cast(weight, average.dtype)));
        return [average, where(isFirst, parameter, moved)] as const;
      });
      const counted = add(this.count, 1);
      for (const [average, updated] of updates) assign(average, updated);
      assign(this.count, counted);
    });
  }

  /** Calls `fn` with the averages in the place of the model's parameters, which come back afterwards, whatever happens. */
  async use<T>(fn: (model: Module) => T | Promise<T>): Promise<T> {
    const kept = outsideScopes(() => [...this.averages.values()].map(({ parameter }) => clone(parameter)));
    try {
      for (const { parameter, average } of this.averages.values()) assign(parameter, average);
      return await fn(this.#model);
    } finally {
      [...this.averages.values()].forEach(({ parameter }, i) => {
        assign(parameter, kept[i]!);
        kept[i]!.dispose();
      });
    }
  }

  /** The averages by the model's names, and the number of updates as `updates`: the tensors themselves. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(this.#entries().map(({ name, tensor }) => [name, tensor]));
  }

  /** Copies averages of the same names, shapes and dtypes; throws before anything is written where one does not fit. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(
      this.#entries().map(({ name, tensor }) => stateEntry(name, tensor)),
      state,
    );
  }

  #entries(): { name: string; tensor: Tensor }[] {
    const averages = [...this.averages].map(([name, { average }]) => ({ name, tensor: average }));
    return [...averages, { name: UPDATES, tensor: this.count }];
  }
}
