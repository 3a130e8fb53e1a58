import { DrivetrainError } from '../native/index.js';
import {
  abs,
  activeRecorder,
  add,
  assign,
  cast,
  equal,
  greater,
  maximum,
  minimum,
  mul,
  neg,
  type Operand,
  reshape,
  slice,
  where,
} from '../ops/index.js';
import { type DType, formatShape, sameShape, Tensor } from '../tensor/index.js';
import type { FlatState } from './flat-state.js';
import { AT } from './gradient-control.js';
import type { HyperparameterTable } from './hyperparameter.js';
import type { ParameterGroup } from './parameter-group.js';

/**
 * A group's options as an update sees them: numbers where it runs at once; where it is recorded, tensors of one number in
 * the dtype that is computed in, so that they may change between runs. true and false are themselves, always.
 */
export type UpdateOptions<H> = {
  readonly [K in keyof H]-?: NonNullable<H[K]> extends number
    ? Operand
    : NonNullable<H[K]> extends readonly number[]
      ? { readonly [I in keyof NonNullable<H[K]>]: Operand }
      : NonNullable<H[K]>;
};

/** What the update of one parameter has to work with. f16 and bf16 are given as f32. */
export interface UpdateContext<H> {
  readonly name: string;
  readonly parameter: Tensor;
  /** Of the parameter's shape; divided by the loss's scale, clipped and cleaned already. */
  readonly gradient: Tensor;
  /** By the names of the method's kinds of state. */
  readonly state: Readonly<Record<string, Tensor>>;
  readonly options: UpdateOptions<H>;
  /** Which step this is, from 1 on. */
  readonly step: Operand;
}

/** The new parameter, and the new state under its names. Writes nothing: a step happens whole or not at all. */
export type Update<H> = (context: UpdateContext<H>) => Readonly<Record<string, Tensor>>;

/** What a step of a group works on. */
export interface CustomOperands<H> {
  readonly method: string;
  readonly names: readonly string[];
  /** What is computed with: the parameters, or their f32 copies. */
  readonly computed: readonly Tensor[];
  /** The parameters themselves. */
  readonly parameters: readonly Tensor[];
  /** The method's own. */
  readonly state: readonly FlatState[];
  readonly counters: Tensor;
  readonly group: ParameterGroup<H>;
  /** The group's options as f64 numbers, in the order of the table. */
  readonly numbers: Tensor;
  readonly table: HyperparameterTable<H>;
}

/** A step that is written in TypeScript, of operations. */
export class CustomStep<H extends object> {
  readonly #update: Update<H>;
  readonly #operands: CustomOperands<H>;

  constructor(update: Update<H>, operands: CustomOperands<H>) {
    this.#update = update;
    this.#operands = operands;
  }

  /** Makes all new values; the function returned writes them, before the scope ends in which this was called. */
  prepare(gradients: readonly Tensor[], control: Tensor): () => void {
    const { computed, parameters, counters } = this.#operands;
    const { dtype } = computed[0]!;
    const reading = activeRecorder() === undefined ? readNow(control, dtype) : readLater(control, dtype);
    if (reading.skip === true) return () => {};
    const counted = add(counters, 1);
    const writes: [target: Tensor, value: Tensor][] = [[counters, counted]];
    gradients.forEach((gradient, i) => {
      const found = this.#updateOf(i, reading.ready(cast(gradient, dtype)), counted);
      for (const write of found) writes.push(write);
      const [[target, value]] = found as [[Tensor, Tensor]];
      if (target !== parameters[i]) writes.push([parameters[i]!, cast(value, parameters[i]!.dtype)]);
    });
    const kept = writes.map(([target, value]) => reading.unlessSkipped(target, value));
    return () => {
      writes.forEach(([target], i) => {
        assign(target, kept[i]!);
      });
    };
  }

