import {
  assign,
  cast,
  type OptimizerOpcode,
  type OptimizerOperands,
  OptimizerStep,
  transient,
} from '../ops/index.js';
import { DTYPES, type Tensor } from '../tensor/index.js';
import { type CustomOperands, CustomStep, type Update } from './custom-step.js';
import { FlatState, filledBeside, type StateKind } from './flat-state.js';
import type { Named } from './parameters.js';

/** A step, and the state that it works on. */
export interface Kernel<H = never> {
  /** A native one, or one in operations. */
  readonly step: OptimizerOpcode | Update<H>;
  /** In the order of native code. */
  readonly state: readonly StateKind[];
  /** Where parameters may begin in the state. */
  readonly alignment?: number;
  /** Steps of f16 and bf16 parameters are made on the copies alone, which are rounded afterwards. */
  readonly roundsAfter?: boolean;
}

/** The f32 copies of f16 and bf16 parameters, on which steps are made. */
const MASTER: StateKind = { name: 'master' };

/** A group as the options of a step in operations: native steps read the numbers alone. */
export type GroupOptions<H> = Pick<CustomOperands<H>, 'method' | 'group' | 'numbers' | 'table'>;

/** Parameters that step together: a group, or those of it that have another kernel than the rest. */
export class GroupState<H extends object = object> {
  readonly params: readonly Tensor[];
  readonly names: readonly string[];
  /** f64 numbers that native code advances; the first counts steps. */
  readonly counters: Tensor;
  readonly state: readonly FlatState[];
  readonly operands: OptimizerOperands;
  readonly #counterNames: readonly string[];
  readonly #native: OptimizerOpcode | undefined;
  #step: OptimizerStep | CustomStep<H> | undefined;
  readonly #round: OptimizerStep | undefined;

  /** `counters` are their first values by name, beside the count of steps. */
  constructor(
    { step, state, alignment, roundsAfter = false }: Kernel<H>,
    parameters: readonly Named[],
    options: GroupOptions<H>,
    control: Tensor,
    counters: Readonly<Record<string, number>>,
  ) {
    this.params = parameters.map(({ tensor }) => tensor);
    this.names = parameters.map(({ name }) => name);
    const first = [0, ...Object.values(counters)];
    this.#counterNames = ['step', ...Object.keys(counters)];
    this.counters = filledBeside(this.params, first.length, 0, 'f64');
    (this.counters.borrow() as Float64Array).set(first);
    const copied = DTYPES[this.params[0]!.dtype].bytes === 2;
    this.state = (copied ? [...state, MASTER] : state).map(
      (kind) => new FlatState(kind, this.params, kind === MASTER ? undefined : alignment),
    );
    if (copied) {
      transient(() => {
        for (const [i, tensor] of this.params.entries()) {
          assign(this.state.at(-1)!.of(i), cast(tensor, 'f32'));
        }
      });
    }
    const computed = copied ? this.params.map((_, i) => this.state.at(-1)!.of(i)) : this.params;
    const own = copied ? this.state.slice(0, -1) : this.state;
    const shared = { options: options.numbers, counters: this.counters, control };
    const apart = copied && roundsAfter;
    this.operands = {
      ...shared,
      state: (apart ? own : this.state).map(({ all }) => all),
      parameters: apart ? computed : this.params,
    };
    if (typeof step === 'function') {
      const { params: parameters, names, counters } = this;
      this.#step = new CustomStep(step, { ...options, names, computed, parameters, state: own, counters });
    } else {
      this.#native = step;
    }
    if (apart) {
      const state = [this.state.at(-1)!.all];
      this.#round = new OptimizerStep('roundMaster', { ...shared, state, parameters: this.params });
    }
  }

  /** Whether a step is one native call. */
  get isOneCall(): boolean {
    return this.#native !== undefined && this.#round === undefined;
  }

  get steps(): number {
    return this.counters.viewAs([], undefined, 0).item();
  }

  /**
   * A step with a gradient for each parameter, as `control` says: the function returned takes it. What can fail for the
   * gradients' sake has been done by then.
   */
  prepare(gradients: readonly Tensor[], control: Tensor): () => void {
    this.#step ??= new OptimizerStep(this.#native!, this.operands);
    const step = this.#step;
    if (step instanceof CustomStep) return step.prepare(gradients, control);
    const round = this.#round;
    if (round === undefined) return () => step.run(gradients, control);
    const widened = gradients.map((gradient) => cast(gradient, 'f32'));
    return () => {
      step.run(widened, control);
      round.run(this.params, control);
    };
  }

  /** Throws what a step would throw for memory that is gone, frozen or in use. */
  checkReady(): void {
    for (const written of [this.counters, ...this.params, ...this.state.map(({ all }) => all)]) {
      written.checkReady(true);
    }
  }

  /** The tensors that belong to each parameter, by name: views. Counters are those of all parameters. */
  entries(): { parameter: string; which: string; tensor: Tensor; counts: boolean }[] {
    return this.names.flatMap((parameter, p) => [
      ...this.#counterNames.map((which, i) => ({
        parameter,
        which,
        tensor: this.counters.viewAs([], undefined, i),
        counts: true,
      })),
      ...this.state
        .filter((kind) => kind.has(p))
        .map((kind) => ({ parameter, which: kind.name, tensor: kind.of(p), counts: false })),
    ]);
  }
}
