import { Linear, Module, ReLU, randn, relu, type Tensor } from 'drivetrain';
import type { Packed } from '../nn/support.js';
import { contentOf, golden, numbersOf } from '../ops/support.js';

export const numbers = (t: Tensor) => numbersOf(contentOf(t));

export const random = (...shape: number[]) => randn(shape);

/** A model of a user's own: layers in fields and arrays, and what lies between them in `forward`. */
export class Net extends Module {
  first = new Linear(12, 32);
  blocks = [new Linear(32, 24), new ReLU()] as const;
  private readonly last = new Linear(24, 4);
  /** Something that is no module. */
  calls = 0;

  forward(x: Tensor): Tensor {
    this.calls++;
    const hidden = relu(this.first.forward(x));
    return this.last.forward(this.blocks[1].forward(this.blocks[0].forward(hidden)));
  }
}

interface FakeQuantizeCase {
  readonly scale: number;
  readonly zeroPoint: number;
  readonly min: number;
  readonly max: number;
  readonly x: Packed;
  readonly y: Packed;
  readonly dy: Packed;
  readonly dx: Packed;
}

/** What test/goldens/make_compression.py wrote. */
export const pytorch = golden<{
  readonly fakeQuantize: {
    readonly tensors: readonly FakeQuantizeCase[];
    readonly rows: Record<'x' | 'scale' | 'y' | 'dy' | 'dx', Packed>;
  };
  readonly observers: {
    readonly ranges: readonly { low: number; high: number; scale: number; zeroPoint: number }[];
    readonly moving: readonly { x: Packed; low: number; high: number }[];
  };
  readonly pruning: {
    readonly weights: readonly Packed[];
    readonly layer: { readonly amount: number; readonly masks: readonly (readonly number[])[] };
    readonly global: { readonly amount: number; readonly masks: readonly (readonly number[])[] };
    readonly rows: { readonly amount: number; readonly kept: readonly number[] };
  };
  readonly distillation: readonly {
    readonly temperature: number;
    readonly alpha: number;
    readonly labels: readonly number[];
    readonly loss: number;
    readonly student: Packed;
    readonly teacher: Packed;
    readonly gradient: Packed;
  }[];
}>('compress/pytorch.json');