  /** The parameter and its state, each with what it becomes. */
  #updateOf(i: number, gradient: Tensor, counted: Tensor): [target: Tensor, value: Tensor][] {
    const { method, names, computed, state } = this.#operands;
    const parameter = computed[i]!;
    const own = Object.fromEntries(state.map((kind) => [kind.name, kind.of(i)]));
    const recorded = activeRecorder() !== undefined;
    const result = this.#update({
      name: names[i]!,
      parameter,
      gradient,
      state: own,
      options: (recorded ? this.#recordedOptions(parameter.dtype) : this.#operands.group) as UpdateOptions<H>,
      step: recorded
        ? reshape(cast(slice(counted, 0, 0, 1), parameter.dtype), [])
        : counted.viewAs([]).item(),
    });
    const targets = { parameter, ...own };
    const [expected, received] = [Object.keys(targets), Object.keys(result ?? {})];
    if (expected.length !== received.length || !expected.every((key) => Object.hasOwn(result, key))) {
      throw wrongUpdate(method, `{ ${expected.join(', ')} }`, `{ ${received.join(', ')} }`);
    }
    return Object.entries(targets).map(([key, target]) => {
      const value = result[key]!;
      const fits =
        value instanceof Tensor && value.dtype === target.dtype && sameShape(value.shape, target.shape);
      if (fits) return [target, value];
      const show = (one: unknown) =>
        one instanceof Tensor ? `${one.dtype} ${formatShape(one.shape)}` : typeof one;
      throw wrongUpdate(method, `${show(target)} as ${key}`, show(value));
    });
  }

  #recordedOptions(dtype: DType): object {
    const { table, group, numbers } = this.#operands;
    let next = 0;
    const operand = () => {
      const at = next++;
      return reshape(cast(slice(numbers, 0, at, at + 1), dtype), []);
    };
    return Object.fromEntries(
      (Object.keys(table) as (keyof H & string)[]).map((key) => {
        const { width } = table[key];
        const operands = Array.from({ length: width }, operand);
        const value = group[key as keyof typeof group] as unknown;
        return [key, typeof value === 'boolean' ? value : Array.isArray(value) ? operands : operands[0]];
      }),
    );
  }
}

/** What a control says to do. */
interface Reading {
  readonly skip: boolean | undefined;
  /** The gradient as an update takes it. */
  readonly ready: (gradient: Tensor) => Tensor;
  readonly unlessSkipped: (target: Tensor, value: Tensor) => Tensor;
}

const asItIs: Reading = { skip: false, ready: (gradient) => gradient, unlessSkipped: (_, value) => value };

/** What a dtype's numbers are at most: a limit beyond it would be infinity in it, which is what it has to keep out. */
const LARGEST: Readonly<Record<string, number>> = { f32: (2 - 2 ** -23) * 2 ** 127, f64: Number.MAX_VALUE };

function readNow(control: Tensor, dtype: DType): Reading {
  const numbers = control.toArray() as Float64Array;
  const [scale, clip] = [numbers[AT.scale]!, numbers[AT.clip]!];
  const limit = Math.min(numbers[AT.limit]!, LARGEST[dtype]!);
  return {
    ...asItIs,
    skip: numbers[AT.skip] === 1,
    ready: (gradient) => {
      const cleaned = limit === 0 ? gradient : within(gradient, limit);
      const scaled = scale === 1 ? cleaned : mul(cleaned, scale);
      return clip === Infinity ? scaled : maximum(minimum(scaled, clip), -clip);
    },
  };
}

/** The same where the control is only known when the program runs; a lasting one is that of no control at all. */
function readLater(control: Tensor, dtype: DType): Reading {
  if (control.storage.kind !== 'symbolic') return asItIs;
  const at = (place: number, as: DType = dtype) => reshape(cast(slice(control, 0, place, place + 1), as), []);
  const clip = at(AT.clip);
  const limit = cast(minimum(at(AT.limit, 'f64'), LARGEST[dtype]!), dtype);
  const isLimited = greater(limit, 0);
  const isSkipped = greater(at(AT.skip, 'f64'), 0);
  return {
    skip: undefined,
    ready: (gradient) => {
      const cleaned = where(isLimited, within(gradient, limit), gradient);
      return maximum(minimum(mul(cleaned, at(AT.scale)), clip), neg(clip));
    },
    unlessSkipped: (target, value) => where(isSkipped, target, value),
  };
}

/** 0 in the place of what is not within the limit; NaN is equal to nothing. */
function within(gradient: Tensor, limit: Operand): Tensor {
  return where(greater(abs(gradient), limit), 0, where(equal(gradient, gradient), gradient, 0));
}

function wrongUpdate(method: string, expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected the update of ${method} to return ${expected} but received ${received}; nothing was changed.`,
  );
}
