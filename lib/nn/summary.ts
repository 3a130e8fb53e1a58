import { inspect } from '../native/index.js';
import { type Op, type Recorder, withRecorder } from '../ops/index.js';
import {
  checkDtype,
  checkOptions,
  checkShape,
  DTYPES,
  type DType,
  formatShape,
  type Shape,
  SymbolicStorage,
  sizeOf,
  Tensor,
} from '../tensor/index.js';
import type { Module } from './module.js';

export interface SummaryOptions {
  /** Of the input: 'f32' unless given; 'i64' or 'i32' for token indices. */
  dtype?: DType;
}

/** A module as it was called. */
export interface SummaryRow {
  /** The path of fields to it; empty for the model itself. */
  readonly name: string;
  readonly type: string;
  readonly outputShape: readonly number[];
  /** Elements of its own parameters and those of what it is made of, whether they are frozen or not. */
  readonly parameters: number;
  /** Products and sums of matrix products, convolutions and attention in it. */
  readonly multiplyAdds: number;
}

/** What a model is made of. `String(summary)` and `console.log(summary)` give a table. */
export class Summary {
  readonly rows: readonly SummaryRow[];
  readonly inputShape: readonly number[];
  readonly parameters: number;
  /** Those of them that training changes. */
  readonly trainable: number;
  readonly multiplyAdds: number;
  /** The model's parameters and buffers. */
  readonly parameterBytes: number;
  readonly inputBytes: number;
  /** Outputs of modules that are made of no others: about what a training step keeps. */
  readonly outputBytes: number;

  /** @internal */
  constructor(figures: Omit<Summary, 'toString' | typeof inspect.custom>) {
    this.rows = figures.rows;
    this.inputShape = figures.inputShape;
    this.parameters = figures.parameters;
    this.trainable = figures.trainable;
    this.multiplyAdds = figures.multiplyAdds;
    this.parameterBytes = figures.parameterBytes;
    this.inputBytes = figures.inputBytes;
    this.outputBytes = figures.outputBytes;
  }

  toString(): string {
    const count = (n: number) => n.toLocaleString('en-US');
    const indented = ({ name, type }: SummaryRow) => {
      const depth = name === '' ? 0 : name.split(/\.(?!\d)/).length;
      const last = name.split(/\.(?!\d)/).at(-1)!;
      return `${'  '.repeat(depth)}${type}${last && ` (${last})`}`;
    };
    const table = [
      ['Layer', 'Output shape', 'Parameters', 'Multiply-adds'],
      ...this.rows.map((row) => [
        indented(row),
        formatShape(row.outputShape),
        row.parameters > 0 ? count(row.parameters) : '–',
        row.multiplyAdds > 0 ? count(row.multiplyAdds) : '–',
      ]),
    ];
    const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
    const lines = table.map((row) =>
      row
        .map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    );
    const rule = '─'.repeat(widths.reduce((a, b) => a + b + 2, -2));
    return [
      lines[0]!,
      rule,
      ...lines.slice(1),
      rule,
      `Parameters: ${count(this.parameters)} (${count(this.trainable)} trainable)`,
      `Multiply-adds: ${count(this.multiplyAdds)}`,
      `Memory: input ${legible(this.inputBytes)}, outputs ${legible(this.outputBytes)}, parameters ${legible(this.parameterBytes)}`,
    ].join('\n');
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/**
 * What a model is made of, for an input of this shape: layers in the order in which they are called, shapes of their
 * outputs, parameters and multiply-adds. The model is called on a tensor without values: nothing is computed, and nothing
 * of it changes.
 */
export function summary(model: Module, inputShape: Shape, options: SummaryOptions = {}): Summary {
  checkShape(inputShape);
  checkOptions('summary', options, ['dtype']);
  const { dtype = 'f32' } = options;
  checkDtype('summary', dtype);
  const counter = new Counter();
  const rows: SummaryRow[] = [];
  let outputBytes = 0;
  const watched = new Map<Module, string>();
  const watch = (module: Module, name: string) => {
    if (watched.has(module)) return;
    watched.set(module, name);
    const forward = module.forward;
    const watching = (input: Tensor, ...others: unknown[]): Tensor => {
      const at = rows.push(undefined as never) - 1;
      const before = counter.multiplyAdds;
      const output = forward.call(module, input, ...others);
      const type = module.constructor.name;
      const multiplyAdds = counter.multiplyAdds - before;
      rows[at] = { name, type, outputShape: output.shape, parameters: sizeOfAll(module), multiplyAdds };
      if (module.namedChildren().size === 0) outputBytes += bytesOf(output);
      return output;
    };
    Object.defineProperty(module, 'forward', { value: watching, configurable: true, enumerable: false });
    for (const [field, child] of module.namedChildren())
      watch(child, name === '' ? field : `${name}.${field}`);
  };
  const input = symbolic(inputShape, dtype);
  try {
    watch(model, '');
    withRecorder(counter, () => model.forward(input));
  } finally {
    for (const module of watched.keys()) delete (module as { forward?: unknown }).forward;
  }
  const state = Object.values(model.stateDict());
  return new Summary({
    rows,
    inputShape: [...inputShape],
    parameters: sizeOfAll(model),
    trainable: model.parameters().reduce((total, t) => total + t.size, 0),
    multiplyAdds: counter.multiplyAdds,
    parameterBytes: [...new Set(state)].reduce((total, t) => total + bytesOf(t), 0),
    inputBytes: bytesOf(input),
    outputBytes,
  });
}

/** Infers shapes, and counts what the dear ops would do. */
class Counter implements Recorder {
  multiplyAdds = 0;

  apply<A>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
    const outputs = op.infer(inputs, attrs).map(({ shape, dtype }) => symbolic(shape, dtype));
    this.multiplyAdds += multiplyAddsOf(op.name, inputs, outputs);
    return outputs;
  }

  view(): void {}

  /** Whoever asks is not run: there is no end of a program to come. */
  atEnd(): void {}
}

function multiplyAddsOf(
  name: Op<never>['name'],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
): number {
  switch (name) {
    case 'matmul':
    case 'matmulInt8':
      return outputs[0]!.size * inputs[0]!.shape.at(-1)!;
    case 'conv2d':
      return outputs[0]!.size * sizeOf(inputs[1]!.shape.slice(1));
    case 'scaledDotProductAttention': {
      const [q, k, v] = inputs as [Tensor, Tensor, Tensor];
      return sizeOf(q.shape.slice(0, -1)) * k.shape.at(-2)! * (q.shape.at(-1)! + v.shape.at(-1)!);
    }
    default:
      return 0;
  }
}

function legible(bytes: number): string {
  if (bytes < 2 ** 10) return `${bytes} B`;
  return bytes < 2 ** 20 ? `${(bytes / 2 ** 10).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** Of parameters, frozen ones too, and each once. */
function sizeOfAll(module: Module): number {
  const buffers = new Set(module.namedBuffers().values());
  const parameters = new Set(Object.values(module.stateDict()).filter((t) => !buffers.has(t)));
  return [...parameters].reduce((total, t) => total + t.size, 0);
}

function bytesOf({ size, dtype }: Tensor): number {
  return size * DTYPES[dtype].bytes;
}

function symbolic(shape: Shape, dtype: DType): Tensor {
  return new Tensor(new SymbolicStorage(sizeOf(shape) * DTYPES[dtype].bytes), dtype, [...shape]);
}
