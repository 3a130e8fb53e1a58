import { DrivetrainError, type TypedArray } from '../native/index.js';
import { loadState, stateEntry } from '../nn/index.js';
import {
  activeRecorder,
  add,
  assign,
  cast,
  clone,
  concat,
  equal,
  greater,
  less,
  maximum,
  minimum,
  mul,
  reshape,
  slice,
  transient,
  where,
} from '../ops/index.js';
import { checkOptions, outsideScopes, type Tensor, tensor } from '../tensor/index.js';
import { AT, type LossScale } from './gradient-control.js';
import { checkStepper, type Stepper } from './optimizer.js';

export interface GradScalerOptions {
  /** What the loss is multiplied by at first; 65536 unless given. Powers of 2 lose nothing. */
  initScale?: number;
  /** What the scale is multiplied by after `growthInterval` steps without overflow; 2 unless given. */
  growthFactor?: number;
  /** What it is multiplied by after an overflow, in (0, 1); 0.5 unless given. */
  backoffFactor?: number;
  /** Steps without overflow after which the scale grows; 2000 unless given. */
  growthInterval?: number;
}

/** Beyond this the scale does not grow: it has to be finite in f32. */
const LARGEST = 2 ** 126;
/** The least, an f32 that is normal: what is lowered further would be 0 in the end, for good. */
const SMALLEST = 2 ** -126;

/**
 * Loss scaling, as PyTorch's `GradScaler`: the loss is multiplied so that small gradients do not vanish in 16 bits, and
 * the step divides them again, in the same pass. Gradients of NaN or infinity leave the step out, uncounted, and lower
 * the scale. Inside `compile(fn)`, the scale is state that the program advances.
 *
 *     const loss = scaler.scale(lossOf(x, y));
 *     scaler.step(optimizer, grad(loss, parameters));
 *     scaler.update();
 *
 * Micikevicius and others, arXiv:1710.03740.
 */
export class GradScaler implements LossScale {
  readonly #options: Required<GradScalerOptions>;
  /** The scale and the steps since it last changed; not `#private`: a scope that returns this has to find them. */
  private readonly state: Tensor;
  /** Of the steps since `update`: whether one overflowed, and whether all of those that were due were taken. */
  #seen: { readonly overflow: Tensor; readonly skipped: Tensor; readonly recorder: unknown } | undefined;

  constructor(options: GradScalerOptions = {}) {
    checkOptions('GradScaler', options, ['initScale', 'growthFactor', 'backoffFactor', 'growthInterval']);
    const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 } = options;
    this.#options = { initScale, growthFactor, backoffFactor, growthInterval };
    if (!(initScale > 0 && initScale <= LARGEST))
      throw refuse('initScale above 0, at most 2 ** 126', initScale);
    if (!(growthFactor > 1 && growthFactor < Infinity))
      throw refuse('a finite growthFactor above 1', growthFactor);
    if (!(backoffFactor > 0 && backoffFactor < 1)) throw refuse('backoffFactor in (0, 1)', backoffFactor);
    if (!Number.isSafeInteger(growthInterval) || growthInterval < 1) {
      throw refuse('a whole number above 0 as growthInterval', growthInterval);
    }
    this.state = outsideScopes(() => tensor(Float64Array.of(initScale, 0)));
  }

  /** What the loss is multiplied by now. */
  get lossScale(): number {
    return this.state.viewAs([], [], 0).item();
  }

  /** The loss times the scale, in its own dtype (f32 or f64). */
  scale(loss: Tensor): Tensor {
    return transient(() => mul(loss, reshape(cast(slice(this.state, 0, 0, 1), loss.dtype), [])));
  }

  /** Steps with gradients of the scaled loss, unless some of them are not finite. */
  step(optimizer: Stepper, gradients: readonly (Tensor | TypedArray)[]): void {
    checkStepper('GradScaler', optimizer);
    optimizer.step(gradients, { scaler: this });
  }

  /** @internal The tensor whose first number is the scale. */
  get tensor(): Tensor {
    return this.state;
  }

  /** @internal Hears what a step made of its gradients. */
  observe(control: Tensor): void {
    const recorder = activeRecorder();
    const before = this.#seen?.recorder === recorder ? this.#seen : undefined;
    const [overflow, skipped] = outsideScopes(() =>
      transient(() => {
        const at = (place: number) => slice(control, 0, place, place + 1);
        const [bad, skip] = [mul(minimum(at(AT.notFinite), 1), at(AT.due)), clone(at(AT.skip))];
        if (before === undefined) return [bad, skip] as const;
        return [maximum(bad, before.overflow), maximum(skip, before.skipped)] as const;
      }),
    );
    this.#forget();
    this.#seen = { overflow, skipped, recorder };
  }

  /** Lowers the scale where a step since the last call met an overflow, and raises it after enough steps without. */
  update(): void {
    if (this.#seen === undefined || this.#seen.recorder !== activeRecorder()) return;
    const { overflow, skipped } = this.#seen;
    const { growthFactor, backoffFactor, growthInterval } = this.#options;
    transient(() => {
      const [scale, before] = [slice(this.state, 0, 0, 1), slice(this.state, 0, 1, 2)];
      const isOverflow = greater(overflow, 0);
      const steps = add(before, cast(equal(skipped, 0), 'f64'));
      const isGrown = greater(steps, growthInterval - 0.5);
      const grown = mul(scale, growthFactor);
      const raised = where(less(grown, LARGEST), grown, minimum(scale, LARGEST));
      const next = where(
        isOverflow,
        maximum(mul(scale, backoffFactor), SMALLEST),
        where(isGrown, raised, scale),
      );
      assign(this.state, concat([next, where(isOverflow, 0, where(isGrown, 0, steps))]));
    });
    this.#forget();
  }

  #forget(): void {
    if (this.#seen !== undefined && this.#seen.recorder === undefined) {
      this.#seen.overflow.dispose();
      this.#seen.skipped.dispose();
    }
    this.#seen = undefined;
  }

  /** `scale` and `growthTracker`, the steps since it last changed: the tensors themselves. */
  stateDict(): Record<string, Tensor> {
    return { scale: this.state.viewAs([], [], 0), growthTracker: this.state.viewAs([], [], 1) };
  }

  /** Copies both; throws before anything is written where one does not fit. */
  loadStateDict(state: Readonly<Record<string, Tensor>>): void {
    loadState(
      Object.entries(this.stateDict()).map(([name, own]) => stateEntry(name, own)),
      state,
    );
  }
}

function refuse(expected: string, received: unknown): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for GradScaler but received ${String(received)}.`,
  );
}
